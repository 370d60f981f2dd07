from __future__ import annotations

from dataclasses import replace

import av
import cv2
import numpy as np
from PIL import Image
import pytest
from repository import DATA

from dcfm_ros.recordings.bag_writer import write_bag
from dcfm_ros.recordings.sources import SourceError, SourceFrame, is_bag, open_source, source_kind
from dcfm_ros.recordings.video import VideoWriter
from dcfm_ros.replay.options import RecordingOptions
from dcfm_ros.replay.recording import open_recording
from dcfm_ros.torture.file_hostile import hostile_files


def make_frames(count=4, size=(48, 64)):
    random = np.random.default_rng(0)
    for index in range(count):
        yield SourceFrame(
            image=random.integers(0, 256, (*size, 3), dtype=np.uint8),
            stamp_ns=1_700_000_000_000_000_001 + index * 66_666_667,
            frame_id='front_optical',
            label=random.integers(0, 11, size, dtype=np.uint8),
        )


def open_with_options(source, **options):
    texts = {name: str(value) for name, value in options.items()}
    return open_recording(source, RecordingOptions(**texts))


@pytest.fixture
def folder(tmp_path):
    for index, frame in enumerate(make_frames()):
        for name, picture in (('images', frame.image[..., ::-1]), ('labels', frame.label)):
            (tmp_path / name).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / name / f'{index:03d}.png'), picture)
    return tmp_path


def test_folder_gives_rgb_images_and_labels_in_order(folder):
    read = list(open_source(str(folder / 'images'), labels=folder / 'labels', rate_hz=10))
    for found, frame in zip(read, make_frames(), strict=True):
        np.testing.assert_array_equal(found.image, frame.image)
        np.testing.assert_array_equal(found.label, frame.label)
    assert [f.stamp_ns for f in read] == [100_000_000, 200_000_000, 300_000_000, 400_000_000]


def test_folder_is_read_in_numerical_order(tmp_path):
    for number in (1, 2, 10, 11):
        cv2.imwrite(str(tmp_path / f'frame{number}.png'), np.full((4, 4), number, np.uint8))
    assert [frame.image.max() for frame in open_source(str(tmp_path))] == [1, 2, 10, 11]


def test_missing_labels_are_all_named(folder):
    for name in ('001', '003'):
        (folder / 'labels' / f'{name}.png').unlink()
    with pytest.raises(SourceError, match=r"2 images: \['001', '003'\]"):
        list(open_source(str(folder / 'images'), labels=folder / 'labels'))


def test_label_of_another_size_is_refused(folder):
    cv2.imwrite(str(folder / 'labels' / '000.png'), np.zeros((5, 5), np.uint8))
    with pytest.raises(SourceError, match=r'must be a \(48, 64\) mask, as 000.* is, got \(5, 5\)'):
        list(open_source(str(folder / 'images'), labels=folder / 'labels'))


def test_broken_image_is_named(folder):
    (folder / 'images' / '002.png').write_bytes(b'nothing')
    with pytest.raises(SourceError, match=r'002\.png'):
        list(open_source(str(folder / 'images')))


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_image_that_was_cut_off_is_named(tmp_path, suffix):
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    cv2.imwrite(str(tmp_path / f'a{suffix}'), image)
    data = (tmp_path / f'a{suffix}').read_bytes()
    for length in range(300, len(data), 199):
        (tmp_path / f'a{suffix}').write_bytes(data[:length])
        with pytest.raises(SourceError, match=f'a{suffix} cannot be decoded: .* cut off after'):
            list(open_source(str(tmp_path)))


def test_image_that_promises_more_than_any_camera_is_named(tmp_path):
    (tmp_path / 'a.png').write_bytes(hostile_files('PNG image')['PNG of 30000x30000'])
    with pytest.raises(SourceError, match=r'a\.png cannot be decoded: .* got 30000 x 30000'):
        list(open_source(str(tmp_path)))


def test_turned_photographs_are_turned_as_before(tmp_path):
    """Cameras of people write how they were held; `check_whole` does not change what is read."""
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / 'a.png')
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).save(tmp_path / 'b.jpg', exif=exif)
    plain, turned = open_source(str(tmp_path))
    np.testing.assert_array_equal(plain.image, image)
    assert turned.image.shape == (64, 48, 3)


def test_bag_gives_back_every_pixel_and_header(tmp_path):
    bag = tmp_path / 'bag'
    assert write_bag(bag, make_frames()) == 4
    read = list(open_source(str(bag), label_topic='/camera/label'))
    for found, frame in zip(read, make_frames(), strict=True):
        np.testing.assert_array_equal(found.image, frame.image)
        np.testing.assert_array_equal(found.label, frame.label)
        assert (found.stamp_ns, found.frame_id) == (frame.stamp_ns, frame.frame_id)


