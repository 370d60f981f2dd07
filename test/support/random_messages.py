"""Hypothesis strategies: what a camera, or something that claims to be one, may send."""

from __future__ import annotations

from array import array
from typing import Any
import zlib

import cv2
from hypothesis import strategies as st
import numpy as np

from dcfm_ros.images.raw import ENCODINGS

UINT32 = 2**32 - 1
FRAME_IDS = st.text(st.characters(exclude_characters='\0', exclude_categories=['Cs']), max_size=30)
STAMPS = st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(0, UINT32))
"""Seconds and nanoseconds, as far as the fields reach: before 1970, or of 4 s worth of ns."""
SIDES = st.integers(0, 40)
HUGE = st.sampled_from([8000, 2**16, 2**31, UINT32]) | st.integers(0, UINT32)
_MOST_BYTES = 40_000


def pixels_of(seed: bytes, size: int) -> array[int]:
    """Bytes that differ, cheaply."""
    return array('B', (seed * (size // len(seed) + 1))[:size])


@st.composite
def images(draw: st.DrawFn, sides: st.SearchStrategy[int] = SIDES) -> dict[str, Any]:
    """Fields of sensor_msgs/Image: two of three about right, the rest off in one or all."""
    encodings = st.sampled_from([*ENCODINGS, '32FC1', '64FC1', 'RGB8'])
    kind = draw(st.sampled_from(['right', 'right', 'off']))
    height, width = draw(sides), draw(sides)
    fields: dict[str, Any] = {'height': height, 'width': width}
    fields['encoding'] = draw(encodings)
    fields['step'] = width * draw(st.sampled_from([1, 2, 3, 4, 6, 8])) + draw(st.integers(0, 3))
    fields['is_bigendian'] = draw(st.integers(0, 255))
    rows = height * 3 // 2 + draw(st.sampled_from([0, 0, 0, -1, 1]))
    size = max(rows, 0) * fields['step']
    if kind == 'off':
        wrong = {'height': HUGE, 'width': HUGE, 'step': HUGE, 'encoding': FRAME_IDS}
        for name in draw(st.sets(st.sampled_from(sorted(wrong)))):
            fields[name] = draw(wrong[name])
        size = draw(st.sampled_from([size, height * fields['step'], 0]) | st.integers(0, 5000))
    seed = draw(st.binary(min_size=1, max_size=7))
    fields['data'] = pixels_of(seed, min(size, _MOST_BYTES))
    return fields


def _files() -> list[bytes]:
    picture = np.add.outer(np.arange(24), 5 * np.arange(32))[..., None] * [1, 2, 3] % 256
    colours = picture.astype(np.uint8)
    progressive = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2)
    made = [
        cv2.imencode('.jpg', colours)[1],
        cv2.imencode('.jpg', colours, progressive)[1],
        cv2.imencode('.jpg', colours[..., 0])[1],
        cv2.imencode('.png', colours)[1],
        cv2.imencode('.png', colours[..., 0])[1],
        cv2.imencode('.png', np.dstack([colours, colours[..., 0]]))[1],
        cv2.imencode('.png', colours.astype(np.uint16) * 257)[1],
        cv2.imencode('.png', colours[:2, :2, 0])[1],
        cv2.imencode('.bmp', colours)[1],
    ]
    return [bytes(file) for file in made]


FILES = _files()
_FORMATS = st.sampled_from(
    [
        '',
        'jpeg',
        'png',
        'bgr8; jpeg compressed bgr8',
        'rgb8; jpeg compressed rgb8',
        'bayer_rggb8; jpeg compressed mono8',
        'bayer_gbrg16; png compressed mono16',
        'bayer_such8; png compressed mono8',
        '16UC1; compressedDepth png',
    ]
)


@st.composite
def compressed_images(draw: st.DrawFn) -> dict[str, Any]:
    """Fields of sensor_msgs/CompressedImage: files that were cut, changed or put together."""
    data = bytearray(draw(st.sampled_from(FILES)))
    for edit in draw(st.lists(st.sampled_from(['byte', 'cut', 'insert', 'head', 'mend']))):
        place = draw(st.integers(0, len(data)))
        if edit == 'byte' and place < len(data):
            data[place] = draw(st.sampled_from([0, 0xFF, 0xD9]) | st.integers(0, 255))
        elif edit == 'cut':
            del data[place:]
        elif edit == 'insert':
            data[place:place] = draw(st.binary(max_size=6))
        elif edit == 'head':  # most of what can go wrong lies there
            data[2:2] = draw(st.binary(max_size=12))
        elif edit == 'mend' and len(data) > 33:  # a PNG whose header has been changed on purpose
            data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, 'big')
    return {'format': draw(_FORMATS | FRAME_IDS), 'data': array('B', bytes(data))}


@st.composite
def camera_infos(draw: st.DrawFn) -> dict[str, Any]:
    """Fields of sensor_msgs/CameraInfo, with those of `roi` as a dictionary."""
    sides = st.integers(0, 100) | st.just(UINT32)
    numbers = st.floats(0, 1000) | st.floats()
    fx, cx, fy, cy = draw(st.tuples(numbers, numbers, numbers, numbers))
    k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    p = [fy, 0.0, cx, fx, 0.0, fx, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    window = {name: draw(sides) for name in ('x_offset', 'y_offset', 'height', 'width')}
    binning = st.sampled_from([0, 1, 2, 3, UINT32])
    return {
        'height': draw(sides),
        'width': draw(sides),
        'distortion_model': 'plumb_bob',
        'd': [cx, cy][: draw(st.integers(0, 2))],
        'k': draw(st.sampled_from([k, [0.0] * 9])),
        'p': draw(st.sampled_from([p, [0.0] * 12])),
        'binning_x': draw(binning),
        'binning_y': draw(binning),
        'roi': draw(st.sampled_from([dict.fromkeys(window, 0), window])),
    }
