"""Messages that no well-behaved publisher sends, and some that one might: drawn, not learned."""

from __future__ import annotations

from array import array
from collections.abc import Callable
import json
import random
from typing import Any

import cv2
import numpy as np
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header, String

from dcfm_ros.images.raw import ENCODINGS
from dcfm_ros.ros.messages import ns_to_stamp

Message = Any
"""A message, or bytes that are published in the place of a serialised one."""
_UINT32 = 2**32 - 1
_ODD_SIZES = (0, 1, 2, 3, 7, 16384, 16385, 65535, 65536, 2**31 - 1, 2**31, _UINT32)
_ODD_NUMBERS = (0.0, -0.0, 1.0, -1.0, 1e-308, 1e308, float('nan'), float('inf'), float('-inf'))
_OTHER_ENCODINGS = ('', 'RGB8', 'rgb8 ', '32FC1', '64FC1', '16SC1', 'yuv444', 'h264', 'ü' * 9)
_MOST_BYTES = 40_000
_IS_FILE = 0.65
"""Share of the compressed images that begin as a file, before they are changed."""
_BROKEN = 0.15
"""Share of the messages whose bytes are cut or changed."""


def image(rng: random.Random) -> Message:
    """A camera image: some are right, the others lie about size, step, encoding or data."""
    width, height = rng.randrange(1, 60), rng.randrange(1, 60)
    encoding = rng.choice((*ENCODINGS, *_OTHER_ENCODINGS))
    return _raw(rng, width, height, encoding, rng.choice((1, 2, 3, 4, 6, 8)))


def depth(rng: random.Random) -> Message:
    """A depth image: likewise, and with distances of any value."""
    kinds = (('16UC1', 2), ('32FC1', 4), ('mono16', 2), ('64FC1', 8), ('mono8', 1))
    encoding, size = rng.choice(kinds)
    message = _raw(rng, rng.choice((8, 16, 5)), rng.choice((6, 12, 5)), encoding, size)
    if encoding == '32FC1' and isinstance(message, Image) and rng.random() < 0.5:
        count = len(message.data) // 4
        values = np.array([rng.choice(_ODD_NUMBERS) for _ in range(count)])
        with np.errstate(over='ignore'):
            message.data = array('B', values.astype(np.float32).tobytes())
    return message


def mask(rng: random.Random) -> Message:
    """A mask or a confidence image: any ids, any size, any encoding."""
    encoding = rng.choice(('mono8', 'mono8', '8UC1', '16SC1', 'rgb8', ''))
    return _raw(rng, rng.choice((8, 16, 7, 40)), rng.choice((6, 12, 5, 30)), encoding, 1)


def compressed_image(rng: random.Random) -> Message:
    """A JPEG, PNG or other file that is cut, changed or given another name."""
    data = bytearray(rng.choice(_FILES if rng.random() < _IS_FILE else _NO_FILES))
    for _ in range(rng.randrange(4)):
        place = rng.randrange(len(data) + 1)
        edit = rng.randrange(4)
        if edit == 0 and place < len(data):
            data[place] ^= 1 << rng.randrange(8)
        elif edit == 1 and rng.random() < 0.4:
            del data[place:]
        elif edit == 2:
            data[place:place] = rng.randbytes(rng.randrange(6))
        else:
            data[2:2] = rng.randbytes(rng.randrange(6))
    message = CompressedImage(header=_header(rng), format=rng.choice(_FORMATS))
    message.data = array('B', data)
    return _perhaps_broken(rng, message)


def camera_info(rng: random.Random) -> Message:
    """A calibration with numbers, sizes and windows of any value."""

    def number() -> float:
        return rng.choice(_ODD_NUMBERS) if rng.random() < 0.4 else rng.uniform(-1e4, 1e4)

    def size() -> int:
        return rng.choice(_ODD_SIZES) if rng.random() < 0.5 else rng.randrange(100)

    message = CameraInfo(header=_header(rng), height=size(), width=size())
    message.distortion_model = rng.choice(('plumb_bob', 'equidistant', 'rational_polynomial', ''))
    message.d = [number() for _ in range(rng.choice((0, 4, 5, 8, 14, 3)))]
    message.k = [number() for _ in range(9)]
    message.r = [number() for _ in range(9)]
    message.p = [number() for _ in range(12)] if rng.random() < 0.7 else [0.0] * 12
    message.binning_x, message.binning_y = size(), size()
    for name in ('x_offset', 'y_offset', 'height', 'width'):
        setattr(message.roi, name, size())
    return _perhaps_broken(rng, message)


