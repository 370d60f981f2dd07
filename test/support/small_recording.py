"""Ten small frames with labels, and how the tests of `replay` replay them."""

from __future__ import annotations

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from small_net import make_images

from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.recordings.frame import SourceFrame
from dcfm_ros.replay.frames import ReplayedFrame
from dcfm_ros.replay.offline import OfflineOptions, replay_offline
from dcfm_ros.replay.options import RecordingOptions
from dcfm_ros.replay.recording import open_recording

SIZE = (67, 91)
STEP_NS = 100_000_000
TORCH = EngineOptions(device='cpu', backend='torch')


def make_frames(count=10, labelled=range(100), stamps=None, size=SIZE):
    random = np.random.default_rng(1)
    label = random.integers(0, 11, size, dtype=np.uint8)
    label[:5] = 255
    for index, image in enumerate(make_images(count, size)):
        yield SourceFrame(
            image=image,
            stamp_ns=1_000_000_000 + (index if stamps is None else stamps[index]) * STEP_NS,
            label=label if index in labelled else None,
        )


def open_bag(path, labels=True):
    topics = {'topic': '/camera/image_raw', 'label_topic': '/camera/label' if labels else ''}
    return open_recording(str(path), RecordingOptions(**topics))


def make_options(checkpoint, interval=3, engine=TORCH, max_time_gap_s=1.0, **more):
    schedule = ScheduleOptions(keyframe_interval=interval, max_time_gap_s=max_time_gap_s)
    return OfflineOptions(checkpoint=checkpoint, engine=engine, schedule=schedule, **more)


def replay(bag, folder, options, labels=True):
    return replay_offline(open_bag(bag, labels), folder / 'overlay.mp4', options)


def replayed(time_s=0.0, latency_ms=1.0, **more):
    values = {'time_s': time_s, 'stamp_ns': round(time_s * 1e9), 'keyframe_age': 1}
    return ReplayedFrame(latency_ms=latency_ms, **(values | more))


def write_jpeg_bag(path, count=3, size=(24, 32), step_ns=STEP_NS, damaged=()):
    """A bag of JPEG files, at 10 Hz by their stamps unless `step_ns` differs; gives the files.

    Those at the places `damaged` end early.
    """
    store = get_typestore(Stores.ROS2_JAZZY)
    types, kind = store.types, 'sensor_msgs/msg/CompressedImage'
    files = []
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection('/camera/compressed', kind, typestore=store)
        for index, image in enumerate(make_images(count, size)):
            data = cv2.imencode('.jpg', image)[1].tobytes()
            files.append(data[: len(data) // 2] if index in damaged else data)
            stamp = types['builtin_interfaces/msg/Time'](sec=0, nanosec=index * step_ns + 5)
            header = types['std_msgs/msg/Header'](stamp=stamp, frame_id='front')
            data = np.frombuffer(files[-1], np.uint8)
            message = types[kind](header=header, format='jpeg', data=data)
            writer.write(connection, index, store.serialize_cdr(message, kind))
    return files
