from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
import pytest

from dcfm_ros.images.raw import ENCODINGS, MAX_PIXELS, demosaic, image_to_rgb

RGB = np.random.default_rng(3).integers(0, 256, (5, 6, 3), np.uint8)
ORANGE = (200, 100, 30)


def make_image(pixels: NDArray[Any], encoding: str, padding: int = 0, **fields: Any) -> Any:
    """The fields of an image message whose rows end in `padding` bytes of 0xAA."""
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xAA)
    values = {'height': height, 'width': width, 'encoding': encoding, 'is_bigendian': 0}
    values |= {'step': rows.shape[1], 'data': bytearray(rows.tobytes())}
    return SimpleNamespace(**(values | fields))


def encode(pixels: NDArray[Any], encoding: str) -> NDArray[Any]:
    """RGB pixels in another order of channels."""
    order = {'r': 0, 'g': 1, 'b': 2}
    letters = 'bgr' if 'UC3' in encoding else encoding.rstrip('0123456789')
    opaque = np.full(pixels.shape[:2], np.iinfo(pixels.dtype).max, pixels.dtype)
    planes = [opaque if letter == 'a' else pixels[..., order[letter]] for letter in letters]
    return np.stack(planes, axis=2)


@pytest.mark.parametrize('padding', [0, 1, 10])
@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'rgba8', 'bgra8', '8UC3'])
def test_colour_encoding_becomes_rgb(encoding: str, padding: int) -> None:
    message = make_image(encode(RGB, encoding), encoding, padding)
    np.testing.assert_array_equal(image_to_rgb(message), RGB)


@pytest.mark.parametrize('padding', [0, 3])
@pytest.mark.parametrize('encoding', ['mono8', '8UC1'])
def test_grey_becomes_rgb(encoding: str, padding: int) -> None:
    grey = RGB[..., 0]
    image = image_to_rgb(make_image(grey, encoding, padding))
    np.testing.assert_array_equal(image, np.repeat(grey[..., None], 3, axis=2))


def widen(pixels: NDArray[np.uint8], order: str) -> NDArray[np.uint16]:
    """16-bit samples whose high bytes are `pixels` and whose low ones are noise."""
    noise = np.random.default_rng(4).integers(0, 256, pixels.shape, np.uint8)
    return (pixels.astype(np.uint16) * 256 + noise).astype(f'{order}u2')


@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('padding', [0, 1, 6])
@pytest.mark.parametrize('encoding', ['rgb16', 'bgr16', 'rgba16', 'bgra16', '16UC3'])
def test_16_bit_colours_become_their_high_bytes(encoding: str, padding: int, order: str) -> None:
    pixels = encode(widen(RGB, order), encoding).astype(f'{order}u2')
    message = make_image(pixels, encoding, padding, is_bigendian=int(order == '>'))
    np.testing.assert_array_equal(image_to_rgb(message), RGB)


@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('encoding', ['mono16', '16UC1'])
def test_16_bit_grey_becomes_its_high_bytes(encoding: str, order: str) -> None:
    message = make_image(widen(RGB[..., 0], order), encoding, 4, is_bigendian=int(order == '>'))
    np.testing.assert_array_equal(image_to_rgb(message), np.repeat(RGB[..., :1], 3, axis=2))


def mosaic_of(colour: tuple[int, int, int], pattern: str) -> NDArray[np.uint8]:
    """What a sensor with the pattern, row by row, sees of one colour; (9, 12)."""
    cell = np.array([colour['rgb'.index(letter)] for letter in pattern], np.uint8).reshape(2, 2)
    return np.tile(cell, (5, 6))[:9]


@pytest.mark.parametrize('padding', [0, 5])
@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_mosaic_of_one_colour_becomes_that_colour(pattern: str, padding: int) -> None:
    image = image_to_rgb(make_image(mosaic_of(ORANGE, pattern), f'bayer_{pattern}8', padding))
    assert image.shape == (9, 12, 3)
    assert (image == ORANGE).all()


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_mosaic_keeps_its_place(pattern: str) -> None:
    """Left red, right blue: the border between them must not move."""
    left, right = mosaic_of((255, 0, 0), pattern), mosaic_of((0, 0, 255), pattern)
    mosaic = np.concatenate([left, right], axis=1)
    image = image_to_rgb(make_image(mosaic, f'bayer_{pattern}8')).astype(int)
    assert (image[:, :10] == (255, 0, 0)).all()
    assert (image[:, 14:] == (0, 0, 255)).all()


@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_16_bit_mosaic_becomes_rgb(pattern: str, order: str) -> None:
    mosaic = widen(mosaic_of(ORANGE, pattern), order)
    message = make_image(mosaic, f'bayer_{pattern}16', is_bigendian=int(order == '>'))
    assert (image_to_rgb(message) == ORANGE).all()


