"""`dcfm merge-labels`: hand-made coarse labels and the finer ones of a network."""

from __future__ import annotations

import json
import shutil

from command import dcfm
import cv2
import numpy as np
import pytest
from repository import DATA

from dcfm_ros.models.labels import CAMVID_NAMES, CITYSCAPES_NAMES
from dcfm_ros.training.data import PairData
from dcfm_ros.training.footage.clips import hold_out
from dcfm_ros.training.footage.datasets import find_clips
from dcfm_ros.training.footage.decoding import read_frame
from dcfm_ros.training.footage.frame_check import check_frames
from dcfm_ros.training.footage.label_merging import LabelMerger, MergeOptions
from dcfm_ros.training.footage.label_sets import CITYSCAPES, IDD_LITE, label_set_of, mapped
from dcfm_ros.training.pairs.source_options import SourceOptions

ROAD, PAVEMENT, LIVING, VEHICLE, ROADSIDE, FAR, SKY = range(7)
"""Values of IDD-lite."""
PIXELS = [  # hand-made value, teacher's class, its confidence of 256, what comes out
    (ROAD, 'car', 250, 'road'),
    (VEHICLE, 'car', 128, 'car'),
    (VEHICLE, 'car', 127, 'car or bicyclist'),
    (VEHICLE, 'truck', 200, 'car'),
    (VEHICLE, 'rider', 200, 'bicyclist'),
    (VEHICLE, 'person', 250, 'car or bicyclist'),
    (LIVING, 'person', 250, 'pedestrian'),
    (LIVING, 'rider', 250, 'bicyclist'),
    (FAR, 'vegetation', 250, 'tree'),
    (FAR, 'terrain', 250, 'building or tree'),
    (FAR, 'wall', 250, 'building'),
    (ROADSIDE, 'wall', 250, 'building'),
    (255, 'sky', 230, None),
    (255, 'sky', 255, None),
    (255, 'terrain', 255, None),
]
NAMES = [*IDD_LITE.id_names]


def of_pixels():
    """Hand-made values, teacher's train ids and confidences, (1, N) each."""
    columns = (
        [pixel[0] for pixel in PIXELS],
        [CITYSCAPES_NAMES.index(pixel[1]) for pixel in PIXELS],
        [pixel[2] for pixel in PIXELS],
    )
    return [np.array([column], np.uint8) for column in columns]


def merge(**options):
    """Names of what comes out of `PIXELS`, and the shares."""
    values, classes, confidence = of_pixels()
    teacher = mapped(CITYSCAPES, IDD_LITE)
    merger = LabelMerger(IDD_LITE, teacher, MergeOptions(**options))
    hand_made, other = IDD_LITE.to_class[values], teacher.to_class[classes]
    merged = merger.merge(hand_made, other, confidence)
    return [None if i == 255 else NAMES[i] for i in merged[0].tolist()], merger.shares()


def test_every_pixel_gets_the_label_that_the_rule_says():
    assert merge()[0] == [expected for *_, expected in PIXELS]


def test_void_is_filled_only_where_that_is_asked_for():
    assert merge(fill_confidence=0.9)[0][-3:] == [None, 'sky', None]
    assert merge(fill_confidence=0.85)[0][-3:] == ['sky', 'sky', None]


def test_a_teacher_that_need_not_be_sure_is_always_believed():
    assert merge(min_confidence=0)[0][2] == 'car'


@pytest.mark.parametrize('least', [0.997, 1.0])
def test_the_surest_confidence_that_a_file_can_hold_is_always_enough(least):
    teacher = mapped(CITYSCAPES, IDD_LITE)
    merger = LabelMerger(
        IDD_LITE, teacher, MergeOptions(min_confidence=least, fill_confidence=least)
    )
    hand_made = IDD_LITE.to_class[np.array([[VEHICLE, VEHICLE, 255, 255]], np.uint8)]
    cars = teacher.to_class[np.full((1, 4), CITYSCAPES_NAMES.index('car'), np.uint8)]
    merged = merger.merge(hand_made, cars, np.array([[254, 255, 254, 255]], np.uint8))
    assert [None if i == 255 else NAMES[i] for i in merged[0].tolist()] == [
        'car or bicyclist', 'car', None, 'car',
    ]  # fmt: skip


