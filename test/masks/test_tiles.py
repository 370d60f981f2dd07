"""Masks in tiles are those of the whole picture."""

import math

import cv2
import numpy as np
import pytest

from dcfm_ros.masks import tiles as mask_tiles
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
def tiles(monkeypatch):
    """Where tiles began, once for every class that was resized; empty if nothing was cut."""
    begins = []
    put_best = mask_tiles._put_best

    def spy(planes, classes, row, column, mask):
        begin = row.pixels.start, column.pixels.start
        is_cut = mask[row.pixels, column.pixels].shape != mask.shape
        begins.extend([begin] * len(classes) if is_cut and len(classes) > 1 else [])
        put_best(planes, classes, row, column, mask)

    monkeypatch.setattr(mask_tiles, '_put_best', spy)
    return begins


@pytest.mark.parametrize('size', [(480, 640), (540, 960), (481, 640), (482, 853)])
@pytest.mark.parametrize('grid', [(90, 120), (91, 160), (120, 214)])
def test_a_scene_is_cut_into_tiles_that_fit_together(grid, size, tiles):
    planes = scene(11, grid)
    mask = class_mask_in_tiles(planes, size)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, whole(planes, size))
    if math.gcd(grid[0], size[0]) > 1 < math.gcd(grid[1], size[1]):
        assert len(set(tiles)) > 1


@pytest.mark.parametrize('num_classes', [1, 2, 3, 19, 124, 255])
def test_any_number_of_classes(num_classes):
    planes = scene(num_classes, (40, 60), seed=num_classes)
    mask = class_mask_in_tiles(planes, (320, 480))
    np.testing.assert_array_equal(mask, whole(planes, (320, 480)))


@pytest.mark.parametrize('num_classes', [2, 3, 19])
def test_large_areas_are_not_resized_for_all_classes(num_classes, tiles):
    planes = np.zeros((num_classes, 90, 120), np.float32)
    planes[0, :45] = planes[1, 45:] = 8
    np.testing.assert_array_equal(
        class_mask_in_tiles(planes, (540, 720)), whole(planes, (540, 720))
    )
    assert 0 < len(tiles) < 3 * 5 * num_classes
    assert len(set(tiles)) < 3 * 5


@pytest.mark.parametrize('num_classes', [2, 3, 11])
@pytest.mark.parametrize(('grid', 'size'), [((20, 30), (700, 90)), ((90, 60), (60, 40))])
def test_forced_tiles_fit_together_too(num_classes, grid, size, monkeypatch):
    monkeypatch.setattr(mask_tiles, '_TILE', 20)
    monkeypatch.setattr(mask_tiles, '_is_worth_it', lambda *given: True)
    mask_tiles._cuts.cache_clear()
    planes = scene(num_classes, grid)
    before = planes.copy()
    mask = class_mask_in_tiles(planes.transpose(0, 2, 1).copy().transpose(0, 2, 1), size)
    mask_tiles._cuts.cache_clear()
    np.testing.assert_array_equal(mask, whole(planes, size))
    np.testing.assert_array_equal(planes, before)


@pytest.mark.parametrize('num_classes', [2, 11, 40])
def test_where_all_classes_can_win_everywhere_nothing_is_cut(num_classes, tiles):
    planes = np.random.default_rng(1).normal(size=(num_classes, 90, 120)).astype(np.float32)
    mask = class_mask_in_tiles(planes, (480, 640))
    np.testing.assert_array_equal(mask, whole(planes, (480, 640)))
    assert not tiles


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
