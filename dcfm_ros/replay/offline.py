"""A recording through the engine without ROS: every frame, in order, the same masks every time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
import time
from typing import Any

from dcfm_ros.engine import SegmentationEngine, load_network
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.masks.groups import read_groups_of
from dcfm_ros.masks.png import mask_to_png
from dcfm_ros.models.checkpoint_header import read_metadata
from dcfm_ros.recordings.frame import SourceFrame
from dcfm_ros.replay.frames import ReplayedFrame
from dcfm_ros.replay.provenance import PeakMemory, describe_run
from dcfm_ros.replay.recorder import ReplayRecorder
from dcfm_ros.replay.recording import Recording
from dcfm_ros.replay.run import ReplayRun, Resources
from dcfm_ros.replay.streaming import score_streaming
from dcfm_ros.threads import num_threads
from dcfm_ros.training.evaluation.frame_times import MeasuredTimes

Progress = Callable[[Iterable[SourceFrame]], Iterable[SourceFrame]]


@dataclass(frozen=True, kw_only=True)
class OfflineOptions:
    """How recordings are replayed through the engine."""

    checkpoint: Path
    """Weights."""
    engine: EngineOptions = field(default_factory=EngineOptions)
    schedule: ScheduleOptions = field(default_factory=ScheduleOptions)
    fidelity: bool | None = None
    """Whether to run every frame by itself too, and compare; None: if there are no labels."""
    streaming: bool = True
    """Whether to measure the streaming accuracy too, if there are labels: a second pass."""
    masks: Path | None = None
    """Folder for one PNG mask per frame, or None."""
    groups: Path | None = None
    """File of groups of classes, in which figures are given as well; None: no groups."""


def replay_offline(
    recording: Recording,
    video: Path,
    options: OfflineOptions,
    progress: Progress = lambda frames: frames,
) -> ReplayRun:
    """Run every frame of a recording through the engine.

    The latency of a frame is that of the engine's step. Nothing is dropped: the next frame is
    taken when the last one is done. Ctrl-C ends a camera.

    Args:
        recording: What to replay.
        video: Overlay video to write (.mp4).
        options: How.
        progress: Wraps the frames of the first pass.

    Raises:
        FileNotFoundError: If the recording or the checkpoint does not exist.
        SourceError: If the recording cannot be read, or its topic is not clear.
        CheckpointError: If the checkpoint cannot be used.
        ValueError: If the device is absent, an option is not allowed or the file of groups wrong.
        OSError: If a file cannot be written.
    """
    groups = read_groups_of(options.groups, options.checkpoint)  # before what takes long
    frames, rate_hz = recording.open()
    first = next(frames)
    net = load_network(options.checkpoint, options.engine)
    height = options.engine.inference_height or read_metadata(options.checkpoint).image_height
    how = replace(options.engine, inference_height=height)
    engine = SegmentationEngine(net, how, options.schedule)
    reference = None
    has_labels = first.label is not None or recording.label_topic is not None
    if not has_labels if options.fidelity is None else options.fidelity:
        every_frame = ScheduleOptions(keyframe_interval=1)
        alone = replace(how, execution='sync', mask_blending=0.0)  # whatever came before
        reference = SegmentationEngine(net, alone, every_frame)
    for used in filter(None, (engine, reference)):
        # Beside their streams, so that the first frames are not measured cold.
        list(used.segment_clip([first.image] * 3))
    if options.masks is not None:
        options.masks.mkdir(parents=True, exist_ok=True)
    recorder = ReplayRecorder(
        video, net.class_names, net.palette, rate_hz, recording.num_frames, groups
    )
    work = _Pass(engine, reference, recorder, options.masks)
    with recorder:
        try:
            for frame in progress(chain([first], frames)):
                work.add(frame)
        except KeyboardInterrupt:
            if not recording.is_live:
                raise
    config = _config(engine) | {'fidelity': reference is not None}
    if groups is not None:
        config['groups'] = groups.members(net.class_names)
    run = recorder.run(
        recording,
        kind='offline',
        metadata=describe_run(recording, options.checkpoint, config),
        # Without the reference and the reading of the recording.
        resources=Resources(
            cpu_s=work.cpu_s, wall_s=work.busy_s, peak_memory_mb=work.memory.read_mb()
        ),
    )
    if options.streaming and run.quality.num_labelled and not recording.is_live:
        stamps_ns = [frame.stamp_ns for frame in run.frames]
        gap = score_streaming(recording, engine, stamps_ns, work.times.of, run.quality)
        run.losses += [gap] if gap else []
    return run


def remove_masks_from(folder: Path, count: int) -> int:
    """Remove the masks that a longer run has left behind those of a run of `count` frames.

    Other files stay, whatever their names.

    Returns:
        How many there were.
    """
    left = [
        path
        for path in folder.glob('*.png')
        if path.stem.isascii()
        and path.stem.isdecimal()
        and int(path.stem) >= count
        and path.name == _mask_name(int(path.stem))
    ]
    for path in left:
        path.unlink()
    return len(left)


def _mask_name(index: int) -> str:
    return f'{index:06d}.png'


def _config(engine: SegmentationEngine) -> dict[str, Any]:
    """All options, as in effect."""
    backend = engine.backend
    return {
        **asdict(engine.schedule),
        **asdict(engine.in_effect),
        'device': backend.device,
        'backend': backend.name,
        'precision': backend.precision,
        'threads': num_threads(),
    }


@dataclass
class _Pass:
    """One pass over the frames of a recording, and what the engine took for it."""

    engine: SegmentationEngine
    reference: SegmentationEngine | None
    recorder: ReplayRecorder
    masks: Path | None
    times: MeasuredTimes = field(default_factory=MeasuredTimes)
    memory: PeakMemory = field(default_factory=PeakMemory)
    cpu_s: float = 0.0
    busy_s: float = 0.0
    """The clock of the engine's own work: the next frame is sent when this one is done."""

    def add(self, frame: SourceFrame) -> None:
        """Take the next frame."""
        cpu_s, start_s = time.process_time(), time.perf_counter()
        result = self.engine.step(frame.image, frame.stamp_ns)
        latency_s = time.perf_counter() - start_s
        self.cpu_s += time.process_time() - cpu_s
        self.times.add(result)
        other = None
        if self.reference is not None:
            other = self.reference.step(frame.image, frame.stamp_ns).mask
        if self.masks is not None:
            path = self.masks / _mask_name(len(self.recorder.frames))
            path.write_bytes(mask_to_png(result.mask).tobytes())
        replayed = ReplayedFrame(
            stamp_ns=result.stamp_ns,
            is_keyframe=result.is_keyframe,
            reason=result.reason,
            keyframe_age=result.keyframe_age,
            feature_age_ms=result.feature_age_ms,
            change_score=result.change_score,
            stage_ms=result.stage_ms,
            latency_ms=latency_s * 1e3,
            sent_s=self.busy_s,
            received_s=self.busy_s + latency_s,
        )
        self.recorder.add(frame, replayed, result.mask, other)
        self.busy_s += latency_s