def test_shares_count_every_entry():
    _, shares = merge(fill_confidence=0.9)
    vehicles = shares['entries']['car or bicyclist']
    assert vehicles == {
        'share': 5 / 15,
        'agrees': 3 / 5,
        'unsure': 1 / 5,
        'differs': 1 / 5,
        'taken': {'car': 2 / 5, 'bicyclist': 1 / 5},
    }
    far = shares['entries']['building or tree']
    assert (far['agrees'], far['unsure'], far['differs']) == (2 / 3, 1 / 3, 0)
    assert shares['entries']['road'] == {
        'share': 1 / 15, 'agrees': 0, 'unsure': 0, 'differs': 1, 'taken': {},
    }  # fmt: skip
    assert shares['entries']['sky']['agrees'] is None
    assert list(shares['entries']) == [
        'sky', 'road', 'pavement', 'building or pole or sign or fence', 'building or tree',
        'car or bicyclist', 'pedestrian or bicyclist',
    ]  # fmt: skip
    assert (shares['taken'], shares['unlabelled'], shares['filled']) == (8 / 11, 3 / 15, 1 / 3)


def test_a_teacher_whose_label_is_a_set_leaves_what_both_allow():
    teacher = label_set_of(
        'grass', CAMVID_NAMES, ((0, 0, 0),) * 11, {0: (4, 5), 1: (1, 5), 2: (3, 4)}
    )  # pavement or tree, building or tree, road or pavement
    merger = LabelMerger(IDD_LITE, teacher, MergeOptions(min_confidence=0))
    far = np.full((1, 3), IDD_LITE.to_class[FAR], np.uint8)
    merged = merger.merge(far, teacher.to_class[np.array([[0, 1, 2]])], None)
    assert [NAMES[i] for i in merged[0]] == ['tree', 'building or tree', 'building or tree']


@pytest.mark.parametrize(
    ('name', 'value'), [('min_confidence', 1.1), ('fill_confidence', -0.1), ('height', -1)]
)
def test_wrong_options_are_refused(name, value):
    with pytest.raises(ValueError, match=f'`{name}` must be .* got {value}'):
        MergeOptions(**{name: value})


# Through the command line


@pytest.fixture
def coarse(tmp_path):
    """IDD-lite and a teacher: 21 stills of `PIXELS` in columns of 4x4, numbered unevenly."""
    values, classes, confidence = (np.kron(v, np.ones((4, 4), np.uint8)) for v in of_pixels())
    rng = np.random.default_rng(0)
    for index in range(21):
        image = rng.integers(0, 255, (*values.shape, 3), np.uint8)
        name = f'{7 * index % 21 * 9}_{index:03d}'
        for path, pixels in (
            (f'idd/train/{name}.jpg', image),
            (f'idd/trainannot/{name}.png', values),
            (f'teacher/labels/{name}.png', classes),
            (f'teacher/confidence/{name}.png', confidence),
        ):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(tmp_path / path), pixels)
    return tmp_path


def run(root, *options, output='merged'):
    return dcfm(
        'merge-labels', '--dataset', 'idd_lite', '--root', root / 'idd', '--split', 'train',
        '--teacher', root / 'teacher', '--output', root / output, *options,
    )  # fmt: skip


def stems(clips):
    return [frame.image.stem for clip in clips for frame in clip.frames]


