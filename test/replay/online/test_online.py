"""A bag played to a real node: the report accounts for every frame, at the rates asked for."""

from __future__ import annotations

from collections.abc import Iterator
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

pytest.importorskip('rclpy')

from running_node import make_checkpoint, running_node
from typer.testing import CliRunner

from dcfm_ros.cli import main as cli
from dcfm_ros.play.player import PlayedFrame
from dcfm_ros.play.report import FrameRecord, PlayReport
from dcfm_ros.recordings.bag_writer import write_bag
from dcfm_ros.recordings.bags import BagReader
from dcfm_ros.recordings.sources import synthetic_frames
from dcfm_ros.replay.online.figures import conclude, entries, node_figures, rate_figures
from dcfm_ros.replay.online.plays import buffered, image_transport, looped, recorded_frames
from dcfm_ros.replay.online.replay import OnlineOptions, replay_online
from dcfm_ros.replay.report import write_replay_report
from dcfm_ros.replay.run import ReplayRun
from dcfm_ros.ros.frame_timing import FrameTiming
from dcfm_ros.synthetic.drive import DriveConfig

RATE_HZ = 10.0
FRAMES = 12


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('bag') / 'drive'
    drive = DriveConfig(num_frames=FRAMES, height=96, width=128, rate_hz=RATE_HZ)
    write_bag(path, synthetic_frames(drive))
    return path


@pytest.fixture(scope='module')
def run(bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ReplayRun, Any]]:
    folder = tmp_path_factory.mktemp('report')
    options = OnlineOptions(
        checkpoint=make_checkpoint(folder / 'tiny.safetensors'),
        parameters={'cpu_threads': 1, 'backend': 'torch', 'keyframe_interval': 5},
        label_topic='/camera/label',
        mode='peak',
        rates=(20.0,),
        seconds=0.5,
        runs=1,
        peak_limits_hz=(8.0, 10.0),
    )
    made = replay_online(bag, folder, options, lambda text: None)
    yield made, write_replay_report(folder, made)


def test_frames_of_the_run_are_those_of_the_bag(run: tuple[ReplayRun, Any], bag: Path) -> None:
    made, figures = run
    stamps = [frame.stamp_ns for frame in BagReader(bag, topic='/camera/image_raw').frames()]
    assert [entry.stamp_ns for entry in made.frames] == stamps
    assert made.kind == 'online'
    assert figures['frames_sent'] == FRAMES
    assert figures['BasicPerformanceMetrics.NUM_FRAMES_SENT'] == FRAMES


def test_every_frame_is_answered_or_counted(run: tuple[ReplayRun, Any]) -> None:
    made, figures = run
    assert made.transport is not None
    timeline = made.transport['timeline']
    assert timeline['lost_masks'] == timeline['unexpected_masks'] == 0
    dropped = sum(timeline['dropped_by_cause'].values())
    assert figures['masks_received'] + dropped == FRAMES
    assert figures['masks_received'] > 0


def test_recording_is_played_at_its_own_rate(run: tuple[ReplayRun, Any]) -> None:
    _, figures = run
    # ros2_benchmark divides all frames by the time from the first to the last.
    expected_hz = RATE_HZ * FRAMES / (FRAMES - 1)
    sent_hz = figures['BasicPerformanceMetrics.MEAN_PLAYBACK_FRAME_RATE']
    assert sent_hz == pytest.approx(expected_hz, rel=0.1)


def test_masks_are_compared_with_the_labels(run: tuple[ReplayRun, Any]) -> None:
    made, figures = run
    assert figures['accuracy']['labelled_frames'] == figures['masks_received']
    assert 0.0 <= figures['accuracy']['miou'] <= 1.0
    assert made.quality.streaming is not None
    assert made.quality.streaming.label_pixels().sum() == FRAMES * 96 * 128


def test_keyframes_are_those_of_the_parameter(run: tuple[ReplayRun, Any]) -> None:
    made, _ = run
    answered = [entry for entry in made.frames if entry.is_answered]
    assert [entry.is_keyframe for entry in answered] == [
        index % 5 == 0 for index in range(len(answered))
    ]
    assert {entry.reason for entry in answered if entry.is_keyframe} <= {
        'first', 'interval', 'time_jump', 'time_gap',
    }  # fmt: skip


def test_process_of_the_node_is_watched(run: tuple[ReplayRun, Any]) -> None:
    made, figures = run
    assert made.resources.cpu_s is not None
    assert made.resources.cpu_s > 0
    assert figures['resources']['peak_memory_mb'] > 100  # torch alone
    assert made.transport is not None
    assert made.transport['segment_mb'] > 0.5


