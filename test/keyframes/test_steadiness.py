"""Masks that are steadied by the last keyframe's."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
import math

from engines import make_engine
import numpy as np
import pytest
from small_net import make_net
import torch

from dcfm_ros.backends.torch_backend import TorchBackend
from dcfm_ros.backends.warp import Places
from dcfm_ros.engine import EngineOptions, FrameResult, ScheduleOptions, SegmentationEngine
from dcfm_ros.keyframes.feature_cache import FrameInfo
from dcfm_ros.keyframes.steadiness import steadied, thumbnail
from dcfm_ros.models.checkpoint import load_checkpoint
from dcfm_ros.models.checkpoint_header import find_checkpoint
from dcfm_ros.synthetic.drive import DriveConfig, render_drive
from dcfm_ros.training.metrics import ConfusionMatrix, VideoConsistency

BACKEND = TorchBackend(make_net(), 'cpu')
GRID = (6, 8)
IN_PLACE = Places(*np.meshgrid(np.arange(8, dtype=np.float32), np.arange(6, dtype=np.float32)))


def frame_of(colour: int, logits: torch.Tensor | None = None) -> FrameInfo:
    picture = np.full((12, 16), colour, np.uint8)
    return FrameInfo(0, (24, 32), 0, thumbnail=thumbnail(picture, GRID), logits=logits)


@pytest.mark.parametrize('difference', [0, 1, 5, 40])
def test_weight_falls_with_the_difference_of_the_images(difference: int) -> None:
    now, then = torch.zeros(1, 3, *GRID), torch.ones(1, 3, *GRID)
    blended = steadied(
        BACKEND, now, frame_of(100 + difference), frame_of(100, then), IN_PLACE, 0.7
    )
    expected = torch.full_like(now, 0.7 * math.exp(-difference / 5))
    torch.testing.assert_close(blended, expected)


def test_scores_come_from_where_the_content_was() -> None:
    then = torch.rand(1, 3, *GRID)
    right = Places(IN_PLACE.x + 2, IN_PLACE.y)
    blended = steadied(
        BACKEND, torch.zeros(1, 3, *GRID), frame_of(9), frame_of(9, then), right, 0.5
    )
    torch.testing.assert_close(blended[..., :-2], then[..., 2:] / 2)


def test_nothing_is_blended_with_a_frame_that_has_no_scores() -> None:
    now = torch.rand(1, 3, *GRID)
    assert steadied(BACKEND, now, frame_of(9), frame_of(9), IN_PLACE, 0.5) is now


def still(frames: int = 6, seed: int = 0) -> list[np.ndarray]:
    image = np.random.default_rng(seed).integers(0, 256, (96, 128, 3), np.uint8)
    return [image] * frames


def steady_engine(
    interval: int = 3, blending: float = 0.7, **options: object
) -> SegmentationEngine:
    options |= {'keyframe_interval': interval, 'mask_blending': blending, 'motion': 'flow'}
    return make_engine(make_net(), **options)


def run(engine: SegmentationEngine, images: Iterable[np.ndarray]) -> list[FrameResult]:
    return [engine.step(image, number) for number, image in enumerate(images)]


def noisy(frames: int = 6) -> list[np.ndarray]:
    random, (image,) = np.random.default_rng(1), still(1)
    calm = image // 2 + 40
    return [(calm + random.integers(-6, 7, image.shape)).astype(np.uint8) for _ in range(frames)]


@pytest.mark.parametrize('options', [{}, {'execution': 'amortised'}, {'interval': 1}])
def test_scores_change_less_from_frame_to_frame(options: dict[str, object]) -> None:
    def unrest(blending: float) -> float:
        results = run(steady_engine(blending=blending, **options), noisy(9))
        pairs = pairwise(results[2:])
        return float(np.mean([np.abs(a.logits - b.logits).mean() for a, b in pairs]))

    assert unrest(0.7) < 0.8 * unrest(0.0)


def test_mask_and_confidence_are_those_of_the_blended_scores() -> None:
    result = run(steady_engine(interval=3), noisy(3))[-1]
    plain = run(steady_engine(interval=3, blending=0.0), noisy(3))[-1]
    assert not np.array_equal(result.logits, plain.logits)
    expected = torch.from_numpy(result.logits).softmax(1).amax().item()
    assert result.confidence.max() == pytest.approx(expected, abs=0.02)
    assert 'blend' in result.stage_ms
    assert 'blend' not in plain.stage_ms


@pytest.mark.parametrize('reason', ['reset', 'size_change', 'time_jump', 'time_gap'])
def test_nothing_before_a_restart_is_blended(reason: str) -> None:
    engine = steady_engine(interval=3)
    engine.schedule = ScheduleOptions(keyframe_interval=3, max_time_gap_s=1.0)
    run(engine, noisy(4))
    image, stamp_ns = still(seed=7)[0], 4
    if reason == 'reset':
        engine.reset()
    elif reason == 'size_change':
        image = np.ascontiguousarray(image[:64])
    else:
        stamp_ns = {'time_jump': 0, 'time_gap': 5_000_000_000}[reason]
    result = engine.step(image, stamp_ns)
    fresh = steady_engine(interval=3).step(image, 0)
    assert result.reason == reason
    np.testing.assert_allclose(result.logits, fresh.logits, rtol=1e-5, atol=1e-5)


def test_cameras_do_not_see_the_scores_of_each_other() -> None:
    first = steady_engine(interval=3)
    second = first.for_another_camera()
    alone = run(steady_engine(interval=3), noisy(4))
    for number, (image, other) in enumerate(zip(noisy(4), still(4), strict=True)):
        result = first.step(image, number)
        second.step(other, number)
        np.testing.assert_allclose(result.logits, alone[number].logits, rtol=1e-5, atol=1e-5)


def test_packaged_masks_of_a_drive_are_steadier_and_no_worse() -> None:
    net = load_checkpoint(find_checkpoint('default'))
    drive = list(render_drive(DriveConfig(num_frames=16, seed=3)))
    miou, steadiness = {}, {}
    default = EngineOptions().mask_blending
    for blending in (0.0, default):
        engine = make_engine(net, keyframe_interval=3, motion='flow', mask_blending=blending)
        confusion, consistency = ConfusionMatrix(11), VideoConsistency(8)
        for number, (image, label) in enumerate(drive):
            mask = engine.step(image, round(number * 1e9 / 15)).mask
            confusion.update(mask, label)
            consistency.add_frame(mask, label)
        consistency.end_clip()
        miou[blending], steadiness[blending] = confusion.miou('ignore'), consistency.value()
    assert steadiness[default] > steadiness[0.0]
    assert miou[default] > miou[0.0] - 0.005
