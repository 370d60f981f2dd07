from __future__ import annotations

from pathlib import Path

import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from small_recording import make_frames, write_jpeg_bag

pytest.importorskip('rclpy')

from dcfm_ros.recordings.bag_writer import write_bag
from dcfm_ros.replay.online.played_frames import buffered, image_transport, looped, played_frames
from dcfm_ros.replay.options import RecordingOptions
from dcfm_ros.replay.recording import open_recording

RAW = RecordingOptions(topic='/camera/image_raw')


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    path = tmp_path / 'raw'
    write_bag(path, make_frames())
    return path


def test_frames_are_looped_with_stamps_that_go_on(bag: Path) -> None:
    recording = open_recording(str(bag), RAW)
    frames = buffered(played_frames(recording), 4)
    stamps = [frame.stamp_ns for frame in looped(frames, 10)]
    assert len(frames) == 4
    assert len(set(stamps)) == 10
    assert stamps == sorted(stamps)
    assert stamps[4] - stamps[3] > 5_000_000_000  # a gap that the node takes for a new stream


def test_raw_recording_is_sent_raw(bag: Path) -> None:
    recording = open_recording(str(bag), RAW)
    next(recording.frames())
    assert image_transport(recording) == 'raw'


def test_compressed_images_are_played_as_they_were_recorded(tmp_path: Path) -> None:
    files = write_jpeg_bag(tmp_path / 'bag')
    recording = open_recording(str(tmp_path / 'bag'))
    next(recording.frames())
    assert image_transport(recording) == 'compressed'
    played = list(played_frames(recording))
    assert [frame.image for frame in played] == files
    assert [frame.stamp_ns for frame in played] == [5, 100_000_005, 200_000_005]
    assert {frame.frame_id for frame in played} == {'front'}


def test_broken_message_is_skipped(tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    kind = 'sensor_msgs/msg/CompressedImage'
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection('/camera/compressed', kind, typestore=store)
        writer.write(connection, 1, b'\x00\x01\x00\x00\x07')
    recording = open_recording(str(tmp_path / 'bag'))
    assert list(recording.frames()) == []
    assert list(played_frames(recording)) == []
    assert any('1 messages cannot be decoded' in loss for loss in recording.losses)


def test_frame_of_a_recording_keeps_its_header(bag: Path) -> None:
    recording = open_recording(str(bag), RAW)
    frame, *_ = played_frames(recording)
    assert (frame.stamp_ns, frame.frame_id) == (1_000_000_000, 'camera_optical_frame')


def test_frames_of_one_stamp_are_told_apart(tmp_path: Path) -> None:
    write_jpeg_bag(tmp_path / 'bag', 5, step_ns=0, damaged=(1,))
    recording = open_recording(str(tmp_path / 'bag'))
    recording.open()
    assert not recording.has_times
    places: list[int] = []
    played = list(played_frames(recording, places))
    assert [frame.stamp_ns for frame in played] == [5, 6, 7, 8, 9]
    assert places == [0, 1, 2, 3, 4]
    assert [place for place, _ in recording.numbered()] == [0, 2, 3, 4]