def test_command_writes_stills_to_train_on(coarse):
    done = run(coarse)
    assert done.returncode == 0, done.stderr
    clips = find_clips('stills', coarse / 'merged', 'train')
    assert not check_frames(clips).problems
    labels = clips[0].labels
    assert (labels.class_names, labels.sets) == (CAMVID_NAMES, IDD_LITE.sets)
    assert labels.palette == IDD_LITE.palette
    originals = find_clips('idd_lite', coarse / 'idd', 'train')
    assert stems(clips) == stems(originals)
    for clip, original in zip(clips, originals, strict=True):
        assert clip.frames[0].image.read_bytes() == original.frames[0].image.read_bytes()
        _, label = read_frame(clip.frames[0], labels)
        names = [None if i == 255 else labels.id_names[i] for i in label[2, ::4].tolist()]
        assert names == [expected for *_, expected in PIXELS]
    record = json.loads((coarse / 'merged/merged_labels.json').read_text())
    assert (record['images'], record['teacher_labels']) == (21, 'cityscapes')
    assert record['taken'] == 8 / 11
    assert 'car or bicyclist' in done.stdout and '73% of sets became a class' in done.stdout


@pytest.mark.parametrize('share', [0.1, 0.34])
def test_the_same_images_are_held_out(coarse, share):
    assert run(coarse, '--height', 7).returncode == 0
    originals = find_clips('idd_lite', coarse / 'idd', 'train')
    for dataset in ('stills', 'folder'):
        merged = find_clips(dataset, coarse / 'merged', 'train')
        parts = hold_out(merged, share), hold_out(originals, share)
        assert [stems(part) for part in parts[0]] == [stems(part) for part in parts[1]]
    assert len(hold_out(originals, share)[1]) == round(21 * share)


def test_training_on_them_keeps_the_images_that_are_evaluated(coarse):
    assert run(coarse).returncode == 0
    source = SourceOptions(dataset='stills', root=coarse / 'merged', motion='none')
    pairs = PairData([source], hold_out_share=0.1, cache_dir=coarse / 'cache', num_workers=0)
    pairs.prepare_data()
    pairs.setup('fit')
    _, held = hold_out(find_clips('idd_lite', coarse / 'idd', 'train'), 0.1)
    seen = [batch.labelled[0].permute(1, 2, 0).numpy() for batch in pairs.val_dataloader()]
    expected = [read_frame(clip.frames[0], clip.labels)[0] for clip in held]
    assert np.array_equal(seen, expected)
    assert pairs.class_sets == IDD_LITE.sets


def test_stills_are_resized(coarse):
    done = run(coarse, '--height', 10)
    assert done.returncode == 0, done.stderr
    for clip in find_clips('stills', coarse / 'merged', 'train'):
        image, label = read_frame(clip.frames[0], clip.labels)
        assert image.shape == (10, 150, 3)
        names = [clip.labels.id_names[i] for i in label[5, 5:120:10].tolist()]
        assert names == [expected for *_, expected in PIXELS[:12]]
        original = cv2.imread(str(coarse / 'idd/train' / clip.frames[0].image.name))[..., ::-1]
        expected = cv2.resize(original, (150, 10), interpolation=cv2.INTER_CUBIC)
        assert np.abs(image.astype(int) - expected).mean() < 12


def test_confidence_is_needed_only_where_something_depends_on_it(coarse):
    shutil.rmtree(coarse / 'teacher/confidence')
    done = run(coarse)
    assert done.returncode == 1
    assert 'confidence is not a folder; without it `min_confidence` must be 0' in done.stderr
    done = run(coarse, '--min-confidence', 0)
    assert done.returncode == 0, done.stderr
    assert run(coarse, '--min-confidence', 0, '--fill-confidence', 0.9).returncode == 1


