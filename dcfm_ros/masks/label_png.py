"""Label PNGs of any tool -> ids or colours, the same wherever labels are read."""

from __future__ import annotations

import struct

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.images.png_chunks import SIGNATURE, chunk, read_chunks
from dcfm_ros.images.raw import check_size

_GREY, _RGB, _PALETTE, _RGBA = 0, 2, 3, 6
_COLOUR_TYPES = {_GREY: 'grey', _RGB: 'RGB', _PALETTE: 'palette', 4: 'grey + alpha', _RGBA: 'RGBA'}


def read_label_png(data: bytes) -> NDArray[np.uint8]:
    """Read the ids of a label, or its colours if it is painted.

    The ids are what the file holds: grey levels of 1, 2, 4 or 8 bits (a 1-bit label has 0 and 1),
    or the indices of a palette, whatever colours it has. Colour profiles and transparency are not
    applied.

    Args:
        data: Content of a PNG file.

    Returns:
        Ids, (H, W), or the RGB of a painted label, (H, W, 3).

    Raises:
        ValueError: If it is not a whole PNG file with at most 8 bits per channel; with its kind.
    """
    if not data.startswith(SIGNATURE):
        raise ValueError(f'a label must be a PNG file, got {len(data)} bytes from {data[:8]!r}')
    try:
        chunks = list(read_chunks(data))
        width, height, depth, colour_type, *rest = struct.unpack('>IIBBBBB', chunks[0][1])
    except struct.error as error:
        got = f'one cut off after {len(data)} bytes'
        raise ValueError(f'a label must be a whole PNG file, got {got}') from error
    if depth > 8 or colour_type not in (_GREY, _RGB, _PALETTE, _RGBA):
        kind = f'{depth}-bit {_COLOUR_TYPES.get(colour_type, colour_type)}'
        raise ValueError(f'a label must be 8-bit grey, palette or RGB, got {kind}')
    check_size(height, width)  # before a decoder takes memory for it
    # Read as grey, a palette image gives its indices. What else a file holds could change pixels.
    read_as = _GREY if colour_type == _PALETTE else colour_type
    parts = [chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, depth, read_as, *rest))]
    parts += [chunk(name, content) for name, content in chunks if name in (b'IDAT', b'IEND')]
    plain = np.frombuffer(SIGNATURE + b''.join(parts), np.uint8)
    try:
        pixels = cv2.imdecode(plain, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None or pixels.shape[:2] != (height, width):
        raise ValueError(f'a label must be an intact PNG file, got one of {height}x{width} pixels '
                         'that cannot be decoded')  # fmt: skip
    if read_as != _GREY:
        return np.ascontiguousarray(pixels[..., 2::-1])
    # OpenCV spreads fewer bits over the whole range: 255 for the 1 of a 1-bit image.
    return np.asarray(pixels // (255 // ((1 << depth) - 1)), np.uint8)
