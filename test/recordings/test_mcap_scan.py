from __future__ import annotations

import itertools
import struct

from mcap.opcode import Opcode
from mcap.reader import SeekingReader
from mcap.writer import IndexType
import pytest
from recorded_bags import (
    STAMP_NS,
    STEP_NS,
    assert_frames,
    header_at,
    image_at,
    raw_image,
    record,
    storage,
    write_mcap,
)
from rosbags.rosbag2 import CompressionMode

from dcfm_ros.recordings.bag_messages import BagLosses
from dcfm_ros.recordings.bags import BagReader
from dcfm_ros.recordings.mcap_scan import McapScan, has_whole_index

IN_ORDER = range(12)
MIXED = [3, 0, 1, 2, 7, 5, 6, 4, 11, 8, 9, 10]
INDEXES = {
    'all': IndexType.ALL,
    'none': IndexType.NONE,
    'chunks': IndexType.ALL & ~IndexType.MESSAGE,
    'messages': IndexType.ALL & ~IndexType.CHUNK,
}


def write(path, times, **options):
    """Image i is recorded at `times[i]`, and stamped so."""
    messages = [raw_image(image_at(time), header_at(time), 'rgb8') for time in times]
    write_mcap(path, messages, times, **options)
    return path


@pytest.mark.parametrize('profile', ['ros2', ''])
@pytest.mark.parametrize('index', INDEXES)
def test_every_message_is_read_whatever_the_summary_has(tmp_path, index, profile):
    for statistics, repeat, chunks in itertools.product([True, False], repeat=3):
        for times in (IN_ORDER, MIXED):
            path = write(
                tmp_path / 'run.mcap',
                times,
                profile=profile,
                index_types=INDEXES[index],
                use_statistics=statistics,
                repeat_channels=repeat,
                repeat_schemas=repeat,
                use_chunking=chunks,
                chunk_size=5000,  # two images
            )
            reader = BagReader(path)
            assert_frames(reader.frames(), range(12))
            assert reader.losses.lines() == []


def test_index_is_whole_where_it_leads_to_all(tmp_path):
    assert has_whole_index(write(tmp_path / 'a.mcap', MIXED, chunk_size=5000))
    assert has_whole_index(storage(record(tmp_path / 'run', mode=CompressionMode.STORAGE)))
    assert not has_whole_index(write(tmp_path / 'b.mcap', MIXED, use_chunking=False))
    assert not has_whole_index(write(tmp_path / 'c.mcap', MIXED, repeat_schemas=False))
    (tmp_path / 'd.mcap').write_bytes(b'')
    assert not has_whole_index(tmp_path / 'd.mcap')


def test_index_that_forgets_a_chunk_is_not_used(tmp_path):
    path = write(tmp_path / 'run.mcap', IN_ORDER, profile='ros2', chunk_size=5000)
    data = bytearray(path.read_bytes())
    (position,) = struct.unpack_from('<Q', data, len(data) - 28)  # start of the summary
    while data[position] != Opcode.CHUNK_INDEX:
        position += 9 + struct.unpack_from('<Q', data, position + 1)[0]
    data[position] = 0x7F  # a record of an unknown kind, which readers pass over
    path.write_bytes(data)
    reader = BagReader(path)
    assert_frames(reader.frames(), range(12))
    assert reader.losses.lines() == []


def test_messages_of_one_time_keep_the_order_of_the_file(tmp_path):
    times = [2, 1, 1, 1, 0]
    path = tmp_path / 'run.mcap'
    messages = [raw_image(image_at(i), header_at(i), 'rgb8') for i in range(5)]
    write_mcap(path, messages, times, use_chunking=False)
    assert_frames(BagReader(path).frames(), [4, 1, 2, 3, 0])


def test_scan_gives_times_of_recording(tmp_path):
    scan = McapScan(write(tmp_path / 'run.mcap', [1, 0], use_chunking=False), BagLosses())
    first, second = (time_ns for time_ns, _ in scan.messages('/image'))
    assert (first, second - first) == (STAMP_NS, 66_666_667)
    assert list(scan.messages('/nothing')) == []


def damage_first_chunk(path):
    """Change a byte in it; what follows and the index at the end stay whole."""
    with path.open('rb') as file:
        first, *others = SeekingReader(file).get_summary().chunk_indexes
    data = bytearray(path.read_bytes())
    data[first.chunk_start_offset + first.chunk_length // 2] ^= 0xFF
    path.write_bytes(data)
    return others


@pytest.mark.parametrize(
    'times', [IN_ORDER, [0, 1, 2, *range(11, 2, -1)]], ids=['rising', 'falling']
)
def test_damaged_first_chunk_takes_no_other_message_with_it(tmp_path, times):
    path = write(tmp_path / 'run.mcap', times, profile='ros2', chunk_size=5000)
    assert len(damage_first_chunk(path)) == 3
    reader = BagReader(path)
    assert_frames(reader.frames(), range(3, 12))
    gap, missing = reader.losses.lines()
    assert gap.startswith('run.mcap has gaps: chunk at byte ')
    assert missing.startswith('run.mcap is damaged: 9 of 12 messages on /image can be read')


def test_messages_behind_a_damaged_first_chunk_are_not_held_back(tmp_path):
    path = write(tmp_path / 'run.mcap', IN_ORDER, chunk_size=5000)
    damage_first_chunk(path)
    scan = McapScan(path, BagLosses())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert next(scan.messages('/image'))[0] == STAMP_NS + 3 * STEP_NS


def test_messages_whose_topic_is_not_said_are_counted(tmp_path):
    no_names = {'repeat_channels': False, 'repeat_schemas': False}
    path = write(tmp_path / 'run.mcap', IN_ORDER, chunk_size=5000, **no_names)
    damage_first_chunk(path)
    losses = BagLosses()
    assert McapScan(path, losses).topics == {}
    assert losses.notes[1:] == ['run.mcap does not say of which topic 9 messages are']
