"""A bag played to a real node: the report accounts for every frame, at the rates asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy')

from command import dcfm
from frames import DRIVE
from running_node import NodeProcess
from small_recording import TORCH, write_jpeg_bag

from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.recordings.bags import BagReader
from dcfm_ros.replay.offline import OfflineOptions, replay_offline
from dcfm_ros.replay.online.options import OnlineOptions
from dcfm_ros.replay.online.replay import replay_online
from dcfm_ros.replay.options import RecordingOptions
from dcfm_ros.replay.recording import open_recording
from dcfm_ros.replay.report import write_report
from dcfm_ros.replay.run import ReplayRun

pytestmark = pytest.mark.dds
FRAMES = DRIVE.num_frames
TOPICS = {'topic': '/camera/image_raw', 'label_topic': '/camera/label'}
NODE = {'cpu_threads': 1, 'backend': 'torch'}


@pytest.fixture(scope='module')
def run(
    drive_bag: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ReplayRun, Any]:
    folder = tmp_path_factory.mktemp('report')
    recording = open_recording(str(drive_bag), RecordingOptions(**TOPICS))
    parameters = {**NODE, 'checkpoint': str(checkpoint), 'keyframe_interval': 5}
    options = OnlineOptions(
        mode='peak', rates=(20.0,), seconds=0.5, runs=1, peak_limits_hz=(8.0, 10.0)
    )
    groups = folder / 'groups.yaml'
    groups.write_text('first: [class 0]\nothers: [class 1, class 2, class 3]')
    made = replay_online(
        recording,
        folder,
        parameters,
        options,
        log=folder / 'node.log',
        groups=groups,
        say=lambda text: None,
    )
    return made, write_report(folder, made)


def test_frames_of_the_run_are_those_of_the_bag(
    run: tuple[ReplayRun, Any], drive_bag: Path
) -> None:
    made, figures = run
    reader = BagReader(drive_bag, topic='/camera/image_raw')
    stamps = [frame.stamp_ns for frame in reader.frames()]
    assert [entry.stamp_ns for entry in made.frames] == stamps
    assert made.kind == 'online'
    assert figures['frames_sent'] == FRAMES
    assert figures['BasicPerformanceMetrics.NUM_FRAMES_SENT'] == FRAMES


def test_groups_are_counted_beside_classes(run: tuple[ReplayRun, Any]) -> None:
    accuracy = run[1]['accuracy']
    assert list(accuracy['group_iou']) == ['first', 'others']
    assert accuracy['group_iou']['first'] == accuracy['iou']['class 0']


def test_groups_of_other_classes_are_refused_before_the_play(
    drive_bag: Path, checkpoint: Path, tmp_path: Path
) -> None:
    recording = open_recording(str(drive_bag), RecordingOptions(**TOPICS))
    (tmp_path / 'groups.yaml').write_text('person: [human]')
    parameters = {**NODE, 'checkpoint': str(checkpoint)}
    said: list[str] = []
    with pytest.raises(ValueError, match="group person has 'human', which is no class"):
        replay_online(
            recording,
            tmp_path,
            parameters,
            OnlineOptions(),
            log=tmp_path / 'node.log',
            groups=tmp_path / 'groups.yaml',
            say=said.append,
        )
    assert not said


def test_every_frame_is_answered_or_counted(run: tuple[ReplayRun, Any]) -> None:
    made, figures = run
    assert made.transport is not None
    timeline = made.transport['timeline']
    assert timeline['lost_masks'] == timeline['unexpected_masks'] == 0
    dropped = sum(timeline['dropped_by_cause'].values())
    assert figures['masks_received'] + dropped == FRAMES
    assert figures['masks_received'] > 0


def test_recording_is_played_at_its_own_rate(run: tuple[ReplayRun, Any]) -> None:
    made, figures = run
    sent_s = [entry.sent_s for entry in made.frames]
    # The median, since a busy machine sends some frames late and the ones after them sooner.
    assert np.median(np.diff(sent_s)) == pytest.approx(1 / DRIVE.rate_hz, rel=0.3)
    # ros2_benchmark divides all frames by the time from the first to the last.
    sent_hz = figures['BasicPerformanceMetrics.MEAN_PLAYBACK_FRAME_RATE']
    assert sent_hz == pytest.approx(FRAMES / (sent_s[-1] - sent_s[0]))


def test_masks_are_compared_with_the_labels(run: tuple[ReplayRun, Any]) -> None:
    made, figures = run
    assert figures['accuracy']['labelled_frames'] == figures['masks_received']
    assert 0.0 <= figures['accuracy']['miou'] <= 1.0
    assert made.quality.streaming is not None
    assert made.quality.streaming.label_pixels().sum() == FRAMES * DRIVE.height * DRIVE.width


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


def test_command_plays_to_a_node_that_runs(
    node: NodeProcess, drive_bag: Path, checkpoint: Path, tmp_path: Path
) -> None:
    report, figures = tmp_path / 'report', tmp_path / 'figures.json'
    outcome = dcfm(
        *('replay', drive_bag, '--topic', '/camera/image_raw', '--online'),
        *('--namespace', 'segmentation', '--report', report, '--json', figures),
    )
    assert outcome.returncode == 0, outcome.stderr
    reported = json.loads(figures.read_text())
    assert reported['frames_sent'] == FRAMES
    assert reported['metadata']['checkpoint'] == str(checkpoint)
    assert reported['resources']['cpu_s'] is None
    assert 'outside the node' in (report / 'report.html').read_text()


def test_compressed_recording_is_played(checkpoint: Path, tmp_path: Path) -> None:
    write_jpeg_bag(tmp_path / 'bag', size=(96, 128))
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
    node: NodeProcess, drive_bag: Path, tmp_path: Path
) -> None:
    outcome = dcfm(
        *('replay', drive_bag, '--topic', '/camera/image_raw', '--online', '--namespace', 'here'),
        *('--report', tmp_path / 'report'),
    )
    assert outcome.returncode == 1
    assert 'no segmentation node in namespace /here' in outcome.stderr
    assert 'namespaces with one: /segmentation' in outcome.stderr


def test_masks_find_their_images_where_all_stamps_are_equal(
    checkpoint: Path, tmp_path: Path
) -> None:
    write_jpeg_bag(tmp_path / 'bag', 8, step_ns=0, damaged=(2,))
    recording = open_recording(str(tmp_path / 'bag'))
    parameters = {**NODE, 'checkpoint': str(checkpoint), 'keyframe_interval': 1}
    said: list[str] = []
    for _ in range(4):  # on a busy machine a node may replace an image
        made = replay_online(
            recording,
            tmp_path,
            parameters,
            OnlineOptions(),
            log=tmp_path / 'node.log',
            say=said.append,
        )
        if all(frame.is_answered for frame in made.frames):
            break
    assert 'the stamps of bag do not rise' in said
    assert [(frame.is_answered, frame.stamp_ns) for frame in made.frames] == [(True, 5)] * 7
    schedule = ScheduleOptions(keyframe_interval=1)
    options = OfflineOptions(checkpoint=checkpoint, engine=TORCH, schedule=schedule)
    assert (
        made.masks_sha256
        == replay_offline(recording, tmp_path / 'offline.mp4', options).masks_sha256
    )
    assert [line.split(',')[0] for line in made.losses] == [
        '1 messages cannot be decoded',
        '6 of 7 images on /camera/compressed are not stamped later than the one before '
        '(the first: 0.000 s); they are taken in the order of recording',
    ]
