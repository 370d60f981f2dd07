"""Masks as runs, with the ids of Autoware."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray
import pytest

from dcfm_ros.masks.run_length import AUTOWARE_CLASSES, autoware_ids, encode_runs

ROAD, CAR = AUTOWARE_CLASSES.index('road'), AUTOWARE_CLASSES.index('vehicle')


def decode(data: bytes, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """As a consumer in C++ does it: byte and int, byte and int, ..."""
    pixels: list[int] = []
    for value, length in struct.iter_unpack('<Bi', data):
        pixels += [value] * length
    return np.array(pixels, np.uint8).reshape(shape)


def test_runs_go_on_in_the_next_row() -> None:
    mask = np.array([[1, 1, 2], [2, 2, 0]], np.uint8)
    assert encode_runs(mask) == b'\1\2\0\0\0' + b'\2\3\0\0\0' + b'\0\1\0\0\0'


@pytest.mark.parametrize('first', [0, 255])
def test_mask_of_one_class_is_one_run(first: int) -> None:
    data = encode_runs(np.full((480, 640), first, np.uint8))
    assert data == struct.pack('<Bi', first, 307200)


def test_any_mask_is_decoded_again() -> None:
    mask = np.random.default_rng(0).integers(0, 3, (37, 41), np.uint8)
    assert np.array_equal(decode(encode_runs(mask), mask.shape), mask)
    assert np.array_equal(decode(encode_runs(mask[:, ::2]), (37, 21)), mask[:, ::2])


def test_classes_become_those_of_autoware() -> None:
    ids = autoware_ids({3: 'road', 8: 'car', 9: 'cat'}, ['road:road', 'car:vehicle', 'dog:bike'])
    assert (ROAD, CAR) == (9, 7)
    assert ids[[3, 8, 9, 255]].tolist() == [9, 7, 0, 0]


@pytest.mark.parametrize('entry', ['road', 'road:street', ''])
def test_entry_without_a_class_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=f'`class_map` must have entries .*got {entry!r}'):
        autoware_ids({0: 'road'}, [entry])


def test_names_of_classes_may_have_colons() -> None:
    ids = autoware_ids({2: 'static:wall'}, ['static:wall:wall'])
    assert np.flatnonzero(ids).tolist() == [2]
