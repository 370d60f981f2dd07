from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
import pytest
from repository import DATA

from dcfm_ros.recordings.bag_writer import write_bag
from dcfm_ros.recordings.sources import SourceFrame
from dcfm_ros.synthetic.drive import DriveConfig, write_drive
from dcfm_ros.training.footage.clips import Clip, Frame, hold_out, raise_problems
from dcfm_ros.training.footage.datasets import find_clips
from dcfm_ros.training.footage.decoding import read_frame
from dcfm_ros.training.footage.frame_check import check_frames, check_frames_once
from dcfm_ros.training.footage.label_sets import CAMVID, CITYSCAPES, VSPW, mapped


def put(path, value=0, size=(4, 6)):
    """Write an image whose pixels are all `value`: a number, or RGB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((*size, *np.shape(value)), value, np.uint8)
    assert cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels)
    return path


def put_text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def stems(clip):
    return [frame.image.stem for frame in clip.frames]


def images(clips):
    return [frame.image for clip in clips for frame in clip.frames]


def message_of(raising, *arguments):
    with pytest.raises(ValueError) as error:
        raising(*arguments)
    return str(error.value)


# Layouts


@pytest.fixture
def vspw(tmp_path):
    put_text(tmp_path / 'train.txt', 'b_video\na_video')  # no newline at the end
    for video, numbers in (('a_video', range(3)), ('b_video', (98, 99, 100, 101))):
        for number in numbers:
            put(tmp_path / 'data' / video / 'origin' / f'{number:08d}.jpg')
            put(tmp_path / 'data' / video / 'mask' / f'{number:08d}.png', 7)
    return tmp_path


def test_vspw_videos_are_clips_in_the_order_of_the_list(vspw):
    clips = find_clips('vspw', vspw, 'train')
    assert [(clip.name, len(clip.labelled)) for clip in clips] == [('b_video', 4), ('a_video', 3)]
    assert stems(clips[0]) == ['00000098', '00000099', '00000100', '00000101']
    assert clips[0].frames[3].label == vspw / 'data/b_video/mask/00000101.png'
    assert clips[0].rate_hz == 15
    assert (read_frame(clips[0].frames[0], clips[0].labels)[1] == 6).all()


def test_vspw_tells_all_that_is_missing_at_once(vspw):
    put_text(vspw / 'train.txt', 'a_video\nb_video\nnowhere\n')
    (vspw / 'data/a_video/mask/00000001.png').unlink()
    (vspw / 'data/a_video/origin/00000002.jpg').unlink()
    for kind, suffix in (('origin', 'jpg'), ('mask', 'png')):
        (vspw / f'data/b_video/{kind}/00000099.{suffix}').unlink()
    message = message_of(find_clips, 'vspw', vspw, 'train')
    assert '4 problem(s)' in message
    assert 'a_video/origin/00000001.jpg has no label' in message
    assert 'a_video/mask/00000002.png has no image' in message
    assert '1 frame(s) missing between' in message
    assert '00000098.jpg and 00000100.jpg' in message
    assert 'nowhere/origin holds no images' in message


@pytest.fixture
def cityscapes(tmp_path):
    for name in ('bochum_000000_000042', 'bochum_000000_000072'):
        put(tmp_path / 'gtFine/val/bochum' / f'{name}_gtFine_labelTrainIds.png', 13)
        put(tmp_path / 'gtFine/val/bochum' / f'{name}_gtFine_labelIds.png', 26)
    for number in range(23, 83):
        name = f'bochum_000000_{number:06d}_leftImg8bit.png'
        put(tmp_path / 'leftImg8bit_sequence/val/bochum' / name)
    return tmp_path


def test_cityscapes_label_is_frame_19_of_its_snippet(cityscapes):
    first, second = find_clips('cityscapes', cityscapes, 'val')
    assert len(first.frames) == len(second.frames) == 30
    assert first.labelled == second.labelled == [19]
    assert first.frames[19].image.name == 'bochum_000000_000042_leftImg8bit.png'
    assert stems(second)[0] == 'bochum_000000_000053_leftImg8bit'
    assert (first.name, first.rate_hz) == ('bochum_000000_000042', 17)
    assert first.drive == second.drive == 'bochum'


def test_cityscapes_snippet_must_be_whole(cityscapes):
    folder = cityscapes / 'leftImg8bit_sequence/val/bochum'
    for number in (23, 42, 82):
        (folder / f'bochum_000000_{number:06d}_leftImg8bit.png').unlink()
    message = message_of(find_clips, 'cityscapes', cityscapes, 'val')
    assert '3 problem(s)' in message
    assert '000082_leftImg8bit.png is missing' in message


def test_cityscapes_without_sequences_takes_the_neighbours_that_are_there(cityscapes):
    (cityscapes / 'leftImg8bit_sequence').rename(cityscapes / 'leftImg8bit')
    folder = cityscapes / 'leftImg8bit/val/bochum'
    for path in folder.iterdir():
        if path.name.split('_')[2] not in ('000041', '000042', '000043', '000072'):
            path.unlink()
    first, second = find_clips('cityscapes', cityscapes, 'val')
    assert (len(first.frames), first.labelled) == (3, [1])
    assert (len(second.frames), second.labelled) == (1, [0])
    (folder / 'bochum_000000_000042_leftImg8bit.png').unlink()
    assert '000042_leftImg8bit.png is missing' in message_of(
        find_clips, 'cityscapes', cityscapes, 'val'
    )


def test_cityscapes_without_train_ids_says_how_to_make_them(cityscapes):
    for path in (cityscapes / 'gtFine').rglob('*labelTrainIds.png'):
        path.unlink()
    assert 'csCreateTrainIdLabelImgs' in message_of(find_clips, 'cityscapes', cityscapes, 'val')


def test_camvid_frames_at_most_2_apart_are_neighbours(tmp_path):
    names = ['0016E5_00390', '0016E5_00392', '0016E5_00394', '0016E5_00424', 'Seq05VD_f00425']
    for name in names:
        put(tmp_path / 'train' / f'{name}.jpg')
        put(tmp_path / 'trainannot' / f'{name}.png', 3)
    clips = find_clips('camvid', tmp_path, 'train')
    assert [stems(clip) for clip in clips] == [names[:3], names[3:4], names[4:]]
    assert [clip.drive for clip in clips] == ['0016E5', '0016E5', 'Seq05VD']
    assert clips[0].rate_hz == 15


def test_camvid_image_and_label_belong_together(tmp_path):
    put(tmp_path / 'val/a_1.jpg')
    put(tmp_path / 'valannot/a_2.png')
    message = message_of(find_clips, 'camvid', tmp_path, 'val')
    assert 'a_1.jpg has no label' in message
    assert 'a_2.png has no image' in message
    with pytest.raises(FileNotFoundError, match='train is not a folder'):
        find_clips('camvid', tmp_path, 'train')


@pytest.fixture
def camvid_raw(tmp_path):
    put_text(tmp_path / 'train.txt', '0006R0_f00930\n0001TP_006690\n\n0001TP_006720')
    put_text(tmp_path / 'val.txt', '0001TP_006900\n')
    put_text(tmp_path / 'id2id.txt', '0006R0_f00930 0006R0_000012\n')
    for name in ('0006R0_f00930', '0001TP_006690', '0001TP_006720', '0001TP_006900'):
        put(tmp_path / 'gt' / f'{name}_L.png', 3)
    for number in range(6660, 6910):
        put(tmp_path / '0001TP' / f'0001TP_{number:06d}.png')
    for number in (10, 11, 12, 13, 15):
        put(tmp_path / '0006R0' / f'0006R0_{number:06d}.png')
    return tmp_path


def test_camvid_raw_takes_the_frames_around_the_labelled_ones(camvid_raw):
    first, second = find_clips('camvid_raw', camvid_raw, 'train')
    assert stems(first) == [f'0006R0_{number:06d}' for number in (10, 11, 12, 13)]
    assert (first.labelled, first.frames[2].label.name) == ([2], '0006R0_f00930_L.png')
    assert (stems(second)[0], stems(second)[-1]) == ('0001TP_006675', '0001TP_006735')
    assert second.labelled == [15, 45]
    assert (second.drive, second.rate_hz) == ('0001TP', 30)
    (val,) = find_clips('camvid_raw', camvid_raw, 'val')
    assert (len(val.frames), val.labelled) == (25, [15])


def test_camvid_raw_reports_labels_without_files(camvid_raw):
    (camvid_raw / 'gt/0001TP_006690_L.png').unlink()
    (camvid_raw / '0001TP/0001TP_006720.png').unlink()
    put_text(camvid_raw / 'id2id.txt', 'one two three\n')
    message = message_of(find_clips, 'camvid_raw', camvid_raw, 'train')
    assert 'gt/0001TP_006690_L.png is missing' in message
    assert '0001TP_006720_L.png has no image' in message
    assert '0006R0_f00930_L.png has no image' in message
    assert "id2id.txt, line 1 must be 'label-name frame-name'" in message


def test_camvid_raw_reads_painted_labels(tmp_path):
    colours = [(128, 128, 128), (64, 192, 0), (0, 0, 64), (192, 0, 64), (192, 0, 192), (0, 0, 0)]
    label = tmp_path / 'a_L.png'
    assert cv2.imwrite(str(label), np.array([colours], np.uint8)[..., ::-1])
    frame = Frame(put(tmp_path / 'a.png', (1, 2, 3), (1, 6)), label)
    assert read_frame(frame, CAMVID)[1].tolist() == [[0, 1, 2, 3, 10, 255]]
    as_cityscapes = mapped(CAMVID, CITYSCAPES)
    assert read_frame(frame, as_cityscapes)[1].tolist() == [[10, 2, 5, 0, 255, 255]]


@pytest.fixture
def own(tmp_path):
    put_text(tmp_path / 'classes.yaml', '1: {name: floor, rgb: [255, 0, 0]}\n2: {name: wall}\n')
    for name in ('1.png', '2.jpg', '10.png'):
        put(tmp_path / 'train/kitchen/images' / name, (9, 9, 9))
    put(tmp_path / 'train/kitchen/masks/10.png', 2)
    put(tmp_path / 'train/hall/images/a.png', (9, 9, 9))
    put(tmp_path / 'train/hall/masks/a.png', (255, 0, 0))
    put_text(tmp_path / 'train/hall/clip.yaml', 'rate_hz: 10\nstamps_ns: [5]\n')
    return tmp_path


def test_folder_matches_masks_by_name(own):
    hall, kitchen = find_clips('folder', own, 'train')
    assert (hall.name, hall.rate_hz, kitchen.name, kitchen.rate_hz) == ('hall', 10, 'kitchen', 15)
    assert stems(kitchen) == ['1', '2', '10']
    assert kitchen.labelled == [2]
    assert (read_frame(kitchen.frames[2], kitchen.labels)[1] == 1).all()
    assert (read_frame(hall.frames[0], hall.labels)[1] == 0).all()  # painted
    assert read_frame(kitchen.frames[0], kitchen.labels)[1] is None


def test_files_that_are_not_frames_are_passed_over(own):
    for path in list(own.rglob('*.png')):
        path.with_name(f'._{path.name}').write_bytes(b'AppleDouble')
    put_text(own / 'train/hall/images/Thumbs.db', 'not an image')
    hall, kitchen = find_clips('folder', own, 'train')
    assert (stems(hall), stems(kitchen)) == (['a'], ['1', '2', '10'])


def test_folder_may_be_one_clip_and_have_no_splits(own):
    (clip,) = find_clips('folder', own / 'train/kitchen', 'all', labels=CAMVID)
    assert (len(clip.frames), clip.labels) == (3, CAMVID)
    with pytest.raises(FileNotFoundError, match="val is not a folder; 'all' stands for"):
        find_clips('folder', own, 'val')
    with pytest.raises(
        FileNotFoundError, match=r'no such file of classes: .*train/classes\.yaml; it names'
    ):
        find_clips('folder', own / 'train', 'all')


def test_folder_reports_all_clips(own):
    put(own / 'train/kitchen/masks/11.png')
    put(own / 'train/kitchen/images/1.jpg')
    put_text(own / 'train/hall/clip.yaml', 'rate_hz: 0\nstamps_ns: [5, 6]\n')
    (own / 'train/empty/images').mkdir(parents=True)
    message = message_of(find_clips, 'folder', own, 'train')
    for words in (
        'masks/11.png has no image',
        '1.png and 1.jpg have the same name',
        'rate_hz must be above 0, got 0',
        'must hold 2 images, as clip.yaml says, got 1',
        'empty/images holds no images',
    ):
        assert words in message


def test_stills_are_clips_of_one_labelled_frame(own):
    clips = find_clips('stills', own, 'train')
    assert [clip.name for clip in clips] == ['hall/a', 'kitchen/10']
    assert [len(clip.frames) for clip in clips] == [1, 1]
    assert [clip.drive for clip in clips] == ['hall', 'kitchen']


def test_synthetic_drives_are_found_alone_or_in_a_folder(tmp_path):
    for name in ('one', 'two'):
        write_drive(DriveConfig(num_frames=3, height=32, width=40, rate_hz=10), tmp_path / name)
    clips = find_clips('synthetic', tmp_path, 'all')
    assert [(clip.name, clip.rate_hz, clip.labelled) for clip in clips] == [
        ('one', 10, [0, 1, 2]),
        ('two', 10, [0, 1, 2]),
    ]
    assert [clip.name for clip in find_clips('synthetic', tmp_path / 'two', 'all')] == ['two']
    assert not check_frames(clips).problems
    (tmp_path / 'one/frames/000001.png').unlink()
    (tmp_path / 'two/drive.json').unlink()
    message = message_of(find_clips, 'synthetic', tmp_path, 'all')
    assert 'one/frames/000001.png is missing' in message
    assert 'two has no drive.json' in message


def test_drive_of_other_classes_is_refused(tmp_path):
    write_drive(DriveConfig(num_frames=1, height=32, width=40), tmp_path / 'one')
    path = tmp_path / 'one/drive.json'
    put_text(path, json.dumps(json.loads(path.read_text()) | {'class_names': ['a']}))
    assert 'must name the classes' in message_of(find_clips, 'synthetic', tmp_path, 'all')


@pytest.fixture
def bags(tmp_path):
    record(tmp_path / 'root/train/run', 4)
    put_text(tmp_path / 'root/classes.yaml', '3: {name: floor}\n4: {name: wall}\n')
    put_text(tmp_path / 'root/bag.yaml', 'label_topic: /camera/label\n')
    return tmp_path


def record(path, count):
    frames = (
        SourceFrame(
            image=np.full((4, 6, 3), 20 * index, np.uint8),
            stamp_ns=(index + 1) * 100_000_000,
            label=np.full((4, 6), 3, np.uint8) if index % 2 else None,
        )
        for index in range(count)
    )
    write_bag(path, frames)


def find_bags(folder):
    return find_clips('bag', folder / 'root', 'train', cache_dir=folder / 'cache')


def test_bag_becomes_a_clip_with_its_own_rate_and_masks(bags):
    (clip,) = find_bags(bags)
    assert (clip.name, clip.rate_hz, clip.labelled) == ('run', 10, [1, 3])
    image, label = read_frame(clip.frames[3], clip.labels)
    assert (image == 60).all()
    assert (label == 0).all()


def test_bag_is_extracted_again_only_after_it_changed(bags):
    first = images(find_bags(bags))
    written = first[0].stat().st_mtime_ns
    assert images(find_bags(bags)) == first
    assert first[0].stat().st_mtime_ns == written
    for path in (bags / 'root/train/run').iterdir():
        os.utime(path, ns=(1, 1))
    assert not set(images(find_bags(bags))) & set(first)
    put_text(bags / 'root/bag.yaml', 'label_topic: /camera/label\nevery: 3\n')
    (clip,) = find_bags(bags)
    assert (stems(clip), clip.labelled) == (['000000', '000003'], [1])


def test_unreadable_bags_and_options_are_all_told(bags):
    put_text(bags / 'root/train/broken.mcap', 'not a bag')
    put_text(bags / 'root/bag.yaml', 'topics: /camera\n')
    message = message_of(find_bags, bags)
    assert 'broken.mcap' in message
    assert "'topics'" in message
    assert 'several image topics' in message


def test_unknown_dataset_and_empty_split_are_refused(tmp_path):
    message = message_of(find_clips, 'kitti', tmp_path, 'train')
    assert 'one of vspw, cityscapes, camvid, camvid_raw, idd_lite, synthetic, folder,' in message
    put_text(tmp_path / 'train.txt', '\n')
    assert "nothing of split 'train'" in message_of(find_clips, 'vspw', tmp_path, 'train')


def write_idd_lite(root, numbers=range(10), split='train'):
    """IDD-lite's layout: stills whose labels hold the value of their place, modulo 7."""
    for place, number in enumerate(numbers):
        put(root / split / f'{number}_1.jpg', (place, 0, 0))
        put(root / f'{split}annot' / f'{number}_1.png', place % 7)
    return root


