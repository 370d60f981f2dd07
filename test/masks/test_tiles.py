"""Masks in tiles are those of the whole picture."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from dcfm_ros.masks.tiles import class_mask_in_tiles


def scene(num_classes: int, grid: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Logits of a picture with large areas of one class each, as a trained network gives them."""
    random = np.random.default_rng(seed)
    coarse = random.normal(0, 6, (num_classes, 3, 4)).astype(np.float32)
    planes = [cv2.resize(plane, grid[::-1], interpolation=cv2.INTER_LINEAR) for plane in coarse]
    noise = random.normal(0, 0.3, (num_classes, *grid)).astype(np.float32)
    return np.stack(planes) + noise


def whole(planes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The mask by the letter: every class resized, then the largest."""
    resized = [cv2.resize(plane, size[::-1], interpolation=cv2.INTER_LINEAR) for plane in planes]
    return np.argmax(np.stack(resized), axis=0)


@pytest.fixture
def resized(monkeypatch):
    """(width, height) that planes were resized to, call by call."""
    sizes, resize = [], cv2.resize

    def spy(plane, size, *arguments, **options):
        sizes.append(size)
        return resize(plane, size, *arguments, **options)

    monkeypatch.setattr(cv2, 'resize', spy)
    return sizes


def tiled_mask(planes, size, resized):
    """The mask, and whether it was cut into tiles."""
    resized.clear()
    mask = class_mask_in_tiles(planes, size)
    return mask, any(tile != size[::-1] for tile in resized)


@pytest.mark.parametrize('size', [(480, 640), (540, 960), (481, 640), (482, 853)])
@pytest.mark.parametrize('grid', [(90, 120), (91, 160), (120, 214)])
def test_a_scene_is_cut_into_tiles_that_fit_together(grid, size, resized):
    planes = scene(11, grid)
    mask, is_cut = tiled_mask(planes, size, resized)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, whole(planes, size))
    if math.gcd(grid[0], size[0]) > 1 < math.gcd(grid[1], size[1]):
        assert is_cut


@pytest.mark.parametrize('num_classes', [1, 2, 3, 19, 124, 255])
def test_any_number_of_classes(num_classes):
    planes = scene(num_classes, (40, 60), seed=num_classes)
    mask = class_mask_in_tiles(planes, (320, 480))
    np.testing.assert_array_equal(mask, whole(planes, (320, 480)))


@pytest.mark.parametrize('num_classes', [2, 3, 19])
def test_large_areas_are_not_resized_for_all_classes(num_classes, resized):
    planes = np.zeros((num_classes, 90, 120), np.float32)
    planes[0, :45] = planes[1, 45:] = 8
    mask, is_cut = tiled_mask(planes, (540, 720), resized)
    assert is_cut
    assert sum(width * height for width, height in resized) < 540 * 720 * num_classes
    np.testing.assert_array_equal(mask, whole(planes, (540, 720)))


@pytest.mark.parametrize('num_classes', [2, 3, 11])
@pytest.mark.parametrize(('grid', 'size'), [((20, 30), (1400, 90)), ((900, 600), (600, 400))])
def test_tiles_of_thin_and_of_shrunk_masks_fit_together(num_classes, grid, size, resized):
    planes = scene(num_classes, grid)
    planes[0, : grid[0] // 3] += 99  # two large areas, so that tiles are worth it
    planes[1, grid[0] // 3 :] += 99
    before = planes.copy()
    given = planes.transpose(0, 2, 1).copy().transpose(0, 2, 1)  # not contiguous
    mask, is_cut = tiled_mask(given, size, resized)
    assert is_cut
    np.testing.assert_array_equal(mask, whole(planes, size))
    np.testing.assert_array_equal(planes, before)


@pytest.mark.parametrize('num_classes', [1, 3, 19])
def test_logits_of_the_size_of_the_mask_are_not_cut(num_classes, resized):
    planes = scene(num_classes, (480, 640))
    planes[-1, ::7] = planes[0, ::7]
    mask, is_tiled = tiled_mask(planes, (480, 640), resized)
    assert not is_tiled
    np.testing.assert_array_equal(mask, planes.argmax(axis=0))


@pytest.mark.parametrize('num_classes', [2, 11, 40])
def test_where_all_classes_can_win_everywhere_nothing_is_cut(num_classes, resized):
    planes = np.random.default_rng(1).normal(size=(num_classes, 90, 120)).astype(np.float32)
    mask, is_cut = tiled_mask(planes, (480, 640), resized)
    assert not is_cut
    assert len(resized) == num_classes
    np.testing.assert_array_equal(mask, whole(planes, (480, 640)))


@pytest.mark.parametrize('grid', [(1, 1), (1, 50), (50, 1), (2, 2), (3, 400), (400, 3)])
@pytest.mark.parametrize('size', [(1, 1), (7, 5), (400, 400), (1000, 30)])
def test_thin_and_shrunk_masks(grid, size):
    planes = scene(5, grid)
    np.testing.assert_array_equal(class_mask_in_tiles(planes, size), whole(planes, size))


def test_the_first_of_equal_classes_wins_in_every_tile():
    planes = scene(6, (90, 160))
    planes[3] = planes[1]
    planes[5] = planes[0]
    mask = class_mask_in_tiles(planes, (360, 640))
    np.testing.assert_array_equal(mask, whole(planes, (360, 640)))
    assert set(np.unique(mask)) <= {0, 1, 2, 4}


def test_a_class_that_wins_only_between_grid_points_is_found():
    planes = np.full((3, 90, 160), -9, np.float32)
    planes[0, :, ::2] = 4  # one column of the grid each, so that in the middle both fall to -2.5
    planes[1, :, 1::2] = 4
    planes[2] = 0
    mask = class_mask_in_tiles(planes, (360, 640))
    assert set(np.unique(mask)) == {0, 1, 2}
    np.testing.assert_array_equal(mask, whole(planes, (360, 640)))


def test_logits_that_are_no_numbers_do_not_stop_it():
    planes = scene(4, (90, 160))
    planes[:, 10:20, 30:50] = np.nan
    planes[2, 60, 100] = np.inf
    mask = class_mask_in_tiles(planes, (360, 640))
    assert mask.max() < 4
    good = np.ones((360, 640), bool)
    good[9 * 4 : 21 * 4, 29 * 4 : 51 * 4] = False
    good[59 * 4 : 62 * 4, 99 * 4 : 102 * 4] = False
    np.testing.assert_array_equal(mask[good], whole(planes, (360, 640))[good])
