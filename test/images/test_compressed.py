from __future__ import annotations

from array import array
import struct
from types import SimpleNamespace
from typing import Any
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray
import pytest

from dcfm_ros.images.compressed import compressed_to_rgb


def smooth_image(height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """RGB that JPEG changes little, with channels that cannot be taken for one another."""
    rows, columns = np.mgrid[:height, :width]
    planes = [60 + 2 * columns, 200 - 2 * rows, np.full_like(rows, 30)]
    return np.stack(planes, axis=2).clip(0, 255).astype(np.uint8)


RGB = smooth_image()
BGR = np.ascontiguousarray(RGB[..., ::-1])


def encode(pixels: NDArray[Any], suffix: str = '.png', *options: int) -> bytes:
    """Compress what OpenCV takes for BGR."""
    return bytes(cv2.imencode(suffix, pixels, options)[1])


JPEG, PNG = encode(BGR, '.jpg', cv2.IMWRITE_JPEG_QUALITY, 95), encode(BGR)


def decode(data: bytes, image_format: str = '') -> NDArray[np.uint8]:
    return compressed_to_rgb(SimpleNamespace(format=image_format, data=array('B', data)))


def refusal(data: bytes, image_format: str = '') -> str:
    with pytest.raises(ValueError, match='`') as caught:
        decode(data, image_format)
    return str(caught.value)


def png_chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack('>I', len(content)) + name + content + struct.pack('>I', checksum)


FORMATS = ('', 'jpeg', 'bgr8; jpeg compressed bgr8', 'rgb8; jpeg compressed bgr8', 'no; such')


@pytest.mark.parametrize('image_format', [*FORMATS, 'rgb8; png compressed bgr8'])
def test_png_becomes_rgb(image_format: str) -> None:
    np.testing.assert_array_equal(decode(PNG, image_format), RGB)


@pytest.mark.parametrize('image_format', [*FORMATS, 'png'])
def test_jpeg_becomes_rgb(image_format: str) -> None:
    image = decode(JPEG, image_format)
    assert image.shape == RGB.shape
    assert np.abs(image.astype(int) - RGB).max() <= 8


def test_progressive_jpeg_with_restarts_becomes_rgb() -> None:
    options = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2)
    assert np.abs(decode(encode(BGR, '.jpg', *options)).astype(int) - RGB).max() <= 8


def test_red_and_blue_are_changed_back() -> None:
    image = decode(encode(RGB), 'rgb8; png compressed rgb8')
    np.testing.assert_array_equal(image, RGB)
    assert image.flags.c_contiguous


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
def test_grey_becomes_rgb(suffix: str) -> None:
    grey = np.full((8, 16), 77, np.uint8)
    assert (decode(encode(grey, suffix), 'mono8; jpeg compressed ') == 77).all()


def test_transparency_is_dropped() -> None:
    pixels = np.dstack([BGR, np.full(BGR.shape[:2], 3, np.uint8)])
    np.testing.assert_array_equal(decode(encode(pixels)), RGB)


@pytest.mark.parametrize('pixels', [BGR, BGR[..., 2]])
def test_16_bit_samples_become_their_high_bytes(pixels: NDArray[np.uint8]) -> None:
    expected = RGB if pixels.ndim == 3 else np.repeat(RGB[..., :1], 3, axis=2)
    wide = pixels.astype(np.uint16) * 256 + 200
    np.testing.assert_array_equal(decode(encode(wide), 'bgr16; png compressed bgr16'), expected)


def test_compressed_mosaic_becomes_rgb() -> None:
    mosaic = np.tile(np.array([[30, 100], [100, 200]], np.uint8), (6, 8))
    image = decode(encode(mosaic), 'bayer_bggr8; png compressed ')
    assert (image == (200, 100, 30)).all()


def test_colour_image_of_a_mosaic_is_a_colour_image() -> None:
    np.testing.assert_array_equal(decode(PNG, 'bayer_rggb8; jpeg compressed bgr8'), RGB)