def test_idd_lite_stills_are_one_recording_in_numerical_order(tmp_path):
    root = write_idd_lite(tmp_path, (100, 9, 20, 1))
    clips = find_clips('idd_lite', root, 'train')
    assert [clip.name for clip in clips] == ['1_1', '9_1', '20_1', '100_1']
    assert [len(clip.labelled) for clip in clips] == [1] * 4
    _, held = hold_out(clips, 0.25)
    assert [clip.name for clip in held] == ['100_1']


def test_idd_lite_labels_are_classes_and_sets(tmp_path):
    clips = find_clips('idd_lite', write_idd_lite(tmp_path), 'train')
    names = clips[0].labels.id_names
    found = [names[read_frame(clip.frames[0], clip.labels)[1][0, 0]] for clip in clips[:7]]
    assert found == [
        'road', 'pavement', 'pedestrian or bicyclist', 'car or bicyclist',
        'building or pole or sign or fence', 'building or tree', 'sky',
    ]  # fmt: skip
    put(tmp_path / 'trainannot/3_1.png', 7)
    [problem] = check_frames(clips).problems
    assert '3_1.png has ids that IDD-lite has not: 7 (24 pixels)' in problem


def test_idd_lite_tells_all_that_is_missing(tmp_path):
    root = write_idd_lite(tmp_path)
    (root / 'train/3_1.jpg').unlink()
    (root / 'trainannot/4_1.png').unlink()
    message = message_of(find_clips, 'idd_lite', root, 'train')
    assert '2 problem(s)' in message
    assert '3_1.png has no image' in message and '4_1.jpg has no label' in message