def test_bag_has_no_labels_unless_its_mask_topic_is_named(tmp_path):
    write_bag(tmp_path / 'bag', make_frames())
    read = open_source(str(tmp_path / 'bag'), topic='/camera/image_raw')
    assert [frame.label for frame in read] == [None] * 4


def test_bag_with_several_image_topics_asks_for_one(tmp_path):
    write_bag(tmp_path / 'bag', make_frames())
    with pytest.raises(SourceError, match='several image topics'):
        list(open_source(str(tmp_path / 'bag')))


def test_unknown_topic_names_those_of_the_bag(tmp_path):
    write_bag(tmp_path / 'bag', make_frames())
    with pytest.raises(SourceError, match='/camera/image_raw'):
        list(open_source(str(tmp_path / 'bag'), topic='/nothing', label_topic='/camera/label'))


def test_bag_is_never_overwritten(tmp_path):
    write_bag(tmp_path / 'bag', make_frames())
    with pytest.raises(FileExistsError):
        write_bag(tmp_path / 'bag', make_frames())


@pytest.mark.parametrize('number', [0, 2])
def test_bag_that_fails_leaves_nothing(tmp_path, number):
    def breaks_off():
        yield from make_frames(number)
        raise SourceError('cable pulled')

    with pytest.raises(SourceError, match='cable pulled'):
        write_bag(tmp_path / 'bag', breaks_off())
    assert not list(tmp_path.iterdir())


def test_bag_without_frames_is_an_error(tmp_path):
    with pytest.raises(SourceError, match='no frames to record'):
        write_bag(tmp_path / 'bag', [])
    assert not list(tmp_path.iterdir())


def test_bag_of_mixed_sizes_gives_back_every_pixel(tmp_path):
    made = [*make_frames(2), *make_frames(2, (24, 40)), *make_frames(1)]
    made = [replace(frame, stamp_ns=index) for index, frame in enumerate(made)]
    write_bag(tmp_path / 'bag', made)
    read = list(open_source(str(tmp_path / 'bag'), label_topic='/camera/label'))
    for found, frame in zip(read, made, strict=True):
        np.testing.assert_array_equal(found.image, frame.image)
        np.testing.assert_array_equal(found.label, frame.label)


@pytest.mark.parametrize('name', ['._001.png', '.hidden.png', 'Thumbs.db', 'desktop.ini'])
def test_files_that_are_not_frames_are_passed_over(folder, name):
    (folder / 'images' / name).write_bytes(b'\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X')
    assert len(list(open_source(str(folder / 'images')))) == 4


@pytest.mark.parametrize(
    ('name', 'expected'),
    [('a.mcap', True), ('a.db3', True), ('a.db3.zstd', True), ('a.bag', True), ('a.mp4', False),
     ('._a.mcap', False), ('a.yaml', False)],
)  # fmt: skip
def test_bag_is_known_by_its_name(tmp_path, name, expected):
    (tmp_path / name).touch()
    assert is_bag(tmp_path / name) == expected


def test_source_is_known_by_what_it_is(tmp_path):
    assert source_kind('0') == 'camera'
    assert source_kind(str(tmp_path)) == 'folder'
    for name, kind in (('a.mcap', 'bag'), ('a.mp4', 'video'), ('7', 'video')):
        (tmp_path / name).touch()
        assert source_kind(str(tmp_path / name)) == kind
    assert source_kind(str(tmp_path)) == 'bag'  # by its .mcap file


@pytest.mark.parametrize('name', ['a.mcap', 'a_0.db3', 'metadata.yaml', 'a.db3.zstd'])
def test_folder_with_files_of_a_bag_is_a_bag(tmp_path, name):
    assert not is_bag(tmp_path)
    (tmp_path / name).touch()
    assert is_bag(tmp_path)


def test_video_is_whole_and_stamped_by_its_rate(tmp_path):
    path = tmp_path / 'clip.mp4'
    with VideoWriter(path, 20) as writer:
        for level in (40, 120, 200):
            writer.write(np.full((49, 65, 3), level, np.uint8))
    read = list(open_source(str(path)))
    assert [f.stamp_ns for f in read] == [50_000_000, 100_000_000, 150_000_000]
    assert [round(f.image.mean(), -1) for f in read] == [40, 120, 200]
    assert read[0].image.shape == (48, 64, 3)
    assert [p.name for p in tmp_path.iterdir()] == ['clip.mp4']


