"""The engine with a backend that returns NumPy arrays, in a process that has no PyTorch."""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow
RUN = """
import sys
sys.modules['torch'] = None  # whoever imports it fails
from types import SimpleNamespace

import numpy as np

from array_backend import ArrayBackend
from dcfm_ros.engine import EngineOptions, ScheduleOptions, SegmentationEngine
from dcfm_ros.models.config import DCFMConfig

net = SimpleNamespace(config=DCFMConfig(backbone='mit_b0', num_classes=5, motion='flow'))
blocks = np.random.default_rng(0).integers(0, 256, (8, 14, 3), np.uint8)
scene = blocks.repeat(16, 0).repeat(16, 1)
images = [np.ascontiguousarray(scene[:, 4 * i : 4 * i + 192]) for i in range(8)]
engine = SegmentationEngine(net, EngineOptions(**{options}), ScheduleOptions(**{schedule}),
                            backend=ArrayBackend())
results = [engine.step(image, number) for number, image in enumerate(images)]
results += engine.segment_clip(images)
assert [r.is_keyframe for r in results] != [True] * 16
for result in results:
    assert result.logits.shape == (1, 5, 32, 48)
    assert result.mask.shape == result.confidence.shape == (128, 192)
    assert len(np.unique(result.mask)) > 1
    assert 0.19 < result.confidence.min() < result.confidence.max() <= 1
for stage in ('motion', 'blend', 'common'):
    assert any(stage in result.stage_ms for result in results), stage
if engine.schedule.schedule == 'adaptive':
    assert max(result.change_score for result in results[1:8]) > 0
"""


@pytest.mark.parametrize(
    ('options', 'schedule'),
    [
        ({}, {'keyframe_interval': 3}),
        ({'execution': 'amortised'}, {'keyframe_interval': 3}),
        ({}, {'schedule': 'adaptive', 'change_threshold': 1e-4, 'min_keyframe_interval': 2}),
    ],
)
def test_engine_runs_on_arrays_alone(
    options: dict[str, object], schedule: dict[str, object]
) -> None:
    code = RUN.replace('{options}', repr(options)).replace('{schedule}', repr(schedule))
    support = str(Path(__file__).parent / 'support')
    subprocess.run(
        [sys.executable, '-c', code], env=os.environ | {'PYTHONPATH': support}, check=True
    )
