"""The node with the deep encoder spread over frames, or beside them, over DDS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy')

from running_node import make_checkpoint, running_node

from dcfm_ros.play.player import PlayedFrame, play
from dcfm_ros.play.report import FrameRecord, PlayReport

STEP_MS = 40.0


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp('weights') / 'tiny.safetensors')


def frames(count: int) -> Iterator[PlayedFrame]:
    random = np.random.default_rng(0)
    for index in range(count):
        image = random.integers(0, 256, (96, 128, 3), np.uint8)
        yield PlayedFrame(image=image, stamp_ns=10**18 + index * int(STEP_MS * 1e6))


def play_to_node(log: Path, checkpoint: Path, count: int, **parameters: object) -> PlayReport:
    """Frames one after another, each when the one before it is answered."""
    common = {'checkpoint': checkpoint, 'backend': 'torch', 'cpu_threads': 1}
    with running_node(log, **common, **parameters) as process:
        process.wait_for_log('ready on')
        report = play(frames(count), rate_hz=None)
    assert (report.answered, report.dropped, report.unexpected_masks) == (count, 0, 0)
    return report


def ages(records: list[FrameRecord]) -> list[int]:
    found = [record.timing.keyframe_age for record in records]
    told = [record.timing.feature_age_ms for record in records]
    assert told == [age * STEP_MS for age in found]
    return found


@pytest.mark.parametrize(
    ('parameters', 'expected'),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6, 3, 4, 5, 6, 3]),
        ({'execution_slices': 2}, [0, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3]),
        ({'max_feature_age': 4}, [0, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3]),
    ],
)
def test_amortised_keyframes_answer_every_frame(
    tmp_path: Path, checkpoint: Path, parameters: dict[str, int], expected: list[int]
) -> None:
    report = play_to_node(
        tmp_path / 'log', checkpoint, 12, execution='amortised', keyframe_interval=4, **parameters
    )
    assert ages(report.records) == expected
    assert report.health.model['execution'] == 'amortised'
    keyframes = [i for i, r in enumerate(report.records) if r.is_keyframe]
    assert keyframes == [0, 4, 8]
    at_work = [i for i, r in enumerate(report.records) if 'common' in r.stage_ms]
    num_slices = 2 if 'execution_slices' in parameters else 4
    if 'max_feature_age' not in parameters:
        assert at_work == [0, *(k + i for k in (4, 8) for i in range(num_slices))]
    assert all('feature_age' not in record.stage_ms for record in report.records)


def test_thread_beside_the_frames_answers_every_frame(tmp_path: Path, checkpoint: Path) -> None:
    report = play_to_node(
        tmp_path / 'log', checkpoint, 40, execution='async', keyframe_interval=2, max_feature_age=7
    )
    assert report.health.model['execution'] == 'async'
    found = ages(report.records)
    assert found[:3] == [0, 1, 2]
    assert max(found) <= 7
    keyframes = [i for i, r in enumerate(report.records) if r.is_keyframe]
    assert keyframes[:2] == [0, 2]
    assert len(keyframes) >= 40 / 8
    # Whatever the thread takes, the feature in use is that of a keyframe.
    assert {index - age for index, age in enumerate(found)} <= set(keyframes)
