"""A recording through the real node, over DDS: what a robot's user would get, and when."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
import os
from pathlib import Path
from typing import Any

import psutil

from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.masks.groups import read_groups_of
from dcfm_ros.models.checkpoint_header import find_checkpoint, read_metadata
from dcfm_ros.option_spec import types_of
from dcfm_ros.play.fastdds import (
    packaged_profile,
    profile_in_use,
    shared_segment_mb,
    use_profile,
)
from dcfm_ros.play.node_process import check_process, node_process
from dcfm_ros.play.player import connect, play
from dcfm_ros.play.player_node import Check
from dcfm_ros.play.process_meter import ProcessMeter
from dcfm_ros.play.report import PlayReport
from dcfm_ros.replay.online.masks import MaskStore, record_play
from dcfm_ros.replay.online.options import OnlineOptions
from dcfm_ros.replay.online.played_frames import image_transport, played_frames
from dcfm_ros.replay.online.rates import WAIT_S, play_rates
from dcfm_ros.replay.online.statistics import node_statistics, span_s
from dcfm_ros.replay.provenance import describe_run
from dcfm_ros.replay.recorder import ReplayRecorder
from dcfm_ros.replay.recording import Recording
from dcfm_ros.replay.run import ReplayRun, Resources

Say = Callable[[str], None]
_DISCOVERY_S = 10.0


def replay_online(
    recording: Recording,
    folder: Path,
    parameters: Mapping[str, Any],
    options: OnlineOptions,
    *,
    log: Path,
    rate_hz: float | None = None,
    groups: Path | None = None,
    say: Say = print,
) -> ReplayRun:
    """Play a recording to the node and record what it makes of it.

    The frames of the run are those of the first play. Writes overlay.mp4 into `folder`.

    Args:
        recording: What to play; not a camera.
        folder: Must exist.
        parameters: Of the node to start, its checkpoint among them; unused with
            `options.namespace`.
        options: How.
        log: File for what a node that is started here says.
        rate_hz: Rate of the first play; None: as far apart as the stamps are, where they rise.
        groups: File of groups of classes, in which figures are given as well; None: no groups.
        say: Gets a line about each step.

    Raises:
        FileNotFoundError: If the recording, the checkpoint or the profile does not exist.
        SourceError: If the recording cannot be read, or its topic is not clear.
        TimeoutError: If the node does not become ready; the message says what it reported.
        RuntimeError: If the process of the node ends; the message says with which exit code and
            where its log is.
        ValueError: If no node runs in the namespace, or the file of groups is wrong.
    """
    if recording.is_live:
        raise ValueError(f'`recording` must have an end, got {recording.name}')
    if profile := options.fastdds_profile:
        use_profile(packaged_profile() if profile == 'large_images' else Path(profile))
    if not options.namespace:  # what is wrong is told before the play
        read_groups_of(groups, find_checkpoint(parameters.get('checkpoint')))
    _, recorded_hz = recording.open()
    if rate_hz is None and not recording.has_times:
        rate_hz = recorded_hz
        say(f'the stamps of {recording.name} do not rise')
    masks = MaskStore()
    report, found = _play(recording, log, parameters, options, masks, rate_hz, say)
    say(f'{report.answered} of {report.sent} frames answered, drawing the overlay')
    checkpoint = Path(report.health.model['checkpoint'])
    net = read_metadata(checkpoint).config
    video_hz = rate_hz or recorded_hz
    named = read_groups_of(groups, checkpoint)
    recorder = ReplayRecorder(
        folder / 'overlay.mp4',
        net.class_names,
        net.palette,
        video_hz,
        report.sent,
        named,
    )
    record_play(recording, report, masks, recorder)
    config = {'mode': options.mode, 'rate_hz': video_hz, **_config(parameters, report)}
    if named is not None:
        config['groups'] = named.members(net.class_names)
    return recorder.run(
        recording,
        kind='online',
        metadata=describe_run(recording, checkpoint, config, rmw=found['rmw'], qos=found['qos']),
        resources=_resources(report, found['timeline'].get('process', {})),
        transport=found,
    )


def _play(
    recording: Recording,
    log: Path,
    parameters: Mapping[str, Any],
    options: OnlineOptions,
    masks: MaskStore,
    rate_hz: float | None,
    say: Say,
) -> tuple[PlayReport, dict[str, Any]]:
    """The first play, and `ReplayRun.transport` with the statistics of all plays."""
    transport = image_transport(recording)
    with (
        _node(options, parameters, transport, log) as (meter, check),
        connect(
            namespace=options.namespace or 'segmentation',
            reliability=options.reliability,
            image_transport=transport,
            on_mask=masks.take,
            check=check,
        ) as player,
    ):
        if options.namespace:
            # A node whose process is known may still be starting.
            player.check_running(WAIT_S if options.pid else _DISCOVERY_S)
        else:
            say(f'node started, log in {log}')
        say(f'playing at {f"{rate_hz:g} Hz" if rate_hz else "the rate of the recording"}')
        frames, is_timeline = played_frames(recording, masks.places), rate_hz is None
        report = play(player, frames, rate_hz=rate_hz, timeline=is_timeline, wait_s=WAIT_S)
        masks.is_closed = True
        found: dict[str, Any] = {
            'mode': options.mode,
            'rmw': player.rmw,
            'ros_distro': os.environ.get('ROS_DISTRO'),
            'image_transport': transport,
            'qos': player.qos,
            'fastdds_profile': profile_in_use(),
            'segment_mb': None if meter is None else shared_segment_mb(meter.pid),
            'timeline': node_statistics([report]),
        }
        if meter is not None:
            found['timeline']['process'] = meter.figures(*span_s(report))
        if options.mode != 'timeline':
            found |= play_rates(recording, player, options, meter, say)
    return report, found


@contextmanager
def _node(
    options: OnlineOptions, parameters: Mapping[str, Any], transport: str, log: Path
) -> Iterator[tuple[ProcessMeter | None, Check | None]]:
    """Start a node, unless one runs already; gives the meter of its process, and its check."""
    if options.namespace:
        if not options.pid:
            yield None, None
            return
        with ProcessMeter(options.pid) as meter:
            yield meter, partial(_check_pid, options.pid)
        return
    with (
        node_process({**parameters, 'image_transport': transport}, log) as process,
        ProcessMeter(process.pid) as meter,
    ):
        yield meter, partial(check_process, process, log)


def _check_pid(pid: int) -> None:
    if not psutil.pid_exists(pid):
        raise RuntimeError(f'process {pid} of `pid`, the node, has ended or never was')


def _config(parameters: Mapping[str, Any], report: PlayReport) -> dict[str, Any]:
    """Options of the node: as it was asked for, replaced by what it reports."""
    kinds = types_of(ScheduleOptions) | types_of(EngineOptions)
    asked = {name: parameters[name] for name in kinds if name in parameters}
    reported = {n: text for n, text in report.health.model.items() if n in kinds}
    return asked | {n: _typed(kinds[n], text) for n, text in reported.items()}


def _typed(kind: type, text: str) -> Any:
    try:
        return kind(text)
    except ValueError:  # the node says 'camera' for an inference height of 0
        return text


def _resources(report: PlayReport, process: Mapping[str, float | None]) -> Resources:
    start_s, end_s = span_s(report)
    share = process.get('cpu_percent')
    return Resources(
        cpu_s=None if share is None else share / 100 * (end_s - start_s),
        wall_s=end_s - start_s,
        peak_memory_mb=process.get('memory_mb_max'),
    )