def test_video_keeps_its_first_size(tmp_path):
    path = tmp_path / 'clip.mp4'
    with VideoWriter(path, 20) as writer:
        for size in ((48, 64), (24, 32), (96, 160), (49, 65)):
            writer.write(np.full((*size, 3), 120, np.uint8))
    read = list(open_source(str(path)))
    assert [frame.image.shape for frame in read] == [(48, 64, 3)] * 4
    assert [round(frame.image.mean(), -1) for frame in read] == [120] * 4


def test_frames_missing_at_the_end_of_a_video_are_reported(tmp_path, caplog):
    whole, cut = tmp_path / 'whole.mp4', tmp_path / 'cut.mp4'
    random = np.random.default_rng(0)
    # The index in front, as cameras and web pages have it, says how many frames there should be.
    with av.open(str(whole), 'w', options={'movflags': 'faststart'}) as container:
        stream = container.add_stream('libx264', rate=20, width=64, height=48)
        for _ in range(40):
            image = random.integers(0, 256, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format='rgb24')))
        container.mux(stream.encode())
    assert len(list(open_source(str(whole)))) == 40
    assert not caplog.messages
    data = whole.read_bytes()
    cut.write_bytes(data[: len(data) * 2 // 3])
    count = len(list(open_source(str(cut))))
    assert 10 < count < 40
    assert caplog.messages == [f'{cut}: {count} of 40 frames can be read']


def test_video_without_a_frame_that_can_be_read_is_named(tmp_path):
    path = tmp_path / 'a.mp4'
    with VideoWriter(path, 15.0) as writer:
        writer.write(np.zeros((48, 64, 3), np.uint8))
    data = path.read_bytes()
    begin = data.index(b'mdat') + 4
    path.write_bytes(
        data[:begin] + bytes(data.index(b'moov') - 4 - begin) + data[data.index(b'moov') - 4 :]
    )
    with pytest.raises(SourceError, match=r'a\.mp4 is not a video that OpenCV can read: it finds'):
        list(open_source(str(path)))


def test_video_that_failed_leaves_no_file(tmp_path):
    with pytest.raises(KeyError), VideoWriter(tmp_path / 'clip.mp4', 20) as writer:
        writer.write(np.zeros((48, 64, 3), np.uint8))
        raise KeyError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', ['text.mp4', 'empty_folder', 'broken.mcap'])
def test_unreadable_input_is_named(tmp_path, name):
    path = tmp_path / name
    if name == 'empty_folder':
        path.mkdir()
    else:
        path.write_text('this is not what the name says')
    with pytest.raises(SourceError, match=name):
        list(open_source(str(path)))


@pytest.mark.parametrize('opened', [open_source, open_with_options])
def test_labels_of_another_kind_of_source_are_refused(folder, opened):
    images, video = folder / 'images', folder / 'run.mp4'
    write_bag(folder / 'bag', make_frames())
    video.touch()
    labels = {'labels': folder / 'labels'}
    with pytest.raises(
        ValueError, match=r'`labels` .* needs an image folder, .*bag is a bag; mask'
    ):
        opened(str(folder / 'bag'), **labels)
    with pytest.raises(ValueError, match=r'`labels` .* needs an image folder, .*mp4 is a video$'):
        opened(str(video), **labels)
    with pytest.raises(ValueError, match=r'`label_topic` .* needs a bag, .* is an image folder; '):
        opened(str(images), label_topic='/label')
    with pytest.raises(ValueError, match=r'`label_topic` .* needs a bag, .*mp4 is a video$'):
        opened(str(video), label_topic='/label')


@pytest.mark.parametrize('size', [(1, 8), (8, 1), (3, 5)])
def test_video_of_few_rows_can_be_written(tmp_path, size):
    path = tmp_path / 'o.mp4'
    with VideoWriter(path, 10) as writer:
        for frame in make_frames(2, size):
            writer.write(frame.image)
    height, width = size
    shapes = [frame.image.shape for frame in open_source(str(path))]
    assert shapes == [(max(height // 2 * 2, 2), max(width // 2 * 2, 2), 3)] * 2


def test_missing_input_is_a_file_not_found_error(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        open_source(str(tmp_path / 'nowhere'))


HIGHWAY = DATA / 'videos/highway_960x540_25fps.mp4'


@pytest.mark.skipif(not HIGHWAY.exists(), reason=f'real video absent: {HIGHWAY}')
def test_real_video_is_read_to_its_end():
    frames = list(open_source(str(HIGHWAY)))
    assert len(frames) == 221
    assert frames[0].image.shape == (540, 960, 3)
    assert frames[25].stamp_ns - frames[0].stamp_ns == 1_000_000_000