def test_everything_wrong_is_told_at_once_and_nothing_is_written(coarse):
    names = stems(find_clips('idd_lite', coarse / 'idd', 'train'))
    teacher = coarse / 'teacher'
    (teacher / f'labels/{names[0]}.png').unlink()
    (teacher / f'confidence/{names[1]}.png').unlink()
    cv2.imwrite(str(teacher / f'labels/{names[2]}.png'), np.zeros((5, 5), np.uint8))
    cv2.imwrite(str(teacher / f'confidence/{names[3]}.png'), np.zeros((4, 60, 3), np.uint8))
    cv2.imwrite(str(teacher / f'labels/{names[4]}.png'), np.full((4, 60), 33, np.uint8))
    cv2.imwrite(str(teacher / f'confidence/{names[5]}.png'), np.zeros((4, 61), np.uint8))
    cv2.imwrite(str(coarse / f'idd/trainannot/{names[6]}.png'), np.full((4, 60), 9, np.uint8))
    done = run(coarse)
    assert done.returncode == 1
    for words in (
        '7 problem(s)',
        f'labels/{names[0]}.png is missing',
        f'confidence/{names[1]}.png is missing',
        f'labels/{names[2]}.png is (5, 5), its image (4, 60) (H, W)',
        f'confidence/{names[3]}.png is not an 8-bit grey image',
        f'labels/{names[4]}.png has ids that Cityscapes as IDD-lite has not: 33 (240 pixels)',
        f'confidence/{names[5]}.png is (4, 61), its image (4, 60) (H, W)',
        f'{names[6]}.png has ids that IDD-lite has not: 9 (240 pixels)',
    ):
        assert words in done.stderr
    assert not (coarse / 'merged').exists()
    assert {path.name for path in coarse.iterdir()} == {'idd', 'teacher'}


def test_images_of_one_name_cannot_be_told_apart(coarse):
    name = stems(find_clips('idd_lite', coarse / 'idd', 'train'))[0]
    for clip in ('a', 'b'):
        for kind, suffix, source in (('images', 'jpg', 'train'), ('masks', 'png', 'trainannot')):
            (coarse / f'own/train/{clip}/{kind}').mkdir(parents=True)
            shutil.copy(
                coarse / f'idd/{source}/{name}.{suffix}', coarse / f'own/train/{clip}/{kind}'
            )
    (coarse / 'own/classes.yaml').write_text(
        ''.join(f'{i}: {{name: {n}}}\n' for i, n in enumerate(CAMVID_NAMES))
    )
    done = run(coarse, '--dataset', 'folder', '--root', coarse / 'own')
    assert done.returncode == 1
    assert f'b/images/{name}.jpg and ' in done.stderr and 'have the same name' in done.stderr


def test_a_teacher_or_an_output_that_will_not_do_is_refused(coarse):
    for options, words in (
        (('--teacher', coarse / 'nowhere'), 'nowhere/labels is not a folder'),
        (('--teacher-labels', 'kitti'), 'must be a file or one of camvid, cityscapes, vspw'),
        (('--min-confidence', 2), '`min_confidence` must be in [0, 1], got 2'),
        (('--output', coarse / 'idd'), 'idd exists already'),
    ):
        done = run(coarse, *options)
        assert done.returncode == 1 and words in done.stderr, done.stderr


@pytest.mark.skipif(not (DATA / 'idd_lite').exists(), reason=f'absent: {DATA / "idd_lite"}')
def test_real_idd_lite(tmp_path):
    originals = find_clips('idd_lite', DATA / 'idd_lite', 'train')
    for clip in originals[::50]:
        image, label = clip.frames[0].image, clip.frames[0].label
        for path, kind in ((image, 'train'), (label, 'trainannot')):
            (tmp_path / 'idd' / kind).mkdir(parents=True, exist_ok=True)
            (tmp_path / 'idd' / kind / path.name).symlink_to(path)
    (tmp_path / 'teacher').symlink_to(DATA / 'teacher' / 'idd_lite_train')
    done = run(tmp_path, '--height', 363)
    assert done.returncode == 0, done.stderr
    merged = find_clips('stills', tmp_path / 'merged', 'train')
    assert len(merged) == 29
    assert not check_frames(merged).problems
    assert read_frame(merged[0].frames[0], merged[0].labels)[0].shape == (363, 512, 3)
    record = json.loads((tmp_path / 'merged/merged_labels.json').read_text())
    assert 0.6 < record['taken'] < 0.8
    assert record['entries']['building or tree']['agrees'] > 0.7
