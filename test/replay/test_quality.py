from __future__ import annotations

import numpy as np
import pytest

from dcfm_ros.replay.quality import RunQuality, label_notes


def test_video_consistency_needs_neighbouring_labels():
    mask = np.zeros((4, 4), np.uint8)
    quality = RunQuality(2)
    for index in range(30):
        quality.add(mask, label=mask if index % 2 else None)
    quality.end()
    figures = quality.accuracy_statistics(('a', 'b'))
    assert (figures['labelled_frames'], figures['mvc8']) == (15, None)


def test_dropped_frame_parts_its_neighbours():
    quality = RunQuality(2)
    first, second = np.zeros((2, 2), np.uint8), np.ones((2, 2), np.uint8)
    assert quality.add(first) == {}
    assert quality.add(None) == {}
    assert quality.add(second) == {}
    assert quality.add(np.array([[1, 1], [1, 0]], np.uint8)) == {'changed': 0.25}


def test_label_of_another_size_is_counted_and_not_used():
    quality = RunQuality(2)
    quality.add(np.zeros((4, 4), np.uint8), label=np.zeros((2, 2), np.uint8))
    assert (quality.num_labelled, quality.num_unfit_labels) == (0, 1)


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        ([0, 1, 255], []),
        ([0, 255], ["the labels have class 'road' alone, beside 255, which means ignored"]),
        ([0], []),
        ([255], ['no pixel of any label has a class (255 means ignored): no accuracy']),
        ([0, 1, 7], ['the labels have ids that are no class of the network: 7 (16 pixels)']),
        (
            [128, 255],
            [
                'the labels have ids that are no class of the network: 128 (16 pixels)',
                'no pixel of any label has a class (255 means ignored): no accuracy',
            ],
        ),
    ],
)
def test_labels_that_say_less_than_they_seem_to_are_told_of(values, expected):
    quality, other = RunQuality(2), RunQuality(2)
    for value in values:
        quality.add(np.zeros((4, 4), np.uint8), label=np.full((4, 4), value, np.uint8))
    other.merge(quality)
    for one in (quality, other):
        assert label_notes(one, ('road', 'person')) == expected


def test_label_of_another_size_is_told_of():
    quality = RunQuality(2)
    quality.add(np.zeros((4, 4), np.uint8), label=np.zeros((2, 2), np.uint8))
    assert label_notes(quality, ('a', 'b')) == ['1 labels of another size than their image']
    assert label_notes(RunQuality(2), ('a', 'b')) == []
