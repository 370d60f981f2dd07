from __future__ import annotations

import subprocess
import sys

from mcap.writer import CompressionType
import numpy as np
import pytest
from recorded_bags import (
    STAMP_NS,
    STEP_NS,
    STORE,
    assert_frames,
    header_at,
    image_at,
    label_at,
    raw_image,
    record,
    storage,
    write_mcap,
)
from rosbags.rosbag2 import CompressionMode, StoragePlugin
import yaml

from dcfm_ros.recordings.bag_storage import promised_counts
from dcfm_ros.recordings.bags import BagReader
from dcfm_ros.recordings.extract import ExtractOptions, extract_bag_once
from dcfm_ros.recordings.sources import SourceError, open_source
from dcfm_ros.torture.file_bags import MCAP_OPTIONS


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


def test_changed_pixel_of_an_mcap_without_chunks_is_reported(tmp_path):
    file, options = tmp_path / 'run.mcap', {'use_chunking': False, 'enable_data_crcs': True}
    write_mcap(file, [raw_image(image_at(i), header_at(i), 'rgb8') for i in range(3)], **options)
    reader = BagReader(file)
    assert_frames(reader.frames(), range(3))
    assert reader.losses.lines() == []
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert len(list(reader.frames())) == 3
    (line,) = reader.losses.lines()
    assert line.startswith('run.mcap is damaged somewhere: crc validation failed in DataEnd')


def test_topic_that_is_spelt_otherwise_at_the_end_of_an_mcap_is_reported(tmp_path):
    file, options = tmp_path / 'run.mcap', MCAP_OPTIONS['mcap without index']
    write_mcap(file, [raw_image(image_at(i), header_at(i), 'rgb8') for i in range(3)], **options)
    data = bytearray(file.read_bytes())
    data[data.rindex(b'/image') + 3] ^= 1
    file.write_bytes(data)
    reader = BagReader(file, topic='/image')
    assert_frames(reader.frames(), range(3))
    (line,) = reader.losses.lines()
    assert line == 'run.mcap is damaged: channel 1 is /image and again /im`ge'


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


def test_damaged_write_ahead_log_is_reported(tmp_path):
    record_and_die(tmp_path / 'run', 150)
    log = tmp_path / 'run/run_0.db3-wal'
    data = bytearray(log.read_bytes())
    data[len(data) // 2] ^= 1
    log.write_bytes(data)
    reader = BagReader(tmp_path / 'run')
    count = len(list(reader.frames()))
    assert 20 < count < 130
    (line,) = reader.losses.lines()
    assert line.startswith('run_0.db3-wal is damaged or ends early: ')


@pytest.mark.parametrize('text', ['[' * 5000, f'a: {"9" * 5000}', '&a {a: *a}'])
def test_metadata_of_no_recorder_is_not_taken(tmp_path, text):
    bag = record(tmp_path / 'run', 5)
    (bag / 'metadata.yaml').write_text(text)
    assert promised_counts(bag) == {}
    assert_frames(BagReader(bag, topic='/image').frames(), range(5))


def test_count_that_is_no_number_is_not_taken(tmp_path):
    bag = record(tmp_path / 'run', 5)
    metadata = bag / 'metadata.yaml'
    metadata.write_text(metadata.read_text().replace('message_count: 5', 'message_count: x'))
    assert_frames(BagReader(bag, topic='/image').frames(), range(5))


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


def test_bag_for_training_may_be_stamped_out_of_order_and_says_so(tmp_path, caplog):
    def make(index, header):
        yield '/image', raw_image(image_at(index), header_at((0, 2, 1)[index]), 'rgb8')

    bag = record(tmp_path / 'run', 3, make=make)
    folder = extract_bag_once(bag, tmp_path / 'cache', ExtractOptions())
    assert len(list((folder / 'images').iterdir())) == 3
    (message,) = caplog.messages
    assert message.startswith(f'{bag}: 1 of 3 images on /image are not stamped later')
