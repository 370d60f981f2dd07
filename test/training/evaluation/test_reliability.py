"""`Reliability`: the expected calibration error of a confidence."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dcfm_ros.training.evaluation.reliability import Reliability


def counted(prediction, confidence, label):
    found = Reliability()
    found.update(np.array([prediction]), np.float32([confidence]), np.array([label]), 3)
    return found


def test_error_is_the_mean_distance_of_confidence_and_share_of_right_ones():
    # Two bins: .9 and .91 together, half of which is right; and .5, which is wrong.
    found = counted([0, 1, 2], [0.9, 0.91, 0.5], [0, 0, 1])
    expected = (abs(0.9 + 0.91 - 1) + abs(0.5 - 0)) / 3
    assert found.error() == pytest.approx(expected, abs=1e-6)


def test_too_much_and_too_little_confidence_do_not_make_up_for_each_other():
    assert counted([0, 0], [0.9, 0.1], [1, 0]).error() == pytest.approx(0.9)


def test_a_confidence_that_is_right_has_no_error():
    found = counted([0] * 4, [0.75] * 4, [0, 0, 0, 1])
    assert found.error() == pytest.approx(0.0, abs=1e-6)


def test_surest_pixels_belong_to_the_last_bin():
    assert counted([0, 0], [1.0, 0.0], [0, 0]).counts.tolist() == [1] + [0] * 13 + [1]


def test_pixels_without_one_class_are_not_counted():
    assert counted([0, 0, 0], [0.2, 0.3, 1.0], [255, 3, 0]).counts.sum() == 1
    assert math.isnan(counted([0], [0.2], [255]).error())


def test_frames_add_up():
    one, other = counted([0, 1], [0.9, 0.4], [0, 0]), counted([1], [0.35], [1])
    both = counted([0, 1, 1], [0.9, 0.4, 0.35], [0, 0, 1])
    one.merge(other)
    assert one.error() == pytest.approx(both.error())
    assert one.counts.tolist() == both.counts.tolist()
