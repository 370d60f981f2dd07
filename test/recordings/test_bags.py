from __future__ import annotations

from pathlib import Path
import re
import shutil
import subprocess
import sys

import cv2
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
import yaml

from dcfm_ros.recordings.bag_storage import promised_counts, storage_files
from dcfm_ros.recordings.bags import BagReader
from dcfm_ros.recordings.extract import ExtractOptions, extract_bag_once
from dcfm_ros.recordings.sources import SourceError, is_bag, open_source

STORE = get_typestore(Stores.ROS2_JAZZY)
SIZE = (24, 32)
STAMP_NS = 1_700_000_000_000_000_007
STEP_NS = 66_666_667


def image_at(index, size=SIZE):
    return np.random.default_rng(index).integers(0, 256, (*size, 3), dtype=np.uint8)


def label_at(index):
    return np.random.default_rng(100 + index).integers(0, 11, SIZE, dtype=np.uint8)


def header_at(index, types=STORE.types, **more):
    sec, nanosec = divmod(STAMP_NS + index * STEP_NS, 1_000_000_000)
    stamp = types['builtin_interfaces/msg/Time'](sec=sec, nanosec=nanosec)
    return types['std_msgs/msg/Header'](stamp=stamp, frame_id='front', **more)


def raw_image(plane, header, encoding, types=STORE.types):
    height, width = plane.shape[:2]
    return types['sensor_msgs/msg/Image'](
        header=header,
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=plane.strides[0],
        data=plane.ravel(),
    )


def compressed_image(plane, header, suffix='.png'):
    pixels = plane[..., ::-1] if plane.ndim == 3 else plane
    data = cv2.imencode(suffix, pixels)[1].ravel()
    kind = STORE.types['sensor_msgs/msg/CompressedImage']
    return kind(header=header, format=suffix[1:], data=data)


def record(path, count=8, plugin=StoragePlugin.MCAP, mode=None, size=SIZE, make=None):
    """A bag with images, masks and an IMU's worth of other messages."""
    writer = Writer(path, version=9, storage_plugin=plugin)
    if mode is not None:
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connections = {}

        def write(topic, message, index):
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
            raw = bytes(STORE.serialize_cdr(message, kind))
            writer.write(connections[topic], STAMP_NS + index * STEP_NS, raw)

        for index in range(count):
            header = header_at(index)
            text = STORE.types['std_msgs/msg/String'](data='something else')
            write('/other', text, index)
            if make is None:
                write('/label', raw_image(label_at(index), header, 'mono8'), index)
                write('/image', raw_image(image_at(index, size), header, 'rgb8'), index)
            else:
                for topic, message in make(index, header):
                    write(topic, message, index)
    return path


def write_mcap(path, messages, **options):
    """An MCAP file that does not say that it is of ROS 2."""
    with path.open('wb') as file:
        writer = McapWriter(file, **options)
        writer.start(profile='')
        kind = messages[0].__msgtype__
        channel = writer.register_channel(
            '/image', 'cdr', writer.register_schema(kind, 'ros2msg', b'')
        )
        for index, message in enumerate(messages):
            time_ns = STAMP_NS + index * STEP_NS
            writer.add_message(
                channel, time_ns, bytes(STORE.serialize_cdr(message, kind)), time_ns
            )
        writer.finish()


def storage(bag):
    (file,) = (file for file in bag.iterdir() if file.name != 'metadata.yaml')
    return file


def assert_frames(frames, numbers, size=SIZE):
    for frame, index in zip(frames, numbers, strict=True):
        np.testing.assert_array_equal(frame.image, image_at(index, size))
        assert frame.stamp_ns == STAMP_NS + index * STEP_NS
        assert frame.frame_id == 'front'


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


@pytest.mark.parametrize(('mode', 'least'), [(None, 19), (CompressionMode.STORAGE, 6)])
def test_mcap_that_was_cut_off_gives_what_was_written(tmp_path, mode, least):
    bag = record(tmp_path / 'run', 40, mode=mode, size=(120, 160))
    file = storage(bag)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    reader = BagReader(bag, topic='/image')
    frames = list(reader.frames())
    # Nothing is read of a compressed chunk that is cut off.
    assert least <= len(frames) <= 20
    assert_frames(frames, range(len(frames)), (120, 160))
    early, missing = reader.losses.lines()
    assert early.startswith(f'{file.name} ends early: record at byte ')
    promised = f'{40 - len(frames)} of 40 messages on /image that metadata.yaml promises'
    assert missing == f'{promised} are missing'


def test_mcap_without_footer_gives_all_its_messages(tmp_path):
    bag = record(tmp_path / 'run')
    file = storage(bag)
    file.write_bytes(file.read_bytes()[:-37])
    reader = BagReader(bag, topic='/image', label_topic='/label')
    frames = list(reader.frames())
    assert_frames(frames, range(8))
    np.testing.assert_array_equal(frames[7].label, label_at(7))
    assert len(reader.losses.lines()) == 1


