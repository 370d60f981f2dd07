"""Accuracy in groups of classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
import pytest

from dcfm_ros.masks.groups import ClassGroups
from dcfm_ros.training.evaluation.group_scores import group_figures
from dcfm_ros.training.metrics import ConfusionMatrix


def groups_of(*members: tuple[int, ...]) -> ClassGroups:
    table = np.full(256, 255, np.uint8)
    for group, classes in enumerate(members):
        table[list(classes)] = group
    names = tuple(f'group{index}' for index in range(len(members)))
    return ClassGroups(names, ((0, 0, 0),) * len(members), table)


def counted(
    num_classes: int, mask: NDArray[np.uint8], label: NDArray[np.uint8]
) -> ConfusionMatrix:
    confusion = ConfusionMatrix(num_classes)
    confusion.update(mask, label)
    return confusion


def test_classes_of_one_group_are_taken_for_each_other_freely() -> None:
    mask, label = np.array([[1, 0, 2, 2]], np.uint8), np.array([[0, 1, 2, 2]], np.uint8)
    figures = group_figures(counted(3, mask, label), groups_of((0, 1), (2,)))
    assert figures == {
        'group_miou': 1.0,
        'group_miou_labelled': 1.0,
        'group_iou': {'group0': 1.0, 'group1': 1.0},
    }


def test_iou_is_that_of_the_masks_of_the_groups() -> None:
    """Pixel by pixel, from masks, labels, and predictions without a class among them."""
    rng = np.random.default_rng(0)
    mask, label = rng.integers(0, 6, (2, 40, 50), np.uint8)
    mask[:5], label[-5:] = 255, 255
    groups = groups_of((0, 3), (1,), (4,))
    found = group_figures(counted(6, mask, label), groups)['group_iou']
    assert isinstance(found, dict)
    known = label != 255
    for index, name in enumerate(groups.names):
        inside = groups.member(mask, index)[known] == 255
        truly = groups.member(label, index)[known] == 255
        assert found[name] == pytest.approx((inside & truly).sum() / (inside | truly).sum())


def test_a_class_of_no_group_is_a_false_alarm_where_it_is_taken_for_one() -> None:
    mask, label = np.array([[0, 0]], np.uint8), np.array([[0, 1]], np.uint8)
    assert group_figures(counted(2, mask, label), groups_of((0,)))['group_miou'] == 0.5


def test_groups_that_no_label_has_count_0_or_are_left_out() -> None:
    mask = label = np.zeros((2, 2), np.uint8)
    figures = group_figures(counted(2, mask, label), groups_of((0,), (1,)))
    assert (figures['group_miou'], figures['group_miou_labelled']) == (0.5, 1.0)
    assert figures['group_iou'] == {'group0': 1.0, 'group1': None}


def test_nothing_labelled_is_no_figure() -> None:
    figures = group_figures(ConfusionMatrix(2), groups_of((0,)))
    assert figures == {
        'group_miou': None,
        'group_miou_labelled': None,
        'group_iou': {'group0': None},
    }
