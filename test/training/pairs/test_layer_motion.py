from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from dcfm_ros.training.pairs.layer_motion import LayerMotion

HEIGHT, WIDTH = 180, 240
MIDDLE = (119.5, 79.5)


def scene():
    """A textured background of class 0 with a red square of class 1 in the middle."""
    noise = np.random.default_rng(1).integers(60, 200, (HEIGHT, WIDTH, 1), np.uint8)
    image = np.repeat(cv2.GaussianBlur(noise, (0, 0), 2)[..., None], 3, axis=2)
    label = np.zeros((HEIGHT, WIDTH), np.uint8)
    label[60:100, 100:140] = 1
    image[label == 1] = (250, 0, 0)
    return image, label


def motion(**settings):
    """Everything stands still but what is named."""
    still = dict.fromkeys(
        ('shift_px', 'zoom', 'tilt', 'roll_rad', 'shear', 'parallax', 'own_px', 'light'), 0.0
    )
    return LayerMotion(**(still | settings))


def draw(age, seed=0, motion=motion(), label=None):  # noqa: B008 - frozen
    image, own_label = scene()
    return motion.reference(
        image, own_label if label is None else label, age, np.random.default_rng(seed)
    )


def red_centre(image):
    """(x, y) of the red square."""
    rows, columns = np.nonzero((image[..., 0] > 150) & (image[..., 1] < 90))
    return np.array([columns.mean(), rows.mean()])


def background_shift(view):
    """(x, y) by which the background moved, from the part above the square."""
    image = scene()[0]
    patch = image[15:45, 40:200]
    score = cv2.matchTemplate(view, patch, cv2.TM_CCOEFF_NORMED)
    row, column = np.unravel_index(score.argmax(), score.shape)
    return np.array([column - 40, row - 15])


def test_same_seed_gives_the_same_view_and_another_one_another():
    first, second, other = (draw(4, seed, LayerMotion()) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first.astype(int) - other).mean() > 3
    assert (first.shape, first.dtype) == ((HEIGHT, WIDTH, 3), np.uint8)


def test_input_is_left_alone():
    image, label = scene()
    before = image.copy(), label.copy()
    LayerMotion().reference(image, label, 4, np.random.default_rng(0))
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(label, before[1])


def test_no_time_no_motion():
    label = scene()[1]
    cv2.circle(label, (60, 120), 30, 2, -1)
    view = draw(0, motion=LayerMotion(light=0.0), label=label)
    np.testing.assert_array_equal(view, scene()[0])


def test_negative_age_runs_the_other_way():
    settings = motion(shift_px=1.5)
    there, back = (red_centre(draw(age, 2, settings)) - MIDDLE for age in (8, -8))
    assert np.abs(there).max() > 3
    np.testing.assert_allclose(there, -back, atol=1.0)


def test_motion_grows_with_age():
    settings = motion(shift_px=1.5)
    moved = [np.abs(red_centre(draw(age, 2, settings)) - MIDDLE).max() for age in (2, 6)]
    assert moved[1] == pytest.approx(3 * moved[0], abs=1.0)


def test_motion_is_in_proportion_to_the_width():
    image, label = scene()
    small = red_centre(draw(6, 2, motion(shift_px=1.5))) - MIDDLE
    double = (cv2.resize(pixels, None, fx=2, fy=2, interpolation=0) for pixels in (image, label))
    view = motion(shift_px=1.5).reference(*double, 6, np.random.default_rng(2))
    np.testing.assert_allclose((red_centre(view) - (239.5, 159.5)) / 2, small, atol=1.0)


def test_near_layer_moves_farther_than_the_background():
    for seed in range(5):
        view = draw(6, seed, motion(shift_px=1.5, parallax=3.0))
        background = background_shift(view)
        layer = red_centre(view) - MIDDLE
        if np.abs(background).max() > 3:
            break
    axis = np.abs(background).argmax()
    assert layer[axis] / background[axis] > 1.3


def test_layer_moves_over_a_background_that_stands():
    views = [draw(8, seed, motion(own_px=1.5)) for seed in range(8)]
    moved = [np.abs(red_centre(view) - MIDDLE).max() for view in views]
    # Half of the layers stand, and the background does not move.
    assert 0 < sum(distance > 1 for distance in moved) < 8
    assert all(np.abs(background_shift(view)).max() == 0 for view in views)


def test_what_a_layer_uncovers_looks_like_its_surroundings():
    views = (draw(8, seed, motion(own_px=8.0)) for seed in range(8))
    view = next(v for v in views if np.abs(red_centre(v) - MIDDLE).max() > 25)
    left, top = np.round(red_centre(view) - 22).astype(int)
    uncovered = np.zeros((HEIGHT, WIDTH), bool)
    uncovered[60:100, 100:140] = True
    uncovered[max(top, 0) : top + 44, max(left, 0) : left + 44] = False
    assert uncovered.sum() > 500
    assert np.abs(view[uncovered].astype(int) - 130).max() < 70  # no red, no black


def test_large_and_tiny_regions_stay_part_of_the_background():
    label = scene()[1]
    label[:] = 0
    label[:, 120:] = 1  # half of the image each
    label[5, 5] = 2
    without = draw(8, 0, motion(own_px=20.0), np.full_like(label, 255))
    np.testing.assert_array_equal(draw(8, 0, motion(own_px=20.0), label), without)


def test_unlabelled_regions_are_no_layers():
    label = scene()[1]
    label[label == 1] = 255
    moved = [red_centre(draw(8, seed, motion(own_px=6.0), label)) for seed in range(6)]
    assert np.abs(np.array(moved) - MIDDLE).max() < 2


def test_light_changes_a_little():
    ratios = np.array([draw(0, seed, motion(light=0.03)).mean() for seed in range(20)])
    ratios /= scene()[0].mean()
    assert 0.02 < ratios.std() < 0.12
    assert np.abs(ratios - 1).max() < 0.35


def test_region_at_the_edge_goes_on_beyond_it():
    image, label = scene()
    label[:], image[:] = 0, 100
    label[60:120, :40], image[60:120, :40] = 1, (250, 0, 0)
    for seed in range(12):
        view = motion(own_px=4.0).reference(image, label, 4, np.random.default_rng(seed))
        red = (view[..., 0] > 150) & (view[..., 1] < 90)
        if red.any(axis=0).nonzero()[0].max() > 46:  # it moved in from the left
            assert red[90, 0]
            return
    pytest.fail('no layer moved to the right')


def test_odd_and_tiny_images_are_moved():
    for size in ((1, 1), (3, 5), (33, 47)):
        label = np.zeros(size, np.uint8)
        label[size[0] // 2, size[1] // 2] = 1
        image = np.full((*size, 3), 100, np.uint8)
        settings = LayerMotion(min_share=0.0, max_share=1.0)
        view = settings.reference(image, label, 5, np.random.default_rng(0))
        assert view.shape == (*size, 3)


def test_view_is_drawn_quickly():
    """20 ms at 480x360 on a free core; more is allowed here, for cores are shared."""
    image, label = (
        cv2.resize(pixels, (480, 360), interpolation=cv2.INTER_NEAREST) for pixels in scene()
    )
    cv2.circle(label, (100, 100), 60, 3, -1)
    started = time.process_time()
    for seed in range(5):
        LayerMotion().reference(image, label, 4, np.random.default_rng(seed))
    assert (time.process_time() - started) / 5 < 0.1