def test_turned_camera_is_not_turned_back() -> None:
    directory = b'II*\0\x08\0\0\0\x01\0' + struct.pack('<HHIHH', 0x112, 3, 1, 6, 0) + bytes(4)
    content = b'Exif\0\0' + directory
    exif = b'\xff\xe1' + struct.pack('>H', len(content) + 2) + content
    turned = JPEG[:2] + exif + JPEG[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (64, 48, 3)
    assert decode(turned).shape == (48, 64, 3)


@pytest.mark.parametrize('padding', [b'\0' * 500, b'\xff\xd9', b'\xff\xd8\xff\xe0 another'])
def test_padding_behind_a_jpeg_is_ignored(padding: bytes) -> None:
    np.testing.assert_array_equal(decode(JPEG + padding), decode(JPEG))


@pytest.mark.parametrize('share', [0.3, 0.6, 0.9])
@pytest.mark.parametrize('data', [JPEG, PNG])
def test_truncated_image_is_refused(data: bytes, share: float) -> None:
    cut = data[: int(len(data) * share)]
    assert f'one cut off after {len(cut)} bytes' in refusal(cut)


@pytest.mark.parametrize('data', [JPEG, PNG])
def test_image_without_its_last_byte_is_refused(data: bytes) -> None:
    assert 'cut off' in refusal(data[:-1])


@pytest.mark.parametrize('data', [JPEG, PNG])
def test_no_truncation_is_missed_or_fatal(data: bytes) -> None:
    for length in range(len(data)):
        refusal(data[:length])


def test_end_of_a_thumbnail_is_not_taken_for_the_end() -> None:
    comment = b'\xff\xe1' + struct.pack('>H', len(JPEG) + 2) + JPEG
    with_thumbnail = JPEG[:2] + comment + JPEG[2:]
    np.testing.assert_array_equal(decode(with_thumbnail), decode(JPEG))
    assert 'cut off' in refusal(with_thumbnail[:-200])


def test_damaged_header_of_a_jpeg_is_refused() -> None:
    damaged = JPEG[:20] + b'\0' + JPEG[21:]  # no quantisation table
    assert 'must be an intact JPEG image, got one that is not decoded' in refusal(damaged)


@pytest.mark.parametrize(
    'padding', [b'\0', b'\xff' * 3, b'\0\0\0', b'pad', b'\xff\0\x80', b'\x01' * 999]
)
@pytest.mark.parametrize(
    'marker', [b'\xff\xe0', b'\xff\xdb', b'\xff\xc0', b'\xff\xc4', b'\xff\xda']
)
def test_padding_between_the_segments_of_a_jpeg_is_passed_over(
    padding: bytes, marker: bytes
) -> None:
    """As libjpeg does; a segment that says it is too short looks the same."""
    position = JPEG.index(marker)
    if position == 2 and not padding.startswith(b'\xff'):
        position = JPEG.index(b'\xff\xdb')  # OpenCV knows a JPEG by its first three bytes
    np.testing.assert_array_equal(
        decode(JPEG[:position] + padding + JPEG[position:]), decode(JPEG)
    )


def test_garbage_among_the_pixels_of_a_jpeg_is_refused() -> None:
    damaged = JPEG[:-40] + b'\xff\x17' + JPEG[-38:]
    expected = f"one with b'\\xff\\x17' among its pixels at byte {len(JPEG) - 40}"
    assert expected in refusal(damaged)


def test_changed_byte_of_a_png_is_refused() -> None:
    position = PNG.index(b'IDAT') + 30
    damaged = PNG[:position] + bytes([PNG[position] ^ 1]) + PNG[position + 1 :]
    assert "chunk b'IDAT' at byte" in refusal(damaged)


def test_png_with_too_few_pixels_is_refused() -> None:
    header = png_chunk(b'IHDR', struct.pack('>IIBBBBB', 64, 48, 8, 2, 0, 0, 0))
    pixels = png_chunk(b'IDAT', zlib.compress(bytes(64 * 3 + 1)))
    damaged = PNG[:8] + header + pixels + png_chunk(b'IEND', b'')
    assert 'must be an intact PNG image, got one that is not decoded' in refusal(damaged)


@pytest.mark.parametrize(
    'data', [b'', b'\xff\xd8', b'RIFF....WEBPVP8 ', b'\0' * 12 + PNG, b'<svg/>']
)
def test_what_is_neither_jpeg_nor_png_is_refused(data: bytes) -> None:
    expected = f'must be a JPEG or PNG image, got {len(data)} bytes that begin with {data[:8]!r}'
    assert expected in refusal(data, '16UC1; compressedDepth png')
    assert "format '16UC1; compressedDepth png'" in refusal(data, '16UC1; compressedDepth png')


def test_jpeg_without_an_image_is_refused() -> None:
    assert 'without a scan' in refusal(b'\xff\xd8\xff\xd9')


@pytest.mark.parametrize('size', [(65000, 65000), (2**31 - 1, 2**31 - 1), (7680, 4321)])
def test_png_bomb_is_refused_before_it_is_decoded(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(cv2, 'imdecode')
    header = png_chunk(b'IHDR', struct.pack('>IIBBBBB', *size, 8, 0, 0, 0, 0))
    bomb = PNG[:8] + header + png_chunk(b'IDAT', zlib.compress(bytes(100))) + PNG[-12:]
    assert f'at most 33177600 pixels (7680 x 4320), got {size[0]} x {size[1]}' in refusal(bomb)


def test_jpeg_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, 'imdecode')
    position = JPEG.index(b'\xff\xc0') + 5
    bomb = JPEG[:position] + struct.pack('>HH', 65000, 65000) + JPEG[position + 4 :]
    assert 'got 65000 x 65000' in refusal(bomb)


def test_image_without_rows_is_refused() -> None:
    position = JPEG.index(b'\xff\xc0') + 5
    flat = JPEG[:position] + struct.pack('>H', 0) + JPEG[position + 2 :]
    assert 'must be at least 1 x 1, got 64 x 0' in refusal(flat)


@pytest.mark.parametrize('seed', range(4))
def test_damage_is_never_fatal(seed: int) -> None:
    """Any bytes may change: there is an image of the right kind, or a reason."""
    random = np.random.default_rng(seed)
    for data in (JPEG, PNG):
        for _ in range(50):
            damaged = np.frombuffer(data, np.uint8).copy()
            damaged[random.integers(0, len(damaged), 4)] = random.integers(0, 256, 4)
            try:
                image = decode(damaged.tobytes())
            except ValueError:
                continue
            assert image.dtype == np.uint8
            assert image.ndim == 3