def test_files_are_checked_again_when_their_sets_change(tmp_path):
    put(tmp_path / 'train/images/a.png', (0, 0, 0))
    put(tmp_path / 'train/masks/a.png', 2)
    for other in ('b', 'c', 'c'):
        text = '0: {name: a}\n1: {name: b}\n3: {name: c}\n'
        put_text(tmp_path / 'classes.yaml', f'{text}2: {{any_of: [a, {other}]}}')
        clips = find_clips('folder', tmp_path, 'train')
        assert check_frames_once(clips, tmp_path / 'checked').class_ids == {3}
    assert len(list((tmp_path / 'checked').iterdir())) == 2


# Decoding and checking


def test_palette_label_gives_its_ids(tmp_path):
    picture = Image.fromarray(np.array([[0, 10]], np.uint8), 'L')
    picture.putpalette([5, 5, 5] * 11)  # all of one colour: only the ids tell them apart
    picture.save(tmp_path / 'a.png')
    frame = Frame(put(tmp_path / 'b.png', (0, 0, 0), (1, 2)), tmp_path / 'a.png')
    assert read_frame(frame, CAMVID)[1].tolist() == [[0, 10]]


def test_image_is_rgb(tmp_path):
    image, label = read_frame(Frame(put(tmp_path / 'a.png', (200, 100, 50))), CAMVID)
    assert image[0, 0].tolist() == [200, 100, 50]
    assert label is None