def test_rates_are_measured(run: tuple[ReplayRun, Any]) -> None:
    made, _ = run
    assert made.transport is not None
    (figures,) = made.transport['rates']
    assert (figures['rate_hz'], figures['runs']) == (20.0, 1)
    assert figures['frames']['frames_sent'] == 10
    assert figures['process']['cpu_percent'] > 0


def test_peak_is_searched_between_the_limits(run: tuple[ReplayRun, Any]) -> None:
    made, _ = run
    assert made.transport is not None
    peak = made.transport['peak']
    # Less than 10 Hz apart: no halving; a step is more than the upper limit allows.
    assert peak['rate_hz'] == 8.0
    assert [probe['rate_hz'] for probe in peak['probes']] == [8.0]
    assert peak['at_limit'] in ('upper', 'lower')


def test_report_tells_where_it_comes_from(run: tuple[ReplayRun, Any]) -> None:
    _, figures = run
    assert figures['metadata']['rmw'] == figures['transport']['rmw'] != ''
    assert figures['metadata']['qos']['images'] == {'reliability': 'reliable', 'depth': 10}
    assert figures['metadata']['config']['keyframe_interval'] == '5'
    assert figures['transport']['image_transport'] == 'raw'


def test_command_plays_to_a_node_that_runs(bag: Path, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / 'tiny.safetensors')
    report, figures = tmp_path / 'report', tmp_path / 'figures.json'
    common = {'checkpoint': checkpoint, 'cpu_threads': 1, 'backend': 'torch'}
    with running_node(tmp_path / 'log', '-r', '__ns:=/there', **common):
        arguments = ['replay', str(bag), '--topic', '/camera/image_raw', '--online']
        arguments += ['--namespace', 'there', '--report', str(report), '--json', str(figures)]
        result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    told = json.loads(figures.read_text())
    assert told['frames_sent'] == FRAMES
    assert told['metadata']['checkpoint'] == str(checkpoint)
    assert told['resources']['cpu_s'] is None
    assert 'outside the node' in (report / 'report.html').read_text()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--mode', 'peak'], '--mode (peak) needs --online'),
        (['--online', '--jobs', '2'], '--jobs (2) needs no --online'),
        (['--online', '--mode', 'fast'], '`mode` must be one of timeline, rate, peak'),
        (['--online', '--peak-limits', '10'], '`peak-limits` must be two numbers'),
        (['--online', '--pid', '1'], '`pid` must be None without `namespace`'),
        (['--online', '--namespace', 'a', '--interval', '2'], '`parameters` must be none with'),
        (['--online', '--namespace', 'a', '--max-time-gap', '0'], 'got max_time_gap_s'),
        (['--online', '--score', 'feature'], '--score (feature) needs --adaptive'),
        (['--online', '--fastdds-profile', '/no.xml'], 'no such Fast DDS profile: /no.xml'),
    ],
)
def test_wrong_options_are_errors(bag: Path, arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(cli.app, ['replay', str(bag), *arguments])
    assert result.exit_code == 1
    assert message in str(result.exception)


def record(
    index: int, *, latency_ms: float | None, timing: FrameTiming | None = None
) -> FrameRecord:
    sent_s = 5.0 + index / 10
    received_s = None if latency_ms is None else sent_s + latency_ms / 1e3
    return FrameRecord(
        index=index,
        stamp_ns=index * 100_000_000,
        frame_id='camera',
        sent_s=sent_s,
        received_s=received_s,
        timing=timing,
    )


def report(records: list[FrameRecord], never_arrived: int = 0, **dropped: int) -> PlayReport:
    return PlayReport(
        records=records,
        dropped_by_cause=dropped,
        unexpected_masks=0,
        never_arrived=never_arrived,
    )


TIMING = FrameTiming(
    is_keyframe=True,
    latency_ms=30.0,
    wait_ms=1.0,
    stage_ms={'convert': 2.0, 'independent': 20.0},
)


def test_time_is_split_between_engine_node_and_transport() -> None:
    records = [record(i, latency_ms=35.0, timing=TIMING) for i in range(3)]
    figures = node_figures([report(records)])
    assert figures['node_latency_ms']['p50'] == pytest.approx(30.0)
    assert figures['share_ms']['p50'] == pytest.approx(10.0)
    assert figures['transport_ms']['p50'] == pytest.approx(5.0)


def test_masks_that_are_lost_are_told_from_frames_that_are() -> None:
    records = [record(i, latency_ms=35.0 if i < 5 else None) for i in range(10)]
    figures = node_figures([report(records, never_arrived=3, lost=1, replaced=1)])
    # 5 are missing: 1 replaced, 1 seen lost, 2 lost after the last that came, 1 mask.
    assert figures['dropped_by_cause'] == {'lost': 1, 'replaced': 1}
    assert (figures['never_arrived'], figures['lost_masks']) == (3, 1)


def test_cause_of_a_drop_is_named_where_it_is_clear() -> None:
    records = [record(0, latency_ms=20.0), record(1, latency_ms=None)]
    assert entries(report(records, replaced=1))[1].drop_cause == 'replaced'
    assert entries(report(records, replaced=1))[0].drop_cause == ''
    assert entries(report([*records, record(2, latency_ms=None)], replaced=1, lost=1))[
        1
    ].drop_cause == ''  # fmt: skip


def test_runs_are_concluded_without_the_best_and_the_worst() -> None:
    runs = [{'A.MEAN_LATENCY': value, 'A.MAX_LATENCY': value, 'A.MIN_LATENCY': value}
            for value in (9.0, 2.0, 1.0, 3.0, 5.0)]  # fmt: skip
    assert conclude(runs) == {
        'A.MEAN_LATENCY': pytest.approx(10 / 3),
        'A.MAX_LATENCY': 5.0,
        'A.MIN_LATENCY': 2.0,
    }


def test_two_runs_are_both_kept_and_what_one_lacks_is_unknown() -> None:
    runs = [{'MEAN_LATENCY': 1.0, 'MEAN_JITTER': None}, {'MEAN_LATENCY': 4.0, 'MEAN_JITTER': 2.0}]
    assert conclude(runs) == {'MEAN_LATENCY': 2.5, 'MEAN_JITTER': None}


def test_frames_of_all_runs_make_the_percentiles_of_a_rate() -> None:
    slow = report([record(i, latency_ms=90.0) for i in range(4)])
    fast = report([record(i, latency_ms=10.0) for i in range(6)])
    figures = rate_figures(10.0, [slow, fast])
    assert figures['frames']['latency_ms']['p50'] == pytest.approx(10.0)
    assert figures['frames']['latency_ms']['max'] == pytest.approx(90.0)
    assert figures['benchmark']['BasicPerformanceMetrics.NUM_FRAMES_SENT'] == 5.0


def test_frames_are_looped_with_stamps_that_go_on(bag: Path) -> None:
    reader = BagReader(bag, topic='/camera/image_raw')
    frames = buffered(recorded_frames(reader, 'raw'), 4)
    stamps = [frame.stamp_ns for frame in looped(frames, 10)]
    assert len(frames) == 4
    assert len(set(stamps)) == 10
    assert stamps == sorted(stamps)
    assert stamps[4] - stamps[3] > 5_000_000_000  # a gap that the node takes for a new stream


def test_raw_recording_is_told(bag: Path) -> None:
    reader = BagReader(bag, topic='/camera/image_raw')
    next(reader.frames())
    assert image_transport(reader) == 'raw'


def test_compressed_images_are_played_as_they_were_recorded(tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    types = store.types
    kind = 'sensor_msgs/msg/CompressedImage'
    files = []
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection('/camera/compressed', kind, typestore=store)
        for index in range(3):
            pixels = np.full((24, 32, 3), 80 * index, np.uint8)
            files.append(cv2.imencode('.jpg', pixels)[1].tobytes())
            stamp = types['builtin_interfaces/msg/Time'](sec=index, nanosec=5)
            header = types['std_msgs/msg/Header'](stamp=stamp, frame_id='front')
            data = np.frombuffer(files[-1], np.uint8)
            message = types[kind](header=header, format='jpeg', data=data)
            writer.write(connection, index, store.serialize_cdr(message, kind))
    reader = BagReader(tmp_path / 'bag')
    next(reader.frames())
    assert image_transport(reader) == 'compressed'
    played = list(recorded_frames(reader, 'compressed'))
    assert [frame.image for frame in played] == files
    assert [frame.stamp_ns for frame in played] == [5, 1_000_000_005, 2_000_000_005]
    assert {frame.frame_id for frame in played} == {'front'}


def test_message_that_is_none_is_passed_over(tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    kind = 'sensor_msgs/msg/CompressedImage'
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection('/camera/compressed', kind, typestore=store)
        writer.write(connection, 1, b'\x00\x01\x00\x00\x07')
    reader = BagReader(tmp_path / 'bag')
    assert list(reader.frames()) == []
    assert list(recorded_frames(reader, 'compressed')) == []
    assert reader.losses.num_undecodable == 1


def test_frame_of_a_recording_keeps_its_header(bag: Path) -> None:
    reader = BagReader(bag, topic='/camera/image_raw')
    (frame, *_) = recorded_frames(reader, 'raw')
    assert isinstance(frame, PlayedFrame)
    assert (frame.stamp_ns, frame.frame_id) == (100_000_000, 'camera_optical_frame')
