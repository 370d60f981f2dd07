"""A bag through the engine: every frame, in order, the same masks every time, without ROS."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
import hashlib
from itertools import chain, islice
from pathlib import Path
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.images.compressed import mask_to_png
from dcfm_ros.keyframes.schedule import FixedScheduler, Schedule
from dcfm_ros.models.checkpoint import load_checkpoint, read_metadata
from dcfm_ros.recordings.bag_storage import promised_counts, storage_files
from dcfm_ros.recordings.bags import BagReader
from dcfm_ros.recordings.frame import SourceError, SourceFrame
from dcfm_ros.replay.provenance import PeakMemory, describe_run
from dcfm_ros.replay.quality import RunQuality
from dcfm_ros.replay.recorder import RunRecorder
from dcfm_ros.replay.run import ReplayRun, Resources
from dcfm_ros.replay.streaming import score_streaming
from dcfm_ros.training.evaluation.frame_times import MeasuredTimes

Progress = Callable[[Iterable[SourceFrame]], Iterable[SourceFrame]]

EXECUTIONS = ('sync', 'amortised')
_DEFAULT_HZ = 15.0
_NUM_AHEAD = 10
"""Frames that are read ahead to tell the rate of the recording."""


@dataclass(frozen=True, kw_only=True)
class ReplayOptions:
    """How bags are replayed."""

    checkpoint: Path
    """Weights."""
    schedule: Schedule = field(default_factory=lambda: FixedScheduler(4))
    """When keyframes are due."""
    execution: str = 'sync'
    """When the deep encoder works: 'sync' or 'amortised', as in `SegmentationEngine`."""
    slices: int | None = None
    """As in `SegmentationEngine`, like `max_age`, `device` and `backend`."""
    max_age: int | None = None
    max_time_gap_s: float = 1.0
    """Stamps farther apart make a keyframe, as in the node; 0: never."""
    device: str = 'auto'
    backend: str = 'auto'
    height: int = 0
    """Rows to work at; 0: as trained."""
    topic: str | None = None
    """Image topic, needed where a bag has more than one."""
    label_topic: str | None = None
    """Mask topic of the true classes, or None."""
    fidelity: bool | None = None
    """Also run every frame by itself and compare; None: where there are no labels."""

    def __post_init__(self) -> None:
        if self.execution not in EXECUTIONS:
            raise ValueError(
                f"`execution` must be 'sync' or 'amortised', got {self.execution!r}: offline "
                'there is no camera to keep pace with, so when a thread is done says nothing'
            )

    @property
    def with_fidelity(self) -> bool:
        """Whether every frame is also run by itself."""
        return self.label_topic is None if self.fidelity is None else self.fidelity


def replay_bag(
    bag: Path,
    folder: Path,
    options: ReplayOptions,
    progress: Progress = lambda frames: frames,
) -> ReplayRun:
    """Run every frame of a bag through the engine.

    The latency of a frame is that of the engine's step. Nothing is dropped: the next frame is
    taken when the last one is done.

    Args:
        bag: A bag, whole or damaged.
        folder: Gets overlay.mp4; must exist.
        options: How.
        progress: Is given the frames of the first pass and gives them on.

    Raises:
        FileNotFoundError: If the bag or the checkpoint does not exist.
        SourceError: If there is no image in the bag, or its topic is not told.
        CheckpointError: If the checkpoint cannot be used.
        ValueError: If the device is absent or an option is not allowed.
        OSError: If the video cannot be written.
    """
    reader = BagReader(bag, topic=options.topic, label_topic=options.label_topic)
    frames, rate_hz = _with_rate(reader)
    net = load_checkpoint(options.checkpoint)
    height = options.height or read_metadata(options.checkpoint).image_height or None
    common: dict[str, Any] = {
        'device': options.device,
        'backend': options.backend,
        'inference_height': height,
    }
    first = next(frames)
    engine = SegmentationEngine(
        net,
        **common,
        schedule=options.schedule,
        execution=options.execution,
        slices=options.slices,
        max_age=options.max_age,
    )
    engine.max_time_gap_s = options.max_time_gap_s or None
    _warm(engine, first)
    reference = None
    if options.with_fidelity:
        reference = _warm(SegmentationEngine(net, **common, schedule=1), first)
    video = folder / 'overlay.mp4'
    expected = promised_counts(bag).get(reader.topic or '')
    with RunRecorder(video, net.class_names, net.palette, rate_hz, expected) as recorder:
        played = _Play(engine, reference, recorder)
        for frame in progress(chain([first], frames)):
            played.add(frame)
    played.quality.end()
    losses = reader.losses.lines()
    played.quality.streaming = score_streaming(
        reader, engine, played.labels, recorder.entries, played.times.of, len(net.class_names)
    )
    config = {
        **engine.schedule.settings(),
        'execution': engine.execution,
        'slices': options.slices,
        'max_age': options.max_age,
        'max_time_gap_s': options.max_time_gap_s,
        'motion': engine.motion,
        'inference_height': engine.inference_height,
        'device': engine.device,
        'backend': engine.backend,
        'precision': engine.precision,
        'threads': torch.get_num_threads(),
        'fidelity': options.with_fidelity,
    }
    return ReplayRun(
        name=bag.name,
        kind='offline',
        class_names=net.class_names,
        palette=net.palette,
        frames=recorder.entries,
        quality=played.quality,
        losses=losses,
        metadata=describe_run(
            input_path=bag,
            files=storage_files(bag),
            topic=reader.topic,
            label_topic=options.label_topic,
            checkpoint=options.checkpoint,
            config=config,
        ),
        resources=played.resources(),
        masks_sha256=played.masks.hexdigest(),
        snapshots=recorder.snapshots,
    )


class _Play:
    """One pass over the frames of a bag."""

    def __init__(
        self,
        engine: SegmentationEngine,
        reference: SegmentationEngine | None,
        recorder: RunRecorder,
    ) -> None:
        self.quality = RunQuality(len(recorder.class_names))
        self.labels: list[bytes | None] = []
        """PNG of each frame's label."""
        self.times = MeasuredTimes()
        self.masks = hashlib.sha256()
        self._engine = engine
        self._reference = reference
        self._recorder = recorder
        self._cpu_s = 0.0
        self._busy_s = 0.0
        self._memory = PeakMemory()

    def add(self, frame: SourceFrame) -> None:
        """Take the next frame."""
        cpu_s, start_s = time.process_time(), time.perf_counter()
        result = self._engine.step(frame.image, frame.stamp_ns)
        latency_s = time.perf_counter() - start_s
        self._cpu_s += time.process_time() - cpu_s
        self.times.add(result)
        self.masks.update(f'{result.mask.shape}'.encode() + result.mask.tobytes())
        other: NDArray[np.uint8] | None = None
        if self._reference is not None:
            other = self._reference.step(frame.image, frame.stamp_ns).mask
        quality = self.quality.add(
            result.mask, label=frame.label, reference=other, age=result.keyframe_age
        )
        label = None
        if frame.label is not None and frame.label.shape == result.mask.shape:
            label = mask_to_png(frame.label).tobytes()
        self.labels.append(label)
        self._recorder.add(
            frame,
            result.mask,
            is_keyframe=result.is_keyframe,
            keyframe_age=result.keyframe_age,
            latency_ms=latency_s * 1e3,
            stage_ms=result.stage_ms,
            reason=result.reason,
            feature_age_ms=result.feature_age_ms,
            change_score=result.change_score,
            # The clock of the engine's own work: the next frame is sent when this one is done.
            sent_s=self._busy_s,
            received_s=self._busy_s + latency_s,
            quality=quality,
        )
        self._busy_s += latency_s

    def resources(self) -> Resources:
        """What the engine took, without the reference and the reading of the bag."""
        return Resources(
            cpu_s=self._cpu_s, wall_s=self._busy_s, peak_memory_mb=self._memory.read_mb()
        )


def _warm(engine: SegmentationEngine, frame: SourceFrame) -> SegmentationEngine:
    """Run the engine beside its stream, lest the first frames measured be the slowest."""
    for _ in engine.segment_clip([frame.image] * 3):
        pass
    return engine


def _with_rate(reader: BagReader) -> tuple[Iterator[SourceFrame], float]:
    """The frames, at least one, and how many there are per second."""
    frames = reader.frames()
    ahead = list(islice(frames, _NUM_AHEAD))
    if not ahead:
        told = '; '.join(reader.losses.lines())
        raise SourceError(f'{reader.path} has no image in {reader.topic}{told and ": "}{told}')
    steps = np.diff([frame.stamp_ns for frame in ahead])
    usual = float(np.median(steps[steps > 0])) if (steps > 0).any() else 1e9 / _DEFAULT_HZ
    return chain(ahead, frames), min(max(1e9 / usual, 1.0), 120.0)
