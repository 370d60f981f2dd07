from __future__ import annotations

from dataclasses import replace
from pathlib import Path
import re
import shutil

from mcap.writer import Writer as McapWriter
import numpy as np
from PIL import Image
import pytest
from recorded_bags import (
    SIZE,
    STAMP_NS,
    STEP_NS,
    STORE,
    assert_frames,
    compressed_image,
    header_at,
    image_at,
    label_at,
    raw_image,
    record,
    storage,
    write_mcap,
)
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionMode, StoragePlugin
from rosbags.typesys import Stores, get_typestore

from dcfm_ros.recordings.bag_storage import storage_files
from dcfm_ros.recordings.bags import BagReader
from dcfm_ros.recordings.sources import SourceError, is_bag, open_source
from dcfm_ros.training.footage.decoding import decode_label
from dcfm_ros.training.footage.label_sets import label_set_of


@pytest.mark.parametrize('plugin', [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize('mode', [None, CompressionMode.FILE, CompressionMode.MESSAGE])
def test_bag_is_read_whatever_its_storage_and_compression(tmp_path, plugin, mode):
    bag = record(tmp_path / 'run', plugin=plugin, mode=mode)
    reader = BagReader(bag, topic='/image', label_topic='/label')
    frames = list(reader.frames())
    assert_frames(frames, range(8))
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.label, label_at(index))
    assert reader.losses.lines() == []


@pytest.mark.parametrize('plugin', [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize('mode', [None, CompressionMode.FILE, CompressionMode.MESSAGE])
def test_file_of_a_bag_is_read_without_its_folder(tmp_path, plugin, mode):
    file = storage(record(tmp_path / 'run', plugin=plugin, mode=mode))
    moved = shutil.copy(file, tmp_path / file.name)
    assert is_bag(moved)
    assert_frames(open_source(str(moved), topic='/image'), range(8))


def test_ros1_bag_is_read(tmp_path):
    store = get_typestore(Stores.ROS1_NOETIC)
    path = tmp_path / 'run.bag'
    with Writer1(path) as writer:
        connection = writer.add_connection('/image', 'sensor_msgs/msg/Image', typestore=store)
        for index in range(3):
            message = raw_image(
                image_at(index), header_at(index, store.types, seq=index), 'rgb8', store.types
            )
            raw = store.serialize_ros1(message, connection.msgtype)
            writer.write(connection, STAMP_NS + index * STEP_NS, bytes(raw))
    assert_frames(BagReader(path).frames(), range(3))


def test_ros1_bag_without_index_is_refused_with_the_remedy(tmp_path):
    (tmp_path / 'run.bag').write_bytes(b'#ROSBAG V2.0\n')
    with pytest.raises(SourceError, match=r'run\.bag cannot be read'):
        list(BagReader(tmp_path / 'run.bag').frames())


def test_compressed_images_and_masks_are_decoded(tmp_path):
    def make(index, header):
        yield '/image/compressed', compressed_image(image_at(index), header)
        yield '/label/compressed', compressed_image(label_at(index), header)

    bag = record(tmp_path / 'run', make=make)
    reader = BagReader(bag, topic='/image/compressed', label_topic='/label/compressed')
    frames = list(reader.frames())
    assert_frames(frames, range(8))
    np.testing.assert_array_equal(frames[3].label, label_at(3))


def test_grey_jpeg_becomes_rgb(tmp_path):
    grey = np.full(SIZE, 90, np.uint8)
    bag = record(
        tmp_path / 'run',
        1,
        make=lambda index, header: [('/image', compressed_image(grey, header, '.jpg'))],
    )
    (frame,) = BagReader(bag).frames()
    assert frame.image.shape == (*SIZE, 3)
    assert abs(int(frame.image.mean()) - 90) <= 2


def test_label_joins_by_stamp_wherever_it_was_recorded(tmp_path):
    def make(index, header):
        yield '/image', raw_image(image_at(index), header, 'rgb8')
        if index >= 4:  # recorded late: the labels of 0 to 3
            yield '/label', raw_image(label_at(index - 4), header_at(index - 4), 'mono8')

    frames = BagReader(
        record(tmp_path / 'run', make=make), topic='/image', label_topic='/label'
    ).frames()
    labels = [frame.label for frame in frames]
    for index in range(4):
        np.testing.assert_array_equal(labels[index], label_at(index))
    assert labels[4:] == [None] * 4


def test_labels_that_fit_no_image_are_reported(tmp_path):
    def make(index, header):
        yield '/image', raw_image(image_at(index), header, 'rgb8')
        yield '/label', raw_image(label_at(index), header_at(index + 100), 'mono8')

    reader = BagReader(record(tmp_path / 'run', 3, make=make), label_topic='/label')
    assert [frame.label for frame in reader.frames()] == [None] * 3
    assert reader.losses.lines() == ['no mask on /label has the stamp of an image']


def test_several_image_topics_are_all_named(tmp_path):
    bag = record(tmp_path / 'run')
    with pytest.raises(SourceError, match=r"name one: \['/image', '/label'\]"):
        list(BagReader(bag).frames())


def test_label_topic_is_no_candidate_for_images(tmp_path):
    reader = BagReader(record(tmp_path / 'run'), label_topic='/label')
    assert_frames(reader.frames(), range(8))
    assert reader.topic == '/image'


def test_undecodable_messages_are_counted_and_the_first_is_quoted(tmp_path):
    def make(index, header):
        message = compressed_image(image_at(index), header)
        if index in (2, 5):
            message = type(message)(header=header, format='png', data=message.data[:20])
        yield '/image', message

    reader = BagReader(record(tmp_path / 'run', make=make))
    assert_frames(reader.frames(), [0, 1, 3, 4, 6, 7])
    assert reader.losses.num_undecodable == 2
    (line,) = reader.losses.lines()
    assert line.startswith('2 messages cannot be decoded, the first: /image at 1700000000.133 s')
    assert 'must be a whole PNG image, got one cut off after 20 bytes' in line


def test_images_become_rgb_as_in_the_node(tmp_path):
    deep = np.random.default_rng(0).integers(0, 1 << 16, (*SIZE, 1), dtype=np.uint16)

    def make(index, header):
        message = raw_image(deep.view(np.uint8), header, 'mono16')
        yield '/image', message

    (frame,) = BagReader(record(tmp_path / 'run', 1, make=make)).frames()
    np.testing.assert_array_equal(frame.image, np.repeat(deep >> 8, 3, axis=2))


def test_image_with_too_few_bytes_is_undecodable(tmp_path):
    def make(index, header):
        message = raw_image(image_at(index), header, 'rgb8')
        message.data = message.data[: 100 if index == 1 else None]
        yield '/image', message

    reader = BagReader(record(tmp_path / 'run', 3, make=make))
    assert_frames(reader.frames(), [0, 2])
    assert reader.losses.num_undecodable == 1


@pytest.mark.parametrize(
    'name',
    ['run_{}.mcap', pytest.param('{}_run_2026_11_30-09_05_{:02}.mcap', id='from Lyrical on')],
)
def test_folder_without_metadata_is_read_in_the_order_of_its_numbers(tmp_path, name):
    folder = tmp_path / 'run'
    folder.mkdir()
    names = [name.format(number, number) for number in (2, 10)]
    for number, first in ((0, 4), (1, 6)):
        part = record(
            tmp_path / f'part{number}',
            2,
            make=lambda i, _, first=first: [
                ('/image', raw_image(image_at(first + i), header_at(first + i), 'rgb8'))
            ],
        )
        storage(part).rename(folder / names[number])
    assert is_bag(folder)
    assert [file.name for file in storage_files(folder)] == names
    assert_frames(open_source(str(folder)), [4, 5, 6, 7])


def test_frames_can_be_read_again(tmp_path):
    reader = BagReader(record(tmp_path / 'run', 2), topic='/image')
    assert_frames(reader.frames(), range(2))
    assert_frames(reader.frames(), range(2))


@pytest.mark.parametrize(
    ('profile', 'kind', 'encoding'),
    [
        ('ros1', 'sensor_msgs/Image', 'ros1'),
        ('', 'foxglove.CompressedImage', 'protobuf'),
        ('ros2', 'sensor_msgs/msg/Image', 'json'),
        ('ros2', 'sensor_msgs/msg/Imu', 'cdr'),
    ],
)
def test_bag_without_images_names_what_it_holds(tmp_path, profile, kind, encoding):
    with (tmp_path / 'run.mcap').open('wb') as file:
        writer = McapWriter(file)
        writer.start(profile=profile)
        schema = writer.register_schema(kind, 'any', b'')
        writer.add_message(writer.register_channel('/front', encoding, schema), 1, bytes(40), 1)
        writer.finish()
    found = f'has no image topic; it holds /front ({kind}, {encoding}); supported are sensor_msgs'
    with pytest.raises(SourceError, match=re.escape(found)):
        list(BagReader(tmp_path / 'run.mcap').frames())


def test_mcap_of_another_profile_with_ros_2_images_is_whole(tmp_path):
    write_mcap(tmp_path / 'run.mcap', [raw_image(image_at(0), header_at(0), 'rgb8')])
    reader = BagReader(tmp_path / 'run.mcap')
    assert_frames(reader.frames(), [0])
    assert reader.losses.lines() == []


def test_hidden_files_are_no_bags(tmp_path):
    bag = record(tmp_path / 'run', 2)
    (bag / 'metadata.yaml').unlink()
    (bag / '._run.mcap').write_bytes(b'AppleDouble')
    assert not is_bag(bag / '._run.mcap')
    assert [file.name for file in storage_files(bag)] == ['run.mcap']


def test_missing_bag_is_a_file_not_found_error():
    with pytest.raises(FileNotFoundError, match='nowhere'):
        list(BagReader(Path('nowhere.mcap')).frames())


def test_masks_of_one_bit_and_of_a_palette_are_read_as_in_training(tmp_path):
    ids = (label_at(0) > 4).astype(np.uint8)
    pictures = [Image.fromarray(ids * 255).convert('1'), Image.fromarray(ids, 'L')]
    pictures[1].putpalette([0, 0, 0, 255, 255, 255])
    for index, picture in enumerate(pictures):
        for kind in ('masks', 'images'):
            (tmp_path / kind).mkdir(exist_ok=True)
        picture.save(tmp_path / f'masks/{index}.png')
        Image.fromarray(image_at(index)).save(tmp_path / f'images/{index}.png')

    def make(index, header):
        data = np.frombuffer((tmp_path / f'masks/{index}.png').read_bytes(), np.uint8)
        kind = STORE.types['sensor_msgs/msg/CompressedImage']
        yield '/image', raw_image(image_at(index), header, 'rgb8')
        yield '/label', kind(header=header, format='png', data=data)

    bag = record(tmp_path / 'run', 2, make=make)
    of_bag = open_source(str(bag), topic='/image', label_topic='/label')
    of_folder = open_source(str(tmp_path / 'images'), labels=tmp_path / 'masks')
    two_classes = label_set_of('two', ('a', 'b'), ((0, 0, 0), (1, 1, 1)), {0: 0, 1: 1})
    for index, frames in enumerate(zip(of_bag, of_folder, strict=True)):
        problems = []
        label = decode_label(tmp_path / f'masks/{index}.png', two_classes, problems)
        assert not problems
        for read in (label, *(frame.label for frame in frames)):
            np.testing.assert_array_equal(read, ids)


def stamped(stamps, label_stamps=None):
    """For `record`: images and masks with these stamps; each mask holds the number of its image.

    A mask is recorded behind its image; the stamps of the masks are those of the images, if None.
    """

    def make(index, header):
        for topic, stamp_ns in (
            ('/image', stamps[index]),
            ('/label', (label_stamps or stamps)[index]),
        ):
            sec, nanosec = divmod(stamp_ns, 1_000_000_000)
            time = STORE.types['builtin_interfaces/msg/Time'](sec=sec, nanosec=nanosec)
            own = replace(header, stamp=time)
            plane = image_at(index) if topic == '/image' else np.full(SIZE, index, np.uint8)
            yield topic, raw_image(plane, own, 'rgb8' if topic == '/image' else 'mono8')

    return make


@pytest.mark.parametrize(
    ('stamps', 'expected', 'lost', 'late'),
    [
        ([0, 0, 0, 0], [None] * 4, '4 of 4 masks on /label are not used', '3 of 4 images'),
        ([5, 7, 7, 9], [0, None, None, 3], '2 of 4 masks on /label are not used', '1 of 4 images'),
        ([9, 7, 5, 8], [0, 1, 2, 3], '', '2 of 4 images'),
        ([0, 1, 2, 3], [0, 1, 2, 3], '', ''),
    ],
)
def test_stamp_that_is_not_unique_decides_nothing(tmp_path, stamps, expected, lost, late):
    bag = record(tmp_path / 'run', 4, make=stamped(stamps))
    reader = BagReader(bag, topic='/image', label_topic='/label')
    frames = list(reader.frames())
    labels = [None if frame.label is None else int(frame.label[0, 0]) for frame in frames]
    assert labels == expected
    assert [frame.stamp_ns for frame in frames] == stamps
    for line, start in zip(reader.losses.lines(), filter(None, (lost, late)), strict=True):
        assert line.startswith(start)
    assert reader.losses.is_whole == (not lost)


def test_repeated_stamp_of_masks_or_of_images_alone_decides_nothing(tmp_path):
    for number, (stamps, label_stamps, expected) in enumerate(
        [
            ([5, 6, 7], [5, 5, 7], [False, False, True]),
            ([5, 5, 7], [5, 6, 7], [False, False, True]),
        ]
    ):
        bag = record(tmp_path / f'{number}', 3, make=stamped(stamps, label_stamps))
        frames = BagReader(bag, topic='/image', label_topic='/label').frames()
        assert [frame.label is not None for frame in frames] == expected


def test_mask_that_was_recorded_twice_is_used(tmp_path):
    def make(index, header):
        yield '/image', raw_image(image_at(index), header, 'rgb8')
        for _ in range(2):
            yield '/label', raw_image(label_at(index), header, 'mono8')

    reader = BagReader(record(tmp_path / 'run', 3, make=make), label_topic='/label')
    for index, frame in enumerate(reader.frames()):
        np.testing.assert_array_equal(frame.label, label_at(index))
    assert reader.losses.lines() == []


@pytest.mark.parametrize('plugin', [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_bag_is_read_under_any_path(tmp_path, plugin):
    bag = record(tmp_path / 'run', 2, plugin=plugin)
    (tmp_path / 'a b#1?%41 ü').mkdir()
    odd = bag.rename(tmp_path / 'a b#1?%41 ü/run %03d&mode=rw')
    for path in (odd, storage(odd)):
        reader = BagReader(path, topic='/image')
        assert_frames(reader.frames(), range(2))
        assert reader.losses.lines() == []
