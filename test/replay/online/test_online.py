"""A bag played to a real node: the report accounts for every frame, at the rates asked for."""

from __future__ import annotations

from collections.abc import Iterator
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy')

from command import dcfm
from running_node import make_checkpoint, running_node
from small_recording import write_jpeg_bag

from dcfm_ros.recordings.bag_writer import write_bag
from dcfm_ros.recordings.bags import BagReader
from dcfm_ros.recordings.sources import synthetic_frames
from dcfm_ros.replay.online.options import OnlineOptions
from dcfm_ros.replay.online.replay import replay_online
from dcfm_ros.replay.options import RecordingOptions
from dcfm_ros.replay.recording import open_recording
from dcfm_ros.replay.report import write_report
from dcfm_ros.replay.run import ReplayRun
from dcfm_ros.synthetic.drive import DriveConfig

RATE_HZ = 10.0
FRAMES = 12
TOPICS = {'topic': '/camera/image_raw', 'label_topic': '/camera/label'}
NODE = {'cpu_threads': 1, 'backend': 'torch'}


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('bag') / 'drive'
    drive = DriveConfig(num_frames=FRAMES, height=96, width=128, rate_hz=RATE_HZ)
    write_bag(path, synthetic_frames(drive))
    return path


@pytest.fixture(scope='module')
def run(bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ReplayRun, Any]]:
    folder = tmp_path_factory.mktemp('report')
    recording = open_recording(str(bag), RecordingOptions(**TOPICS))
    checkpoint = make_checkpoint(folder / 'tiny.safetensors')
    parameters = {**NODE, 'checkpoint': str(checkpoint), 'keyframe_interval': 5}
    options = OnlineOptions(
        mode='peak', rates=(20.0,), seconds=0.5, runs=1, peak_limits_hz=(8.0, 10.0)
    )
    made = replay_online(recording, folder, parameters, options, say=lambda text: None)
    yield made, write_report(folder, made)


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


def test_report_says_where_it_comes_from(run: tuple[ReplayRun, Any]) -> None:
    _, figures = run
    assert figures['metadata']['rmw'] == figures['transport']['rmw'] != ''
    assert figures['metadata']['qos']['images'] == {'reliability': 'reliable', 'depth': 10}
    assert figures['metadata']['config']['keyframe_interval'] == 5
    assert figures['transport']['image_transport'] == 'raw'


def test_command_plays_to_a_node_that_runs(bag: Path, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / 'tiny.safetensors')
    report, figures = tmp_path / 'report', tmp_path / 'figures.json'
    with running_node(tmp_path / 'log', '-r', '__ns:=/there', checkpoint=checkpoint, **NODE):
        outcome = dcfm(
            *('replay', bag, '--topic', '/camera/image_raw', '--online', '--namespace', 'there'),
            *('--report', report, '--json', figures),
        )
    assert outcome.returncode == 0, outcome.stderr
    told = json.loads(figures.read_text())
    assert told['frames_sent'] == FRAMES
    assert told['metadata']['checkpoint'] == str(checkpoint)
    assert told['resources']['cpu_s'] is None
    assert 'outside the node' in (report / 'report.html').read_text()


def test_compressed_recording_is_played(tmp_path: Path) -> None:
    write_jpeg_bag(tmp_path / 'bag', size=(96, 128))
    checkpoint = make_checkpoint(tmp_path / 'tiny.safetensors')
    outcome = dcfm(
        *('replay', tmp_path / 'bag', '--online', '--checkpoint', checkpoint, '--threads', 1),
        *('--backend', 'torch', '--report', tmp_path / 'report'),
    )
    assert outcome.returncode == 0, outcome.stderr
    report = json.loads((tmp_path / 'report/report.json').read_text())
    assert report['transport']['image_transport'] == 'compressed'
    assert report['masks_received'] > 0
    assert report['stage_ms']['decode_image']['mean'] > 0


def test_namespace_without_a_node_fails_and_names_those_with_one(
    bag: Path, tmp_path: Path
) -> None:
    checkpoint = make_checkpoint(tmp_path / 'tiny.safetensors')
    with running_node(tmp_path / 'log', '-r', '__ns:=/there', checkpoint=checkpoint, **NODE):
        outcome = dcfm(
            *('replay', bag, '--topic', '/camera/image_raw', '--online', '--namespace', 'here'),
            *('--report', tmp_path / 'report'),
        )
    assert outcome.returncode == 1
    assert 'no segmentation node in namespace /here' in outcome.stderr
    assert 'namespaces with one: /there' in outcome.stderr


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--mode', 'peak'], '--mode (peak) needs --online'),
        (['--online', '--jobs', '2'], '--jobs (2) does not go with --online'),
        (['--online', '--mode', 'fast'], '`mode` must be one of timeline, rate, peak'),
        (['--online', '--peak-limits', '10'], '`peak_limits_hz` must be two rising numbers'),
        (['--online', '--pid', '1'], '`pid` needs `namespace`, got 1'),
        (['--online', '--namespace', 'a', '--interval', '2'], '--interval (2) is set in that'),
        (['--online', '--namespace', 'a', '--max-time-gap', '0'], '--max-time-gap (0.0) is set'),
        (['--online', '--score', 'feature'], '--score (feature) needs --adaptive'),
        (['--online', '--fastdds-profile', '/no.xml'], 'no such Fast DDS profile: /no.xml'),
    ],
)
def test_wrong_options_are_errors(bag: Path, arguments: list[str], message: str) -> None:
    outcome = dcfm('replay', bag, '--topic', '/camera/image_raw', *arguments)
    assert outcome.returncode == 1
    assert message in outcome.stderr