def test_colour_label_is_refused_where_classes_have_no_colours(tmp_path):
    frame = Frame(put(tmp_path / 'a.png'), put(tmp_path / 'b.png', (1, 1, 1)))
    assert 'must hold 8-bit ids of VSPW' in message_of(read_frame, frame, VSPW)


def test_check_tells_everything_at_once(tmp_path):
    good = put(tmp_path / 'good.png', (1, 1, 1))
    small = put(tmp_path / 'small.png', (1, 1, 1), (3, 6))
    ids = tmp_path / 'ids.png'
    cv2.imwrite(str(ids), np.array([[12] * 5 + [10]] * 3 + [[200] * 6], np.uint8))
    painted = tmp_path / 'painted.png'
    cv2.imwrite(str(painted), np.array([[(1, 2, 3)] * 2 + [(0, 0, 0)] * 4] * 4, np.uint8))
    put_text(tmp_path / 'broken.png', 'no image')
    frames = (
        Frame(good, put(tmp_path / 'void.png', 255)),
        Frame(good, ids),
        Frame(good, painted),
        Frame(tmp_path / 'broken.png', tmp_path / 'broken.png'),
        Frame(tmp_path / 'gone.png', tmp_path / 'gone_too.png'),
        Frame(good, put(tmp_path / 'short.png', 0, (3, 6))),
        Frame(small),
    )
    checked = check_frames([Clip('clip', frames, 15, CAMVID)])
    assert checked.class_ids == {0, 10, 255}
    assert checked.problems == [
        f'{ids} has ids that CamVid has not: 12 (15 pixels), 200 (6 pixels)',
        f'{painted} has colours that CamVid has not: #030201 (8 pixels)',
        f'{tmp_path}/broken.png cannot be read as an image',
        f'{tmp_path}/broken.png cannot be read as a label: '
        "a label must be a PNG file, got 8 bytes from b'no image'",
        f'{tmp_path}/gone.png is missing',
        f'{tmp_path}/gone_too.png is missing',
        f'{tmp_path}/short.png is (3, 6), its image (4, 6) (H, W)',
        f'{small} is (3, 6), other frames of its clip (4, 6) (H, W)',
    ]