def test_only_mosaics_are_demosaiced() -> None:
    with pytest.raises(ValueError, match=r"must be one of bayer_rggb8, .*, got 'mono8'"):
        demosaic(RGB[..., 0], 'mono8')


# Byte order of two pixels that share their chroma, and one red in BT.601 video range.
YUV_ORDER = {'yuv422': 'UYVY', 'uyvy': 'UYVY', 'yuv422_yuy2': 'YUYV', 'yuyv': 'YUYV'}
YUV = {'Y': 86, 'U': 107, 'V': 202}
YUV_AS_RGB = (200, 30, 40)


@pytest.mark.parametrize('padding', [0, 6])
@pytest.mark.parametrize('encoding', YUV_ORDER)
def test_yuv422_becomes_rgb(encoding: str, padding: int) -> None:
    row = [YUV[letter] for letter in YUV_ORDER[encoding]] * 3
    message = make_image(np.full((4, 12), row, np.uint8).reshape(4, 6, 2), encoding, padding)
    image = image_to_rgb(message)
    assert image.shape == (4, 6, 3)
    assert np.abs(image.astype(int) - YUV_AS_RGB).max() <= 3


@pytest.mark.parametrize('padding', [0, 6])
@pytest.mark.parametrize(('encoding', 'order'), [('nv12', 'UV'), ('nv21', 'VU')])
def test_yuv420_becomes_rgb(encoding: str, order: str, padding: int) -> None:
    planes = np.full((6, 8), YUV['Y'], np.uint8)
    planes[4:] = [YUV[letter] for letter in order] * 4
    image = image_to_rgb(make_image(planes, encoding, padding, height=4))
    assert image.shape == (4, 8, 3)
    assert np.abs(image.astype(int) - YUV_AS_RGB).max() <= 3


def test_rgb8_is_not_copied() -> None:
    message = make_image(RGB, 'rgb8', padding=2)
    image = image_to_rgb(message)
    message.data[0] = image[0, 0, 0] ^ 0xFF
    assert image[0, 0, 0] == message.data[0]


@pytest.mark.parametrize('encoding', sorted({*ENCODINGS} - {*YUV_ORDER, 'nv12', 'nv21'}))
def test_odd_sizes_are_kept(encoding: str) -> None:
    message = make_image(np.zeros((7, 13 * 8), np.uint8), encoding, width=13)
    assert image_to_rgb(message).shape == (7, 13, 3)


def test_endianness_of_bytes_means_nothing() -> None:
    np.testing.assert_array_equal(image_to_rgb(make_image(RGB, 'rgb8', is_bigendian=1)), RGB)


def test_surplus_data_is_ignored() -> None:
    message = make_image(RGB, 'rgb8')
    message.data.extend(b'more')
    np.testing.assert_array_equal(image_to_rgb(message), RGB)


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        ({'encoding': '32FC1'}, "`encoding` must be one of rgb8, .*nv21, got '32FC1'"),
        ({'encoding': ''}, "`encoding` must be .*, got ''"),
        ({'height': 6}, '`data` must be at least 108 bytes .*, got 90'),
        ({'data': b''}, '`data` must be at least 90 bytes .*, got 0'),
        ({'height': 0}, '`width` x `height` must be at least 1 x 1, got 6 x 0'),
        ({'width': 0}, '`width` x `height` must be at least 1 x 1, got 0 x 5'),
        ({'width': 2**32 - 1, 'height': 2**32 - 1}, 'must be at most 33177600 pixels'),
        ({'step': 17}, '`step` must be at least 18 bytes .*, got 17'),
        ({'step': 0}, '`step` must be at least 18 bytes .*, got 0'),
        ({'step': 2**32 - 1}, '`data` must be at least 21474836475 bytes .*, got 90'),
        ({'encoding': 'rgb16'}, '`step` must be at least 36 bytes .*rgb16.*, got 18'),
        ({'encoding': 'uyvy', 'width': 5}, '`width` must be even for uyvy, got 5'),
        ({'encoding': 'bayer_rggb8', 'width': 2}, 'must be at least 3 x 3 for .*, got 2 x 5'),
        ({'encoding': 'bayer_grbg16', 'height': 2}, 'must be at least 3 x 3 for .*, got 6 x 2'),
        ({'encoding': 'nv12', 'width': 5}, '`width` must be even for nv12, got 5'),
        ({'encoding': 'nv12'}, '`height` must be even for nv12, got 5'),
        ({'encoding': 'nv12', 'height': 4, 'data': b'.' * 90}, 'at least 108 bytes .*, got 90'),
    ],
)
def test_bad_image_is_refused_with_its_reason(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        image_to_rgb(make_image(RGB, **({'encoding': 'rgb8'} | changes)))


def test_8k_is_not_too_large() -> None:
    message = make_image(np.zeros((4320, 7680), np.uint8), 'mono8')
    assert message.height * message.width == MAX_PIXELS
    assert image_to_rgb(message).shape == (4320, 7680, 3)
