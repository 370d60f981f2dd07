"""The node with the deep encoder spread over frames, over DDS."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy')

from frames import STEP_MS, play_once, random_frames
from peer import Peer

pytestmark = pytest.mark.dds


@pytest.mark.parametrize(
    ('parameters', 'expected', 'slices'),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6, 3, 4, 5, 6, 3], 4),
        ({'execution_slices': 2}, [0, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3], 2),
    ],
)
def test_amortised_keyframes_answer_every_frame(
    peer: Peer, parameters: dict[str, int], expected: list[int], slices: int
) -> None:
    """Frames one after another, each when the one before it is answered."""
    with peer.configured(
        backend='torch', execution='amortised', keyframe_interval=4, **parameters
    ):
        report = play_once(random_frames(12))
    assert (report.answered, report.dropped, report.unexpected_masks) == (12, 0, 0)
    timings = [record.timing for record in report.records if record.timing]
    assert [timing.keyframe_age for timing in timings] == expected
    ages_ms = [timing.feature_age_ms for timing in timings]
    assert ages_ms == pytest.approx([age * STEP_MS for age in expected])
    assert report.health.model['execution'] == 'amortised'
    assert report.health.model['execution_slices'] == str(slices)
    keyframes = [i for i, timing in enumerate(timings) if timing.is_keyframe]
    assert keyframes == [0, 4, 8]
    at_work = [i for i, timing in enumerate(timings) if 'common' in timing.stage_ms]
    assert at_work == [0, *(k + i for k in (4, 8) for i in range(slices))]
    assert all('feature_age' not in timing.stage_ms for timing in timings)