def test_check_spells_20_problems_out_and_counts_the_rest(tmp_path):
    frames = tuple(Frame(tmp_path / f'{index}.png') for index in range(25))
    checked = check_frames([Clip('clip', frames, 15, CAMVID)])
    message = message_of(raise_problems, checked.problems)
    assert message.startswith('25 problem(s)')
    assert message.count('is missing') == 20
    assert message.endswith('and 5 more')


def test_clean_clips_pass_the_check(own):
    assert not check_frames(find_clips('folder', own, 'train')).problems


# Holding out


def clip_of(name, labelled, drive='', first=0):
    frames = tuple(
        Frame(Path(f'{name}_{first + index}.png'), Path('label.png') if has else None)
        for index, has in enumerate(labelled)
    )
    return Clip(name, frames, 15, CAMVID, drive)


def test_hold_out_takes_the_end_of_every_drive():
    clips = [clip_of(f'{drive}{i}', [1], drive) for drive in ('a', 'b') for i in range(4)]
    training, validation = hold_out(clips, 0.25)
    assert [clip.name for clip in training] == ['a0', 'a1', 'a2', 'b0', 'b1', 'b2']
    assert [clip.name for clip in validation] == ['a3', 'b3']


def test_a_clip_of_no_drive_is_a_drive_of_its_own():
    clips = [clip_of('a', [1] * 10), clip_of('b', [1] * 10), clip_of('c', [1] * 4)]
    training, validation = hold_out(clips, 0.2)
    assert [len(clip.frames) for clip in training] == [8, 8, 3]
    assert [len(clip.frames) for clip in validation] == [2, 2, 1]


