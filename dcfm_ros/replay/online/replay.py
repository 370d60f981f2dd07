"""A bag through the real node, over DDS: what a robot's user would get, and when."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
import math
import os
from pathlib import Path
from typing import Any

from dcfm_ros.models.checkpoint import read_metadata
from dcfm_ros.play.fastdds import profile_in_use, shared_segment_mb, use_profile
from dcfm_ros.play.node_process import node_process
from dcfm_ros.play.player import PlayedFrame, Player, connect
from dcfm_ros.play.process_meter import ProcessMeter
from dcfm_ros.play.report import PlayReport
from dcfm_ros.recordings.bag_storage import storage_files
from dcfm_ros.recordings.bags import BagReader
from dcfm_ros.recordings.frame import SourceError
from dcfm_ros.replay.figures import stamp_figures
from dcfm_ros.replay.online.figures import entries, node_figures
from dcfm_ros.replay.online.masks import MaskStore, recorded
from dcfm_ros.replay.online.plays import (
    RatePlays,
    buffered,
    image_transport,
    recorded_frames,
    use_of,
)
from dcfm_ros.replay.provenance import describe_run
from dcfm_ros.replay.recorder import RunRecorder
from dcfm_ros.replay.run import ReplayRun, Resources

MODES = ('timeline', 'rate', 'peak')
_WAIT_S = 120.0
_CONFIG = ('device', 'backend', 'execution', 'schedule', 'keyframe_interval', 'inference_height')
"""What of the node's diagnostics decides about the figures."""


@dataclass(frozen=True, kw_only=True)
class OnlineOptions:
    """How a bag is played to the node.

    Raises:
        ValueError: If a value is outside what its field says.
    """

    checkpoint: Path
    """Weights; a node that runs already has its own."""
    parameters: Mapping[str, object] = field(default_factory=dict)
    """Further parameters of the node."""
    topic: str | None = None
    """Image topic, needed where a bag has more than one."""
    label_topic: str | None = None
    """Mask topic of the true classes, or None."""
    mode: str = 'timeline'
    """'timeline': once, as far apart as the stamps are; 'rate': then also at `rates`; 'peak': then
    also at the highest rate with few missing frames."""
    rates: tuple[float, ...] = (10.0, 15.0, 30.0)
    """Frames per second, each above 0."""
    seconds: float = 5.0
    """Length of a run at a rate, above 0."""
    runs: int = 5
    """Runs at each rate, at least 1."""
    peak_limits_hz: tuple[float, float] = (10.0, 100.0)
    """Where the highest rate is searched."""
    reliability: str = 'reliable'
    """Of the images: 'reliable' or 'best_effort'."""
    fastdds_profile: Path | None = None
    """Fast DDS profile of player and node; None: as the environment says."""
    namespace: str = ''
    """Of a node that runs already; empty: one is started."""
    pid: int | None = None
    """Process of a node that runs already, to watch it."""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f'`mode` must be one of {", ".join(MODES)}, got {self.mode!r}')
        if not self.rates or min(self.rates) <= 0:
            raise ValueError(f'`rates` must be some, above 0, got {self.rates}')
        if self.seconds <= 0:
            raise ValueError(f'`seconds` must be above 0, got {self.seconds}')
        if self.runs < 1:
            raise ValueError(f'`runs` must be at least 1, got {self.runs}')
        lower, upper = self.peak_limits_hz
        if not 0 < lower < upper:
            raise ValueError(f'`peak_limits_hz` must rise from above 0, got {lower}, {upper}')
        if self.namespace and self.parameters:
            names = ', '.join(self.parameters)
            raise ValueError(f'`parameters` must be none with `namespace`, got {names}')
        if self.pid is not None and not self.namespace:
            raise ValueError(f'`pid` must be None without `namespace`, got {self.pid}')


