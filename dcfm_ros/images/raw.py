"""Raw image messages in the encodings of sensor_msgs -> RGB. No ROS: bags are read with it, too.

A message is anything with the fields of sensor_msgs/Image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

MAX_PIXELS = 7680 * 4320
MAX_SIDE = 16384
"""No camera has longer rows or columns. Padded to the stride of the network, a single row of
`MAX_PIXELS` would take 40 GB."""


class _Layout(NamedTuple):
    """Memory layout of an encoding, and its conversion to RGB."""

    bytes_per_pixel: int
    """Within a row."""
    conversion: int | None
    """OpenCV's code, for 8-bit samples; None: they are RGB."""
    sample_bytes: int = 1
    even_width: bool = False
    has_chroma_rows: bool = False
    """Half as many rows of chroma follow (4:2:0); width and height are even."""


_8_BIT: Mapping[str, _Layout] = {
    'rgb8': _Layout(3, None),
    'bgr8': _Layout(3, cv2.COLOR_BGR2RGB),
    'rgba8': _Layout(4, cv2.COLOR_RGBA2RGB),
    'bgra8': _Layout(4, cv2.COLOR_BGRA2RGB),
    'mono8': _Layout(1, cv2.COLOR_GRAY2RGB),
    '8UC1': _Layout(1, cv2.COLOR_GRAY2RGB),
    '8UC3': _Layout(3, cv2.COLOR_BGR2RGB),
    # OpenCV names a pattern by the second and third pixel of the second row.
    'bayer_rggb8': _Layout(1, cv2.COLOR_BayerBG2RGB),
    'bayer_bggr8': _Layout(1, cv2.COLOR_BayerRG2RGB),
    'bayer_gbrg8': _Layout(1, cv2.COLOR_BayerGR2RGB),
    'bayer_grbg8': _Layout(1, cv2.COLOR_BayerGB2RGB),
}
_LAYOUTS: Mapping[str, _Layout] = {
    **_8_BIT,
    **{
        name.replace('8', '16'): _Layout(2 * narrow.bytes_per_pixel, narrow.conversion, 2)
        for name, narrow in _8_BIT.items()
    },
    'yuv422': _Layout(2, cv2.COLOR_YUV2RGB_UYVY, even_width=True),
    'uyvy': _Layout(2, cv2.COLOR_YUV2RGB_UYVY, even_width=True),
    'yuv422_yuy2': _Layout(2, cv2.COLOR_YUV2RGB_YUY2, even_width=True),
    'yuyv': _Layout(2, cv2.COLOR_YUV2RGB_YUY2, even_width=True),
    'nv12': _Layout(1, cv2.COLOR_YUV2RGB_NV12, even_width=True, has_chroma_rows=True),
    'nv21': _Layout(1, cv2.COLOR_YUV2RGB_NV21, even_width=True, has_chroma_rows=True),
}
ENCODINGS: tuple[str, ...] = tuple(_LAYOUTS)
"""All supported encodings."""


def image_to_rgb(message: Any) -> NDArray[np.uint8]:
    """An image message as RGB.

    16-bit samples are reduced to their high byte. 8UC3 means BGR, as in OpenCV.

    Args:
        message: In one of `ENCODINGS`; rows may be padded (`step` above the row's own length).

    Returns:
        (H, W, 3). For rgb8 a view of the message's data, otherwise a converted copy.

    Raises:
        ValueError: If encoding, size, step and data do not fit together; says which and why.
    """
    if message.encoding not in _LAYOUTS:
        allowed = ', '.join(ENCODINGS)
        raise ValueError(f'`encoding` must be one of {allowed}, got {message.encoding!r}')
    layout = _LAYOUTS[message.encoding]
    if layout.even_width and message.width % 2:
        raise ValueError(f'`width` must be even for {message.encoding}, got {message.width}')
    if layout.has_chroma_rows and message.height % 2:
        raise ValueError(f'`height` must be even for {message.encoding}, got {message.height}')
    num_rows = message.height * 3 // 2 if layout.has_chroma_rows else message.height
    samples = rows_of(message, layout.bytes_per_pixel, num_rows)
    if layout.sample_bytes == 2:
        high = 0 if message.is_bigendian else 1
        samples = np.ascontiguousarray(samples[:, high::2])
    channels = layout.bytes_per_pixel // layout.sample_bytes
    samples = samples.reshape(len(samples), message.width, channels)
    if message.encoding.startswith('bayer_'):
        return demosaic(samples, message.encoding)
    return _convert(samples, layout.conversion)


def demosaic(mosaic: NDArray[np.uint8], encoding: str) -> NDArray[np.uint8]:
    """Interpolate the colours of a Bayer pattern.

    Args:
        mosaic: (H, W) or (H, W, 1), 3 x 3 at least.
        encoding: bayer_*8 or bayer_*16; says which pattern.

    Raises:
        ValueError: If the encoding is another, or the mosaic too small to interpolate.
    """
    if not encoding.startswith('bayer_') or encoding not in _LAYOUTS:
        allowed = ', '.join(name for name in ENCODINGS if name.startswith('bayer_'))
        raise ValueError(f'`encoding` must be one of {allowed}, got {encoding!r}')
    height, width = mosaic.shape[:2]
    if min(height, width) < 3:  # OpenCV returns black
        got = f'{width} x {height}'
        raise ValueError(f'`width` x `height` must be at least 3 x 3 for {encoding}, got {got}')
    return _convert(mosaic, _LAYOUTS[encoding].conversion)


def check_size(height: int, width: int) -> None:
    """Refuse an image without pixels, and one larger than any camera's.

    Raises:
        ValueError: Naming the size.
    """
    if height == 0 or width == 0:
        raise ValueError(f'`width` x `height` must be at least 1 x 1, got {width} x {height}')
    if height * width > MAX_PIXELS:
        allowed = f'at most {MAX_PIXELS} pixels (7680 x 4320)'
        raise ValueError(f'`width` x `height` must be {allowed}, got {width} x {height}')
    if max(height, width) > MAX_SIDE:
        allowed = f'at most {MAX_SIDE} on a side'
        raise ValueError(f'`width` x `height` must be {allowed}, got {width} x {height}')


def rows_of(message: Any, bytes_per_pixel: int, num_rows: int, what: str = '') -> NDArray[Any]:
    """The bytes of an image without padding, (num_rows, bytes of a row), not copied.

    Args:
        message: The image.
        bytes_per_pixel: Within a row.
        num_rows: How many, with those of chroma.
        what: What it is, for the error; ends with a space.

    Raises:
        ValueError: If size, step and data do not fit together; says which and why.
    """
    width, step, size = message.width, message.step, len(message.data)
    check_size(message.height, width)
    length = width * bytes_per_pixel
    if step < length:
        allowed = f'at least {length} bytes ({width} pixels {message.encoding})'
        raise ValueError(f'`step` {what}must be {allowed}, got {step}')
    if size < num_rows * step:
        allowed = f'at least {num_rows * step} bytes (height {num_rows} x step {step})'
        raise ValueError(f'`data` {what}must be {allowed}, got {size}')
    return np.frombuffer(message.data, np.uint8, num_rows * step).reshape(-1, step)[:, :length]


def _convert(samples: NDArray[np.uint8], conversion: int | None) -> NDArray[np.uint8]:
    if conversion is None:
        return samples
    return np.asarray(cv2.cvtColor(samples, conversion), np.uint8)
