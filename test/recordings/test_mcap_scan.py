from __future__ import annotations

import itertools
import struct

from mcap.opcode import Opcode
from mcap.writer import IndexType
import pytest
from recorded_bags import (
    STAMP_NS,
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