def test_hold_out_cuts_a_clip_behind_a_labelled_frame():
    clips = [clip_of('a', [1, 1], 'x'), clip_of('b', [0, 1, 0, 1, 0, 1, 0, 1], 'x')]
    training, validation = hold_out(clips, 0.5)
    assert [stems(clip) for clip in training] == [['a_0', 'a_1'], ['b_0', 'b_1']]
    assert [stems(clip) for clip in validation] == [[f'b_{i}' for i in range(2, 8)]]


def test_holding_out_nothing_keeps_everything():
    clips = [clip_of('a', [1, 0, 0]), clip_of('b', [0, 0])]
    training, validation = hold_out(clips, 0.0)
    assert [clip.name for clip in training] == ['a', 'b']
    assert images(training) == images(clips)
    assert not validation
    with pytest.raises(ValueError, match=r'`share` must be in \[0, 1\), got 1'):
        hold_out(clips, 1)


# Real data


@pytest.mark.skipif(not (DATA / 'camvid').exists(), reason=f'CamVid absent: {DATA / "camvid"}')
def test_real_camvid():
    training = find_clips('camvid', DATA / 'camvid', 'train')
    assert len(training) == 367
    assert {len(clip.frames) for clip in training} == {1}
    (drive,) = find_clips('camvid', DATA / 'camvid', 'val')
    assert (len(drive.frames), len(drive.labelled), drive.rate_hz) == (101, 101, 15)
    assert not check_frames([drive]).problems
    kept, held = hold_out(training, 0.1)
    assert (len(kept), len(held)) == (331, 36)


