"""Small bags with known images, masks and stamps."""

from __future__ import annotations

import cv2
from mcap.writer import Writer as McapWriter
import numpy as np
from rosbags.rosbag2 import CompressionFormat, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

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


def write_mcap(path, messages, times=None, profile='', **options):
    """An MCAP file; `times` are those of recording, in steps."""
    with path.open('wb') as file:
        writer = McapWriter(file, **options)
        writer.start(profile=profile)
        kind = messages[0].__msgtype__
        channel = writer.register_channel(
            '/image', 'cdr', writer.register_schema(kind, 'ros2msg', b'')
        )
        for index, message in enumerate(messages):
            time_ns = STAMP_NS + (index if times is None else times[index]) * STEP_NS
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
