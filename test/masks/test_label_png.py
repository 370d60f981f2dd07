from __future__ import annotations

from io import BytesIO
import struct
import zlib

import cv2
import numpy as np
from PIL import Image
import pytest

from dcfm_ros.images.png_chunks import SIGNATURE, chunk
from dcfm_ros.masks.label_png import read_label_png

SIZE = (5, 11)  # rows that end within a byte


def ids_below(count):
    return np.random.default_rng(count).integers(0, count, SIZE, np.uint8)


def saved(picture, **options):
    file = BytesIO()
    picture.save(file, 'PNG', **options)
    return file.getvalue()


def plain_png(pixels, depth, colour_type):
    """A PNG without filters; `pixels` as rows of samples."""
    rows = b''
    for row in pixels.reshape(len(pixels), -1):
        bits = ''.join(f'{value:0{depth}b}' for value in row.tolist())
        bits += '0' * (-len(bits) % 8)
        rows += b'\0' + int(bits, 2).to_bytes(len(bits) // 8, 'big')
    header = struct.pack('>IIBBBBB', pixels.shape[1], pixels.shape[0], depth, colour_type, 0, 0, 0)
    parts = [(b'IHDR', header), (b'IDAT', zlib.compress(rows)), (b'IEND', b'')]
    return SIGNATURE + b''.join(chunk(name, content) for name, content in parts)


@pytest.mark.parametrize('depth', [1, 2, 4, 8])
def test_grey_levels_are_the_ids(depth):
    ids = ids_below(1 << depth)
    np.testing.assert_array_equal(read_label_png(plain_png(ids, depth, 0)), ids)


@pytest.mark.parametrize('depth', [1, 2, 4, 8])
def test_indices_of_a_palette_are_the_ids(depth):
    ids = ids_below(1 << depth)
    picture = Image.fromarray(ids, 'L')
    picture.putpalette([9, 9, 9] * (1 << depth))  # all of one colour: only the ids differ
    picture.info['transparency'] = 0
    data = saved(picture, bits=depth)
    assert data[24:26] == bytes([depth, 3])
    np.testing.assert_array_equal(read_label_png(data), ids)


def test_label_of_pillow_in_one_bit_has_0_and_1():
    ids = ids_below(2)
    data = saved(Image.fromarray(ids * 255).convert('1'))
    np.testing.assert_array_equal(read_label_png(data), ids)


@pytest.mark.parametrize('channels', [3, 4])
def test_painted_label_is_rgb(channels):
    colours = np.random.default_rng(0).integers(0, 256, (*SIZE, channels), np.uint8)
    data = saved(Image.fromarray(colours))
    np.testing.assert_array_equal(read_label_png(data), colours[..., :3])


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (b'', 'must be a PNG file, got 0 bytes'),
        (cv2.imencode('.jpg', ids_below(3))[1].tobytes(), 'must be a PNG file'),
        (plain_png(ids_below(3), 8, 0)[:60], 'must be a whole PNG file, got one cut off after 60'),
        (plain_png(ids_below(3), 16, 0), 'must be 8-bit grey, palette or RGB, got 16-bit grey'),
        (plain_png(np.zeros((2, 6), np.uint8), 8, 4), r'got 8-bit grey \+ alpha'),
    ],
)
def test_other_files_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        read_label_png(data)


def test_damage_is_noticed():
    data = bytearray(plain_png(ids_below(3), 8, 0))
    data[-20] ^= 1
    with pytest.raises(ValueError, match='wrong checksum'):
        read_label_png(bytes(data))