@pytest.mark.skipif(not (DATA / 'cityscapes6').exists(), reason=f'absent: {DATA / "cityscapes6"}')
def test_real_cityscapes_sequences():
    clips = find_clips(
        'cityscapes', DATA / 'cityscapes6', 'all', labels=mapped(CITYSCAPES, CAMVID)
    )
    assert [(len(clip.frames), len(clip.labelled)) for clip in clips] == [(30, 30)] * 4
    assert not check_frames(clips).problems
    image, label = read_frame(clips[0].frames[0], clips[0].labels)
    assert image.shape == (512, 1024, 3)
    road = CAMVID.class_names.index('road')
    assert (label[384:] == road).mean() > 0.5  # the street lies at the bottom
    assert set(np.unique(label)) <= {*range(11), 255}


@pytest.mark.skipif(not (DATA / 'idd_lite').exists(), reason=f'absent: {DATA / "idd_lite"}')
def test_real_idd_lite():
    clips = find_clips('idd_lite', DATA / 'idd_lite', 'train')
    assert len(clips) == 1403
    _, held = hold_out(clips, 0.1)
    assert len(held) == 140
    checked = check_frames(held)
    assert not checked.problems
    num_classes, num_sets = CAMVID.num_classes, len(clips[0].labels.sets)
    classes = set(map(CAMVID.class_names.index, ('sky', 'road', 'pavement')))
    assert checked.class_ids - {255} == classes | {num_classes + i for i in range(num_sets)}