def replay_online(
    bag: Path, folder: Path, options: OnlineOptions, say: Callable[[str], None] = print
) -> ReplayRun:
    """Play a bag to the node and record what it makes of it.

    The frames of the run are those of the play at the recording's own rate. Writes overlay.mp4
    and, of a node that is started here, node.log into `folder`.

    Args:
        bag: A bag, whole or damaged.
        folder: Must exist.
        options: How.
        say: Told what happens.

    Raises:
        FileNotFoundError: If the bag, the checkpoint or the profile does not exist.
        SourceError: If there is no image in the bag, or its topic is not told.
        TimeoutError: If the node does not become ready; the message says what it reported.
        ValueError: If two frames of the bag have the same stamp.
    """
    if options.fastdds_profile is not None:
        use_profile(options.fastdds_profile)
    reader = BagReader(bag, topic=options.topic, label_topic=options.label_topic)
    if next(reader.frames(), None) is None:
        raise SourceError(f'{bag} has no image in {reader.topic}: {reader.losses.lines()}')
    transport = image_transport(reader)
    masks = MaskStore()
    with ExitStack() as stack:
        meter = stack.enter_context(_node(options, transport, folder / 'node.log'))
        player = stack.enter_context(
            connect(
                namespace=options.namespace or 'segmentation',
                reliability=options.reliability,
                image_transport=transport,
                on_mask=masks.take,
            )
        )
        say('playing at the rate of the recording')
        frames = recorded_frames(reader, transport)
        report = player.play(frames, timeline=True, wait_s=_WAIT_S)
        masks.is_closed = True
        found = _facts(options, transport, player, meter)
        found['timeline'] = node_figures([report])
        process: dict[str, float | None] = {}
        if meter is not None:
            process = found['timeline']['process'] = use_of(meter, report)
        if options.mode != 'timeline':
            found |= _rates(options, recorded_frames(reader, transport), player, meter, say)
    say(f'{report.answered} of {report.sent} frames answered, drawing the overlay')
    checkpoint = (
        Path(report.health.model['checkpoint']) if options.namespace else options.checkpoint
    )
    metadata = read_metadata(checkpoint).config
    recorder = RunRecorder(
        folder / 'overlay.mp4',
        metadata.class_names,
        metadata.palette,
        _video_hz(report),
        report.sent,
    )
    quality, masks_sha256 = recorded(reader, report, masks, recorder)
    return ReplayRun(
        name=bag.name,
        kind='online',
        class_names=metadata.class_names,
        palette=metadata.palette,
        frames=recorder.entries,
        quality=quality,
        losses=reader.losses.lines(),
        metadata=describe_run(
            input_path=bag,
            files=storage_files(bag),
            topic=reader.topic,
            label_topic=options.label_topic,
            checkpoint=checkpoint,
            config={name: report.health.model.get(name) for name in _CONFIG}
            | {'mode': options.mode},
            rmw=found['rmw'],
            qos=found['qos'],
        ),
        resources=_resources(report, process),
        masks_sha256=masks_sha256,
        transport=found,
        snapshots=recorder.snapshots,
    )


@contextmanager
def _node(options: OnlineOptions, transport: str, log: Path) -> Iterator[ProcessMeter | None]:
    """Start a node, unless there is one already, and watch its process."""
    if options.namespace:
        with ExitStack() as stack:
            pid = options.pid
            yield None if pid is None else stack.enter_context(ProcessMeter(pid))
        return
    parameters = {'checkpoint': str(options.checkpoint.resolve()), **options.parameters}
    if transport == 'compressed':
        parameters['image_transport'] = transport
    with node_process(parameters, log) as process, ProcessMeter(process.pid) as meter:
        yield meter


def _facts(
    options: OnlineOptions, transport: str, player: Player, meter: ProcessMeter | None
) -> dict[str, Any]:
    """What lies between player and node."""
    return {
        'mode': options.mode,
        'rmw': player.rmw,
        'ros_distro': os.environ.get('ROS_DISTRO'),
        'image_transport': transport,
        'qos': player.qos,
        'fastdds_profile': profile_in_use(),
        'segment_mb': None if meter is None else shared_segment_mb(meter.pid),
    }


def _rates(
    options: OnlineOptions,
    frames: Iterator[PlayedFrame],
    player: Player,
    meter: ProcessMeter | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Figures at fixed rates and, if asked for, at the highest one."""
    lower_hz, upper_hz = options.peak_limits_hz
    highest_hz = max(options.rates)
    if options.mode == 'peak':
        highest_hz = max(highest_hz, upper_hz)
    count = max(math.ceil(highest_hz * options.seconds), 2)
    plays = RatePlays(
        player,
        buffered(frames, count),
        seconds=options.seconds,
        runs=options.runs,
        meter=meter,
        say=say,
    )
    found: dict[str, Any] = {'rates': [plays.at(rate_hz) for rate_hz in options.rates]}
    if options.mode == 'peak':
        peak, figures = plays.peak(lower_hz, upper_hz)
        found['peak'] = {
            'rate_hz': peak.rate_hz,
            'at_limit': peak.limit or None,
            'probes': [asdict(probe) for probe in peak.probes],
            **figures,
        }
    return found


def _resources(report: PlayReport, process: Mapping[str, float | None]) -> Resources:
    share = process.get('cpu_percent')
    times = [record.sent_s for record in report.records]
    times += [r.received_s for r in report.records if r.received_s is not None]
    wall_s = max(times) - min(times)
    return Resources(
        cpu_s=None if share is None else share / 100 * wall_s,
        wall_s=wall_s,
        peak_memory_mb=process.get('memory_mb_max'),
    )


def _video_hz(report: PlayReport) -> float:
    """The rate of the recording, within what a video can have."""
    rate_hz = stamp_figures([entries(report)])['rate_hz'] or 15.0
    return float(min(max(rate_hz, 1.0), 120.0))