@pytest.mark.parametrize(
    'options',
    [{'use_chunking': False}, {'chunk_size': 100}, {'compression': CompressionType.NONE}],
)
def test_every_cut_of_an_mcap_is_read_or_refused(tmp_path, options):
    whole = tmp_path / 'whole.mcap'
    write_mcap(whole, [raw_image(image_at(i), header_at(i), 'rgb8') for i in range(3)], **options)
    data = whole.read_bytes()
    cut = tmp_path / 'cut.mcap'
    counts = set()
    for length in range(0, len(data), 499):
        cut.write_bytes(data[:length])
        reader = BagReader(cut)
        try:
            counts.add(len(list(reader.frames())))
        except SourceError as error:
            assert 'cut.mcap' in str(error)
        else:
            (line,) = reader.losses.lines()
            assert line.startswith('cut.mcap ends early: record at byte ')
    assert counts | {0} == {0, 1, 2, 3}


@pytest.mark.parametrize('plugin', [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize('mode', [CompressionMode.NONE, CompressionMode.FILE])
def test_damage_anywhere_is_reported(tmp_path, plugin, mode):
    file = storage(record(tmp_path / 'run', 6, plugin, mode))
    whole = file.read_bytes()
    bad = tmp_path / f'bad{"".join(file.suffixes)}'
    rng = np.random.default_rng(0)
    for start in (*range(0, 100, 9), *rng.integers(0, len(whole), 30).tolist()):
        noise = rng.integers(0, 256, 60, dtype=np.uint8).tobytes()
        for data in (whole[:start], whole[:start] + noise + whole[start + len(noise) :]):
            bad.write_bytes(data)
            reader = BagReader(bad, topic='/image')
            try:
                count = len(list(reader.frames()))
            except SourceError as error:
                assert bad.name in str(error)
            else:
                assert count == 6 or reader.losses.lines()


@pytest.mark.parametrize('has_index', [True, False])
def test_damaged_chunk_does_not_hide_the_others(tmp_path, has_index):
    file = storage(record(tmp_path / 'run', 60, mode=CompressionMode.STORAGE, size=(240, 320)))
    data = bytearray(file.read_bytes()[: None if has_index else -37])
    middle = data.index(b'\x28\xb5\x2f\xfd', len(data) // 2)  # zstd, so a chunk
    data[middle : middle + 50] = bytes(50)
    file.write_bytes(data)
    reader = BagReader(file, topic='/image')
    stamps = [frame.stamp_ns for frame in reader.frames()]
    assert 50 < len(stamps) < 60
    assert stamps[-1] == STAMP_NS + 59 * STEP_NS
    assert stamps == sorted(set(stamps))
    gaps, other = reader.losses.lines()
    assert gaps.startswith('run.mcap has gaps: chunk at byte ')
    found = f'{len(stamps)} of 60 messages on /image can be read'
    assert other.startswith(f'run.mcap {f"is damaged: {found}" if has_index else "ends early: "}')


@pytest.mark.parametrize('share', [0.9, 0.5, 0.2])
def test_database_that_was_cut_off_gives_what_was_written(tmp_path, share):
    bag = record(tmp_path / 'run', 60, StoragePlugin.SQLITE3, size=(48, 64))
    file = storage(bag)
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    reader = BagReader(bag, topic='/image')
    frames = list(reader.frames())
    assert 60 * share - 4 <= len(frames) < 60
    assert_frames(frames, range(len(frames)), (48, 64))
    early, missing = reader.losses.lines()
    assert early.startswith(f'{file.name} ends early: database disk image is malformed; `sqlite3 ')
    assert missing.startswith(f'{60 - len(frames)} of 60 messages on /image that metadata.yaml')


def test_file_that_is_no_database_names_the_remedy(tmp_path):
    (tmp_path / 'run.db3').write_bytes(bytes(5000))
    with pytest.raises(SourceError, match=r'run\.db3 \.recover'):
        list(BagReader(tmp_path / 'run.db3').frames())


def test_compressed_file_that_was_cut_off_gives_what_was_written(tmp_path):
    bag = record(tmp_path / 'run', 60, mode=CompressionMode.FILE, size=(120, 160))
    file = storage(bag)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    reader = BagReader(bag, topic='/image')
    frames = list(reader.frames())
    assert 15 <= len(frames) < 60
    assert_frames(frames, range(len(frames)), (120, 160))
    assert f'{file.name} ends early' in reader.losses.lines()[0]


def test_folder_without_metadata_is_read_in_the_order_of_its_numbers(tmp_path):
    folder = tmp_path / 'run'
    folder.mkdir()
    for number, first in ((2, 4), (10, 6)):
        part = record(
            tmp_path / f'part{number}',
            2,
            make=lambda i, _, first=first: [
                ('/image', raw_image(image_at(first + i), header_at(first + i), 'rgb8'))
            ],
        )
        storage(part).rename(folder / f'run_{number}.mcap')
    assert is_bag(folder)
    assert [file.name for file in storage_files(folder)] == ['run_2.mcap', 'run_10.mcap']
    assert_frames(open_source(str(folder)), [4, 5, 6, 7])


def test_missing_file_is_reported(tmp_path):
    bag = record(tmp_path / 'run', 2)
    metadata = bag / 'metadata.yaml'
    names = '- run.mcap\n  - run_1.mcap'
    metadata.write_text(metadata.read_text().replace('- run.mcap', names, 1))
    reader = BagReader(bag, topic='/image')
    assert_frames(reader.frames(), range(2))
    assert reader.losses.lines() == ['run_1.mcap is missing']


def test_metadata_promises_messages(tmp_path):
    bag = record(tmp_path / 'run', 5)
    assert promised_counts(bag) == {'/other': 5, '/image': 5, '/label': 5}
    (bag / 'metadata.yaml').write_text('rosbag2_bagfile_information:\n  version: [')
    assert promised_counts(bag) == {}
    assert_frames(BagReader(bag, topic='/image').frames(), range(5))


def test_bag_for_training_must_be_whole(tmp_path):
    bag = record(tmp_path / 'run', 16, size=(240, 320))
    file = storage(bag)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(SourceError, match=r'run is not whole: .* ends early'):
        extract_bag_once(bag, tmp_path / 'cache', ExtractOptions(topic='/image'))
    assert not list((tmp_path / 'cache').iterdir())


def test_frames_can_be_read_again(tmp_path):
    reader = BagReader(record(tmp_path / 'run', 2), topic='/image')
    assert_frames(reader.frames(), range(2))
    assert_frames(reader.frames(), range(2))


def record_and_die(folder, count):
    """What a recorder leaves that is killed in the middle, with SQLite's write-ahead log."""
    folder.mkdir()
    child = """if True:
        import os, signal, sqlite3, sys
        database = sqlite3.connect(sys.argv[1], isolation_level=None)
        database.execute('PRAGMA journal_mode=WAL')
        database.execute('CREATE TABLE topics(id, name, type, serialization_format)')
        columns = 'id INTEGER PRIMARY KEY, topic_id, timestamp, data'
        database.execute(f'CREATE TABLE messages({columns})')
        row = (1, '/image', 'sensor_msgs/msg/Image', 'cdr')
        database.execute('INSERT INTO topics VALUES (?, ?, ?, ?)', row)
        for index, raw in enumerate(sys.stdin.read().split()):
            row = (index, 1, index, bytes.fromhex(raw))
            database.execute('INSERT INTO messages VALUES (?, ?, ?, ?)', row)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    messages = (raw_image(image_at(i), header_at(i), 'rgb8') for i in range(count))
    raws = '\n'.join(bytes(STORE.serialize_cdr(m, m.__msgtype__)).hex() for m in messages)
    command = [sys.executable, '-c', child, str(folder / 'run_0.db3')]
    subprocess.run(command, input=raws, text=True, check=False)


@pytest.mark.parametrize('has_index', [True, False])
def test_write_ahead_log_of_a_killed_recorder_is_read_and_left_alone(tmp_path, has_index):
    folder = tmp_path / 'run'
    record_and_die(folder, 150)
    if not has_index:
        (folder / 'run_0.db3-shm').unlink()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(before['run_0.db3-wal']) > 10_000
    reader = BagReader(folder)
    assert_frames(reader.frames(), range(150))
    assert reader.losses.lines() == []
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_missing_write_ahead_log_is_reported(tmp_path):
    record_and_die(tmp_path / 'run', 150)
    (tmp_path / 'run/run_0.db3-wal').unlink()
    missing = 'run_0.db3-wal is missing; it may hold the last messages'
    with pytest.raises(SourceError, match=missing):  # here it holds all of them
        list(BagReader(tmp_path / 'run').frames())


@pytest.mark.parametrize('topic', ['/image', '/label'])
def test_messages_that_metadata_promises_are_reported(tmp_path, topic):
    bag = record(tmp_path / 'run', 5)
    metadata = bag / 'metadata.yaml'
    values = yaml.safe_load(metadata.read_text())
    for entry in values['rosbag2_bagfile_information']['topics_with_message_count']:
        entry['message_count'] += 2 * (entry['topic_metadata']['name'] == topic)
    metadata.write_text(yaml.safe_dump(values))
    reader = BagReader(bag, label_topic='/label')
    assert_frames(reader.frames(), range(5))
    (line,) = reader.losses.lines()
    assert line == f'2 of 7 messages on {topic} that metadata.yaml promises are missing'


def test_losses_are_logged_by_a_source(tmp_path, caplog):
    bag = record(tmp_path / 'run', 4)
    (bag / 'metadata.yaml').unlink()
    file = storage(bag)
    file.write_bytes(file.read_bytes()[:-37])
    assert_frames(open_source(str(bag), topic='/image'), range(4))
    (message,) = caplog.messages
    assert message.startswith(f'{bag}: run.mcap ends early: ')


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
