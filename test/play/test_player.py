"""The player against a real node: every frame is answered or accounted for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
import threading

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticArray
import rclpy
from rclpy.context import Context
from running_node import WAIT_S, NodeProcess, make_checkpoint, running_node
from std_msgs.msg import Header

from dcfm_ros.play.peer import PlayerNode
from dcfm_ros.play.player import PlayedFrame, connect, play
from dcfm_ros.ros.health.status import Level, Status
from dcfm_ros.ros.messages import statuses_to_diagnostics


@pytest.fixture(scope='module')
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    folder = tmp_path_factory.mktemp('node')
    checkpoint = make_checkpoint(folder / 'tiny.safetensors')
    with running_node(folder / 'log', checkpoint=checkpoint, cpu_threads=1) as process:
        process.wait_for_log('ready on')
        yield process


def frames(count: int, height: int = 96, width: int = 128) -> Iterator[PlayedFrame]:
    random = np.random.default_rng(0)
    for index in range(count):
        image = random.integers(0, 256, (height, width, 3), np.uint8)
        yield PlayedFrame(image=image, stamp_ns=1_700_000_000_000_000_000 + index * 66_666_667)


def test_every_frame_is_answered_when_the_player_waits(node: NodeProcess) -> None:
    report = play(frames(12), rate_hz=None)
    assert (report.sent, report.answered, report.dropped) == (12, 12, 0)
    assert report.unexpected_masks == 0
    for record, frame in zip(report.records, frames(12), strict=True):
        assert (record.stamp_ns, record.frame_id) == (frame.stamp_ns, frame.frame_id)
        assert record.mask is not None
        assert record.mask.shape == (96, 128)
        assert record.latency_ms is not None
        # The mask may arrive before the node's call that publishes it returns.
        assert record.timing is not None
        in_node = record.timing.latency_ms - record.timing.stage_ms['publish']
        assert record.latency_ms >= in_node


def test_timing_belongs_to_its_frame(node: NodeProcess) -> None:
    records = play(frames(8), rate_hz=None).records
    ages = [record.timing.keyframe_age for record in records if record.timing]
    assert ages == [0, 1, 2, 0, 1, 2, 0, 1]


@pytest.mark.parametrize(('height', 'width'), [(96, 128), (480, 640)])
def test_flood_is_answered_or_counted_as_dropped(
    node: NodeProcess, height: int, width: int
) -> None:
    report = play(frames(400, height, width), rate_hz=1000.0)
    assert report.sent == 400
    assert 0 < report.answered < 400
    assert report.answered + report.dropped == report.sent
    assert report.unaccounted == 0


def test_best_effort_is_answered(node: NodeProcess) -> None:
    report = play(frames(20), rate_hz=20.0, reliability='best_effort')
    assert report.answered > 0


def test_masks_are_handed_over_instead_of_kept(node: NodeProcess) -> None:
    taken: dict[int, tuple[int, ...]] = {}
    threads = set()

    def on_mask(index: int, mask: np.ndarray) -> None:
        taken[index] = mask.shape
        threads.add(threading.current_thread().name)

    report = play(frames(5), rate_hz=None, on_mask=on_mask)
    assert taken == dict.fromkeys(range(5), (96, 128))
    assert all(record.mask is None and record.answered for record in report.records)
    assert threads == {'player'}


def test_timeline_is_as_far_apart_as_the_stamps(node: NodeProcess) -> None:
    steps_ns = (0, 50_000_000, 350_000_000, 300_000_000, 400_000_000)  # one goes back
    played = [
        replace(frame, stamp_ns=frame.stamp_ns // 10**9 * 10**9 + step_ns)
        for frame, step_ns in zip(frames(5), steps_ns, strict=True)
    ]
    report = play(played, rate_hz=None, timeline=True)
    assert [record.stamp_ns for record in report.records] == [f.stamp_ns for f in played]
    sent_s = np.array([record.sent_s for record in report.records])
    assert sent_s - sent_s[0] == pytest.approx([0.0, 0.05, 0.35, 0.35, 0.45], abs=0.04)


def test_one_connection_takes_one_play_after_the_other(node: NodeProcess) -> None:
    with connect() as player:
        first = player.play(frames(200), rate_hz=1000.0)
        second = player.play(frames(4))
    assert first.dropped > 0
    assert first.never_arrived == first.dropped_by_cause['lost']
    assert (second.sent, second.answered, second.dropped) == (4, 4, 0)
    assert len(first.records) == 200


def test_what_never_arrives_is_counted_in_the_play_that_lost_it(node: NodeProcess) -> None:
    # Larger than the default segment of shared memory: best effort loses most, the last ones too.
    with connect(reliability='best_effort') as player:
        reports = [player.play(frames(30, 480, 640), rate_hz=30.0) for _ in range(2)]
    for report in reports:
        at_the_node = report.dropped - report.dropped_by_cause['lost']
        assert report.answered + at_the_node + report.never_arrived == report.sent == 30
        assert report.never_arrived >= report.dropped_by_cause['lost']


def told(received: int, lost: int) -> DiagnosticArray:
    """Diagnostics of a node that has received some frames and noticed that others were lost."""
    values = {
        'model': {'state': 'active'},
        'images': {'frames_received': str(received), 'dropped_lost': str(lost)},
    }
    statuses = [
        Status(task=task, level=Level.OK, message='', values=entries)
        for task, entries in values.items()
    ]
    return statuses_to_diagnostics(statuses, Header(), '/segmentation/segmentation_node')


def test_gap_after_the_last_frame_belongs_to_the_play_before() -> None:
    context = Context()
    rclpy.init(context=context)
    player = PlayerNode(context, '/segmentation', 'best_effort', 'raw', None)
    try:
        player._on_diagnostics(told(received=10, lost=1))
        player.begin()
        for frame in frames(5):
            player.send(frame.image, frame.stamp_ns, frame.frame_id)
        player._on_diagnostics(told(received=13, lost=2))  # the second one lost is the last frame
        first = player.report()
        assert (first.dropped_by_cause['lost'], first.never_arrived) == (1, 2)
        player.begin()
        for frame in frames(2):
            player.send(frame.image, frame.stamp_ns, frame.frame_id)
        player._on_diagnostics(told(received=15, lost=3))  # only now the node sees that gap
        second = player.report()
        assert (second.dropped_by_cause['lost'], second.never_arrived) == (0, 0)
    finally:
        player.destroy_node()
        context.try_shutdown()


def test_images_of_another_transport_are_refused(node: NodeProcess) -> None:
    (frame,) = frames(1)
    with connect() as player, pytest.raises(ValueError, match='`image` must fit raw images'):
        player.play([replace(frame, image=b'no array')])


def test_compressed_images_reach_the_node(tmp_path: Path) -> None:
    played = [
        replace(frame, image=cv2.imencode('.png', np.asarray(frame.image))[1].tobytes())
        for frame in frames(3)
    ]
    checkpoint = make_checkpoint(tmp_path / 'tiny.safetensors')
    common = {'checkpoint': checkpoint, 'cpu_threads': 1, 'backend': 'torch'}
    with running_node(
        tmp_path / 'log', '-r', '__ns:=/packed', image_transport='compressed', **common
    ):
        given = {'namespace': 'packed', 'image_transport': 'compressed', 'wait_s': WAIT_S}
        report = play(played, rate_hz=None, **given)  # type: ignore[arg-type]
    assert (report.sent, report.answered, report.dropped) == (3, 3, 0)


def test_same_stamp_twice_is_an_error(node: NodeProcess) -> None:
    (frame,) = frames(1)
    with pytest.raises(ValueError, match='`stamp_ns` must differ'):
        play([frame, frame], rate_hz=None)


def test_no_node_is_an_error_that_says_so() -> None:
    with pytest.raises(TimeoutError, match='/nobody/segmentation_node: no diagnostics'):
        play(frames(1), rate_hz=None, namespace='nobody', wait_s=1.0)


def test_idle_node_is_an_error_that_tells_its_state(tmp_path: Path) -> None:
    log = tmp_path / 'log'
    with (
        running_node(log, '-r', '__ns:=/idle', autostart='false'),
        pytest.raises(TimeoutError, match='unconfigured'),
    ):
        play(frames(1), rate_hz=None, namespace='/idle', wait_s=5.0)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'rate_hz': 0.0}, '`rate_hz` must be above 0'),
        ({'rate_hz': 1.0, 'timeline': True}, '`rate_hz` must be None with `timeline`'),
        ({'rate_hz': 1.0, 'reliability': 'none'}, '`reliability` must be'),
        ({'rate_hz': 1.0, 'image_transport': 'jpeg'}, '`image_transport` must be'),
    ],
)
def test_wrong_argument_is_an_error(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        play(frames(1), **arguments)  # type: ignore[arg-type]


def test_player_leaves_no_thread_behind(node: NodeProcess) -> None:
    before = threading.active_count()
    play(frames(2), rate_hz=None)
    assert threading.active_count() == before