def labels(rng: random.Random) -> Message:
    """A text that is no table of classes, or a strange one."""

    def value(level: int) -> Any:
        kinds: list[Callable[[], Any]] = [
            lambda: rng.choice((0, -1, 255, 256, 2**70, 1e999, None, True, '', 'road', '\u2028')),
            lambda: [value(level + 1) for _ in range(rng.randrange(4))],
            lambda: {str(value(9)): value(level + 1) for _ in range(rng.randrange(4))},
        ]
        return rng.choice(kinds if level < 4 else kinds[:1])()

    table = {str(n): {'name': value(3), 'rgb': value(3)} for n in range(rng.randrange(1, 5))}
    text = json.dumps(rng.choice((table, value(0))))
    if rng.random() < 0.3:
        text = text[: rng.randrange(len(text) + 1)]
    return _perhaps_broken(rng, String(data=text))


def _raw(rng: random.Random, width: int, height: int, encoding: str, size: int) -> Message:
    fields: dict[str, Any] = {'height': height, 'width': width, 'encoding': encoding}
    fields['step'] = width * size + rng.choice((0, 0, 0, 1, 16))
    length = fields['step'] * height * 3 // 2 if encoding in ('nv12', 'nv21') else None
    length = fields['step'] * height if length is None else length
    if rng.random() < 0.5:
        for name in rng.sample(
            ('height', 'width', 'step', 'length', 'encoding'), rng.randrange(4)
        ):
            if name == 'length':
                length += rng.choice((-length, -1, 1, -fields['step'] - 1, 1000))
            elif name == 'encoding':
                fields[name] = rng.choice(_OTHER_ENCODINGS)
            else:
                fields[name] = rng.choice(_ODD_SIZES)
    message = Image(header=_header(rng), is_bigendian=rng.choice((0, 1, 255)), **fields)
    message.data = array('B', rng.randbytes(max(0, min(length, _MOST_BYTES))))
    return _perhaps_broken(rng, message)


def _header(rng: random.Random) -> Header:
    """Stamps of any value, before 1970 and of 4 s worth of nanoseconds, too; or about right."""
    header = Header(frame_id=rng.choice(('hostile', '', 'x' * 300)))
    if rng.random() < 0.5:
        header.stamp = ns_to_stamp(rng.randrange(2**31) * 1_000_000_000 + rng.randrange(10**9))
    else:
        header.stamp.sec = rng.choice((-(2**31), -1, 0, 1, 2**31 - 1))
        header.stamp.nanosec = rng.choice((0, 1, 10**9 - 1, 10**9, _UINT32))
    return header


def _perhaps_broken(rng: random.Random, message: Message) -> Message:
    """The message, or now and then its bytes, cut or with some of them changed."""
    if rng.random() >= _BROKEN:
        return message
    data = bytearray(serialize_message(message))
    if rng.random() < 0.5:
        del data[rng.randrange(4, len(data)) :]
    else:
        for _ in range(rng.randrange(1, 5)):  # the first 4 bytes say how to read the others
            data[rng.randrange(4, len(data))] = rng.randrange(256)
    return bytes(data)


def _files() -> list[bytes]:
    """Files of many sizes: OpenVINO keeps something of each of the first 50 or so."""
    draw = np.random.default_rng(0)
    progressive = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2)
    made = []
    for _ in range(64):
        colours = draw.integers(0, 256, (*draw.integers(1, 60, 2), 3), np.uint8)
        made += [
            cv2.imencode('.jpg', colours)[1],
            cv2.imencode('.jpg', colours, progressive)[1],
            cv2.imencode('.jpg', colours[..., 0])[1],
            cv2.imencode('.png', colours)[1],
            cv2.imencode('.png', colours[..., 0])[1],
            cv2.imencode('.png', colours.astype(np.uint16) * 257)[1],
            cv2.imencode('.bmp', colours)[1],
        ]
    return [bytes(file) for file in made]


_FILES = _files()
_NO_FILES = b'', b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n', b'hello'
_FORMATS = (
    'jpeg', 'png', '', 'rgb8; jpeg compressed bgr8', 'bayer_rggb8; jpeg compressed mono8',
    'mono16; png compressed mono16', '16UC1; compressedDepth png', 'h264', 'x' * 200,
)  # fmt: skip
