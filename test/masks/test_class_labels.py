"""What the topic `labels` says of the ids in a mask."""

from __future__ import annotations

import numpy as np
import pytest

from dcfm_ros.masks.class_labels import ClassLabels

LABELS = '{"0": {"name": "sky", "rgb": [1, 2, 3]}, "7": {"name": "car", "rgb": [64, 0, 255]}}'


def test_json_is_read_back_as_it_was_written() -> None:
    labels = ClassLabels.from_json(LABELS)
    assert labels.to_json() == LABELS
    assert ClassLabels().to_json() == '{}'


def test_labels_are_read() -> None:
    labels = ClassLabels.from_json(LABELS)
    assert labels.names == {0: 'sky', 7: 'car'}
    assert labels.palette()[[0, 1, 7]].tolist() == [[1, 2, 3], [128, 128, 128], [64, 0, 255]]


def test_classes_are_kept_by_name_or_id() -> None:
    is_kept, unknown = ClassLabels.from_json(LABELS).keep(['car', '3', 'cat', '300'])
    assert np.flatnonzero(is_kept).tolist() == [3, 7]
    assert unknown == ['cat', '300']


def test_without_a_wish_all_named_classes_are_kept() -> None:
    assert np.flatnonzero(ClassLabels.from_json(LABELS).keep([])[0]).tolist() == [0, 7]
    assert np.flatnonzero(ClassLabels().keep([])[0]).tolist() == list(range(255))


def test_classes_are_left_out_by_name_or_id() -> None:
    labels = ClassLabels.from_json(LABELS)
    remains, unknown = labels.without(['car', '3', 'cat'], drops_unlabelled=False)
    assert np.flatnonzero(~remains).tolist() == [3, 7]
    assert unknown == ['cat']
    assert labels.without([], drops_unlabelled=False)[0].all()


def test_unlabelled_is_255_and_what_has_no_name_among_names() -> None:
    remains, _ = ClassLabels.from_json(LABELS).without(['sky'], drops_unlabelled=True)
    assert np.flatnonzero(remains).tolist() == [7]
    remains, _ = ClassLabels().without(['sky', '4'], drops_unlabelled=True)
    assert np.flatnonzero(~remains).tolist() == [4, 255]


@pytest.mark.parametrize(
    'text',
    [
        '',
        '[]',
        '[' * 100_000,
        '{"0": 1}',
        '{"a": {"name": "a", "rgb": [1, 2, 3]}}',
        '{"256": {"name": "a", "rgb": [1, 2, 3]}}',
        '{"-1": {"name": "a", "rgb": [1, 2, 3]}}',
        '{"0": {"name": "a", "rgb": [1, 2]}}',
        '{"0": {"name": "a", "rgb": [1, 2, 300]}}',
        '{"0": {"name": "a", "rgb": [1, 2, 2.5]}}',
        '{"0": {"name": "a", "rgb": [1, 2, 1180591620717411303424]}}',
        '{"0": {"name": "a", "rgb": [1, 2, 1e999]}}',
        '{"0": {"name": "a", "rgb": [1, 2, NaN]}}',
        '{"0": {"name": ["a"], "rgb": [1, 2, 3]}}',
        '{"0": {"name": "\\ud800", "rgb": [1, 2, 3]}}',
        '[' * 100_000,
    ],
)
def test_other_labels_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match='`labels` must '):
        ClassLabels.from_json(text)
