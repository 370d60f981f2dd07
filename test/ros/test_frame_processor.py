from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
import pytest

pytest.importorskip('rclpy')

from peer import Peer, running_peer

from dcfm_ros.engine import FrameResult
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.ros.camera_topics import OUTPUTS
from dcfm_ros.ros.frame_processor import FrameProcessor
from dcfm_ros.ros.frame_slot import Frame
from dcfm_ros.ros.health.stream_statistics import StreamStatistics
from dcfm_ros.ros.mask_outputs import MaskOutputs
from dcfm_ros.ros.parameters.segmentation import NodeParameters

PALETTE = [(0, 0, 0), (255, 255, 255)]


class FakeEngine:
    """Answers with an empty mask, or raises what it was told to."""

    def __init__(self) -> None:
        self.backend = SimpleNamespace(device='cpu', failure='')
        self.schedule = ScheduleOptions()
        self.error: Exception | None = None
        self.results: list[FrameResult] = []
        self.resets = 0

    def step(self, image: NDArray[np.uint8], stamp_ns: int) -> FrameResult:
        if self.error is not None:
            raise self.error
        result = FrameResult(
            mask=np.zeros(image.shape[:2], np.uint8),
            is_keyframe=True,
            reason='first',
            keyframe_age=0,
            feature_age_ms=0.0,
            change_score=float('nan'),
            stage_ms={'decode': 1.0},
            stamp_ns=stamp_ns,
            _logits=np.zeros((1, 2, 2, 2), np.float32),
            _backend=self.backend,
        )
        self.results.append(result)
        return result

    def reset(self) -> None:
        self.resets += 1


@pytest.fixture(scope='module')
def peer() -> Iterator[Peer]:
    with running_peer() as running:
        yield running


@pytest.fixture
def outputs(peer: Peer) -> dict[str, Any]:
    """Real publishers without subscribers."""
    return {
        name: peer.create_publisher(kind, f'/unheard/{name}', depth)
        for name, (_, kind, depth) in OUTPUTS.items()
    }


class Bench:
    """A processor and all that it reports to."""

    def __init__(self, outputs: dict[str, Any]) -> None:
        self.engine = FakeEngine()
        self.statistics = StreamStatistics()
        self.errors: list[str] = []
        self.values = NodeParameters()
        self.processor = FrameProcessor(
            self.engine,  # type: ignore[arg-type]
            MaskOutputs(outputs, PALETTE, node_name='/unheard/segmentation_node'),
            self.statistics,
            logger=SimpleNamespace(error=lambda text, **_: self.errors.append(text)),
            log_prefix='',
            values=lambda: self.values,
            clock_ns=lambda: 0,
        )


@pytest.fixture
def bench(outputs: dict[str, Any]) -> Bench:
    return Bench(outputs)


def test_confidence_is_not_computed_without_subscribers(bench: Bench, peer: Peer) -> None:
    bench.processor.process(Frame(peer.image(), 0.0))
    assert bench.statistics.snapshot(0.0).answered == 1
    assert 'confidence' not in vars(bench.engine.results[0])


def test_reset_is_left_to_the_worker(bench: Bench, peer: Peer) -> None:
    bench.processor.request_reset()
    assert bench.engine.resets == 0
    bench.processor.process(Frame(peer.image(), 0.0))
    bench.processor.process(Frame(peer.image(), 0.0))
    assert bench.engine.resets == 1


def test_new_parameters_reach_the_engine_before_the_next_frame(bench: Bench, peer: Peer) -> None:
    bench.values = NodeParameters(keyframe_interval=9)
    assert bench.engine.schedule.keyframe_interval == 3
    bench.processor.process(Frame(peer.image(), 0.0))
    assert bench.engine.schedule.keyframe_interval == 9


@pytest.mark.parametrize(
    'error', [ValueError('too small'), RuntimeError('kernel'), MemoryError('no memory')]
)
def test_frame_that_cannot_be_segmented_is_refused(
    bench: Bench, peer: Peer, error: Exception
) -> None:
    bench.engine.error = error
    bench.processor.process(Frame(peer.image(), 0.0))
    assert bench.errors == [f'refused an image: {error}']
    assert bench.statistics.snapshot(0.0).dropped['refused'] == 1


def test_cuda_error_is_not_survived(bench: Bench, peer: Peer) -> None:
    bench.engine.backend.device = 'cuda:0'
    bench.engine.error = RuntimeError('CUDA error: device-side assert triggered')
    with pytest.raises(RuntimeError, match='device-side assert'):
        bench.processor.process(Frame(peer.image(), 0.0))


def test_a_backend_that_failed_is_told_once(bench: Bench, peer: Peer) -> None:
    bench.processor.process(Frame(peer.image(), 0.0))
    assert bench.errors == []
    bench.engine.backend.failure = 'openvino failed, PyTorch goes on: no memory'
    for _ in range(3):
        bench.processor.process(Frame(peer.image(), 0.0))
    assert bench.errors == ['openvino failed, PyTorch goes on: no memory']
    assert bench.statistics.snapshot(0.0).answered == 4


def test_bad_image_is_survived_on_cuda(bench: Bench, peer: Peer) -> None:
    bench.engine.backend.device = 'cuda:0'
    bench.processor.process(Frame(peer.image(encoding='jpeg'), 0.0))
    assert bench.statistics.snapshot(0.0).dropped['refused'] == 1


def test_defect_is_not_taken_for_a_bad_image(bench: Bench, peer: Peer) -> None:
    bench.engine.error = KeyError('defect')
    with pytest.raises(KeyError):
        bench.processor.process(Frame(peer.image(), 0.0))
