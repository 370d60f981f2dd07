from __future__ import annotations

import numpy as np

from dcfm_ros.replay.quality import RunQuality


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
