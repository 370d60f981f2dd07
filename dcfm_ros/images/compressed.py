"""Compressed image messages (JPEG, PNG) -> RGB; no ROS, so that bags are read the same way."""

from __future__ import annotations

from collections.abc import Iterator
import re
import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.images.png_chunks import SIGNATURE, read_chunks
from dcfm_ros.images.raw import ENCODINGS, check_size, demosaic

_JPEG = b'\xff\xd8\xff'
_FRAME_HEADERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
_BASELINE, _START_OF_SCAN, _END_OF_IMAGE = 0xC0, 0xDA, 0xD9
_STRAY_MARKER = re.compile(rb'\xff[^\x00\xd0-\xd9\xff]')
"""What cannot follow 0xFF among the pixels of a baseline JPEG."""
_DECODING = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION


def compressed_to_rgb(message: Any) -> NDArray[np.uint8]:
    """Decode a JPEG or PNG message.

    What the data are is read from them. `format` matters in two cases, as in
    compressed_image_transport: a grey image of a `bayer_*` original is a mosaic, and one
    'compressed rgb*' has red and blue changed. Grey becomes RGB, transparency is dropped, 16-bit
    samples become 8-bit ones by their high byte; a turned camera's EXIF tag is not obeyed, since
    the calibration is of the sensor.

    Args:
        message: Anything with `format` and `data` of sensor_msgs/CompressedImage.

    Returns:
        (H, W, 3).

    Raises:
        ValueError: Unless it is a whole, intact JPEG or PNG image of a camera's size, and a mosaic
            has a known pattern. A PNG has checksums; in a JPEG of full length, damage to a few
            pixels may go unnoticed.
    """
    data = bytes(message.data)
    if not is_checkable(data):
        got = f'{len(data)} bytes that begin with {data[:8]!r} and format {message.format!r}'
        raise ValueError(f'`data` must be a JPEG or PNG image, got {got}')
    height, width, channels = check_whole(data)
    image = _decode(data)
    if image is None or image.shape[:2] != (height, width):
        kind = _kind(data)
        raise ValueError(f'`data` must be an intact {kind} image, got one that is not decoded')
    original, _, stored = message.format.partition(';')
    if original.startswith('bayer_') and channels == 1:
        if original not in ENCODINGS:
            allowed = 'begin with an encoding of sensor_msgs'
            raise ValueError(f'`format` must {allowed}, got {message.format!r}')
        return demosaic(np.ascontiguousarray(image[..., 0]), original)
    if 'compressed rgb' not in stored:
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    return image


def is_checkable(data: bytes) -> bool:
    """Whether an image file is JPEG or PNG, see `check_whole`."""
    return data.startswith((_JPEG, SIGNATURE))


def check_whole(data: bytes) -> tuple[int, int, int]:
    """Check a JPEG or PNG image without decoding it.

    Returns:
        Height, width and channels.

    Raises:
        ValueError: Unless it is whole and of a camera's size, as far as can be seen: a decoder
            would fill with grey what is missing, and take memory for what is promised.
    """
    try:
        height, width, channels = (_read_jpeg if _kind(data) == 'JPEG' else _read_png)(data)
    except struct.error as error:
        got = f'one cut off after {len(data)} bytes'
        raise ValueError(f'`data` must be a whole {_kind(data)} image, got {got}') from error
    check_size(height, width)
    return height, width, channels


def _kind(data: bytes) -> str:
    return 'JPEG' if data.startswith(_JPEG) else 'PNG'


def _decode(data: bytes) -> NDArray[np.uint8] | None:
    """The image as BGR: OpenCV decodes to RGB from 4.10 only, and no faster."""
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), _DECODING)
    except cv2.error:
        return None
    return None if image is None else np.asarray(image, np.uint8)


def _read_jpeg(data: bytes) -> tuple[int, int, int]:
    """Height, width and channels, if nothing is missing; libjpeg would fill what is with grey.

    Raises:
        struct.error: If the data end too early.
        ValueError: If they are damaged.
    """
    size, is_baseline = (0, 0, 0), False
    for marker, position in _jpeg_segments(data):
        if marker in _FRAME_HEADERS:
            height, width, channels = struct.unpack_from('>HHB', data, position + 3)
            size, is_baseline = (height, width, channels), marker == _BASELINE
        if marker == _START_OF_SCAN:
            length, in_scan = struct.unpack_from('>HB', data, position)
            # Within a scan 0xFF is never followed by 0xD9. A thumbnail's end came before.
            end = data.find(bytes([0xFF, _END_OF_IMAGE]), position + length)
            if end < 0:
                raise struct.error('no end of image')
            if is_baseline and in_scan == size[2]:  # otherwise further scans follow
                _check_pixels(data, position + length, end)
            return size
    raise ValueError('`data` must be an intact JPEG image, got one without a scan')


def _check_pixels(data: bytes, start: int, end: int) -> None:
    if stray := _STRAY_MARKER.search(data, start, end):
        got = f'one with {stray[0]!r} among its pixels at byte {stray.start()}'
        raise ValueError(f'`data` must be an intact JPEG image, got {got}')


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Markers up to the first scan, and where their segments begin (with two bytes of length).

    As in libjpeg, bytes between segments that are no marker are passed over: some cameras pad them
    or give a segment a length that is too short.
    """
    position = 2
    while True:
        position = data.find(b'\xff', position)
        if position < 0:
            raise struct.error('no further marker')
        (marker,) = struct.unpack_from('>B', data, position + 1)
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        position += 2
        if marker == _END_OF_IMAGE:
            return
        if marker in _WITHOUT_LENGTH or marker == 0:
            continue
        yield marker, position
        (length,) = struct.unpack_from('>H', data, position)
        position += max(length, 2)


def _read_png(data: bytes) -> tuple[int, int, int]:
    """Height, width and channels, if every chunk is there and has its checksum.

    Raises:
        struct.error: If the data end too early.
        ValueError: If they are damaged.
    """
    (_, header), *_ = read_chunks(data)
    width, height, _, colour_type = struct.unpack_from('>IIBB', header)
    return height, width, 1 if colour_type == 0 else 3
