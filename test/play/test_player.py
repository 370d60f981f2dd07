"""The player against a real node: every frame is answered or accounted for."""

from __future__ import annotations

from dataclasses import replace
import threading
import time

import cv2
from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
import pytest

pytest.importorskip('rclpy')

from frames import play_once, random_frames
from peer import Peer
from running_node import NODE, NodeProcess, wait_for
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dcfm_ros.play.player import PlayedFrame, connect, play, when_due
from dcfm_ros.ros.health.status import Level, Status
from dcfm_ros.ros.messages import statuses_to_diagnostics

pytestmark = pytest.mark.dds


def test_every_frame_is_answered_when_the_player_waits(node: NodeProcess) -> None:
    report = play_once(random_frames(12))
    assert (report.sent, report.answered, report.dropped) == (12, 12, 0)
    assert report.unexpected_masks == 0
    for record, frame in zip(report.records, random_frames(12), strict=True):
        assert (record.stamp_ns, record.frame_id) == (frame.stamp_ns, frame.frame_id)
        assert record.mask is not None
        assert record.mask.shape == (96, 128)
        assert record.latency_ms is not None
        # The mask may arrive before the node's call that publishes it returns.
        assert record.timing is not None
        in_node = record.timing.latency_ms - record.timing.stage_ms['publish']
        assert record.latency_ms >= in_node


def test_timing_belongs_to_its_frame(node: NodeProcess) -> None:
    records = play_once(random_frames(8)).records
    ages = [record.timing.keyframe_age for record in records if record.timing]
    assert ages == [0, 1, 2, 0, 1, 2, 0, 1]


@pytest.mark.parametrize(('height', 'width'), [(96, 128), (480, 640)])
def test_flood_is_answered_or_counted_as_dropped(
    node: NodeProcess, height: int, width: int
) -> None:
    report = play_once(random_frames(400, height, width), rate_hz=1000.0)
    assert report.sent == 400
    assert 0 < report.answered < 400
    assert report.answered + report.dropped == report.sent
    assert report.unaccounted == 0


def test_best_effort_is_answered(node: NodeProcess) -> None:
    report = play_once(random_frames(20), rate_hz=20.0, reliability='best_effort')
    assert report.answered > 0


def test_masks_are_handed_over_instead_of_kept(node: NodeProcess) -> None:
    taken: dict[int, tuple[int, ...]] = {}
    threads = set()

    def on_mask(index: int, mask: np.ndarray) -> None:
        taken[index] = mask.shape
        threads.add(threading.current_thread().name)

    report = play_once(random_frames(5), on_mask=on_mask)
    assert taken == dict.fromkeys(range(5), (96, 128))
    assert all(record.mask is None and record.answered for record in report.records)
    assert len(threads) == 1 and threading.current_thread().name not in threads


def test_frame_is_answered_once_its_mask_was_handed_over(node: NodeProcess) -> None:
    known: list[bool] = []

    def on_mask(index: int, mask: np.ndarray) -> None:
        known.append(player.report().records[index].answered)

    with connect(on_mask=on_mask) as player:
        report = play(player, random_frames(3))
    assert known == [False] * 3
    assert report.answered == 3


STEPS_NS = (0, 50_000_000, 350_000_000, 300_000_000, 400_000_000)  # one goes back
DUE_S = (0.0, 0.05, 0.35, 0.35, 0.45)


def frames_at(*steps_ns: int) -> list[PlayedFrame]:
    return [
        replace(frame, stamp_ns=10**18 + step_ns)
        for frame, step_ns in zip(random_frames(len(steps_ns)), steps_ns, strict=True)
    ]


@pytest.mark.parametrize(
    ('rate_hz', 'due_s'), [(None, DUE_S), (8.0, (0.0, 0.125, 0.25, 0.375, 0.5))]
)
def test_frames_are_due_by_the_stamps_or_the_rate(
    monkeypatch: pytest.MonkeyPatch, rate_hz: float | None, due_s: tuple[float, ...]
) -> None:
    class Clock:
        now_s = 100.0

        def monotonic(self) -> float:
            return self.now_s

        def sleep(self, seconds: float) -> None:
            assert seconds >= 0.0
            self.now_s += seconds

    clock = Clock()
    monkeypatch.setattr('dcfm_ros.play.player.time', clock)
    sent_s = []
    for index, _ in enumerate(when_due(frames_at(*STEPS_NS), rate_hz)):
        sent_s.append(clock.now_s - 100.0)
        clock.now_s += 0.2 if index == 0 else 0.0  # the next is late, and delays no other
    assert sent_s == pytest.approx((0.0, 0.2, *due_s[2:]))


def test_timeline_sends_no_frame_before_it_is_due(node: NodeProcess) -> None:
    played = frames_at(*STEPS_NS)
    with connect() as player:
        play(player, random_frames(1))
        start_s = time.monotonic()
        report = play(player, played, timeline=True)
    assert [record.stamp_ns for record in report.records] == [f.stamp_ns for f in played]
    for record, due_s in zip(report.records, DUE_S, strict=True):
        assert record.sent_s >= start_s + due_s


def test_one_connection_takes_one_play_after_the_other(node: NodeProcess) -> None:
    with connect() as player:
        first = play(player, random_frames(200), rate_hz=1000.0)
        second = play(player, random_frames(4))
    assert first.dropped > 0
    assert first.never_arrived == first.dropped_by_cause['lost']
    assert (second.sent, second.answered, second.dropped) == (4, 4, 0)
    assert len(first.records) == 200


def test_what_never_arrives_is_counted_in_the_play_that_lost_it(node: NodeProcess) -> None:
    # Larger than the default segment of shared memory: best effort loses most, the last ones too.
    with connect(reliability='best_effort') as player:
        reports = [play(player, random_frames(30, 480, 640), rate_hz=30.0) for _ in range(2)]
    for report in reports:
        at_the_node = report.dropped - report.dropped_by_cause['lost']
        assert report.answered + at_the_node + report.never_arrived == report.sent == 30
        assert report.never_arrived >= report.dropped_by_cause['lost']


def test_gap_after_the_last_frame_belongs_to_the_play_before(peer: Peer) -> None:
    """To a node that notices only with the next play that the last frame of a play is lost."""
    images: list[Image] = []
    counted = {0: (10, 1), 5: (13, 2), 7: (15, 3)}
    """Frames received and known to be lost, once so many have been sent."""

    def report() -> None:
        received, lost = counted[max(count for count in counted if count <= len(images))]
        arrived = {'publishers': '1', 'reliability': 'reliable', 'dropped_lost': str(lost)}
        values = {
            'model': {'state': 'active'},
            'images': arrived | {'frames_received': str(received)},
            'masks': {'mask_subscribers': '1', 'frames_answered': str(received)},
        }
        statuses = [
            Status(task=task, level=Level.OK, message='', values=entries)
            for task, entries in values.items()
        ]
        publisher.publish(statuses_to_diagnostics(statuses, Header(), '/late/segmentation_node'))

    peer.create_subscription(Image, '/late/image', images.append, 10)
    publisher = peer.create_publisher(DiagnosticArray, '/diagnostics', 10)
    timer = peer.create_timer(0.1, report)
    try:
        with connect(namespace='late') as player:
            first = play(player, random_frames(5), rate_hz=100.0)
            second = play(player, random_frames(2), rate_hz=100.0)
    finally:
        peer.destroy_timer(timer)
    assert (first.dropped_by_cause['lost'], first.never_arrived) == (1, 2)
    assert (second.dropped_by_cause['lost'], second.never_arrived) == (0, 0)


def test_images_of_another_transport_are_refused(node: NodeProcess) -> None:
    (frame,) = random_frames(1)
    with connect() as player, pytest.raises(ValueError, match='`image` must fit Image'):
        play(player, [replace(frame, image=b'no array')])


def test_compressed_images_reach_the_node(peer: Peer) -> None:
    played = [
        replace(frame, image=cv2.imencode('.png', np.asarray(frame.image))[1].tobytes())
        for frame in random_frames(3)
    ]
    with peer.configured(image_transport='compressed'):
        report = play_once(played, image_transport='compressed')
    assert (report.sent, report.answered, report.dropped) == (3, 3, 0)


def test_same_stamp_twice_is_an_error(node: NodeProcess) -> None:
    (frame,) = random_frames(1)
    with pytest.raises(ValueError, match='`stamp_ns` must differ'):
        play_once([frame, frame])


def test_no_node_is_an_error_that_says_so() -> None:
    with pytest.raises(TimeoutError, match='/nobody/segmentation_node: no diagnostics'):
        play_once(random_frames(1), namespace='nobody', wait_s=1.0)


class NodeEndedError(Exception):
    pass


def test_check_ends_the_wait_for_a_node() -> None:
    def check() -> None:
        raise NodeEndedError

    with connect(namespace='absent', check=check) as player, pytest.raises(NodeEndedError):
        play(player, random_frames(1))


def test_check_ends_the_wait_for_answers(node: NodeProcess) -> None:
    def check() -> None:
        if len(player.report().records) == 3:
            raise NodeEndedError

    # More than can be answered before the player waits.
    with connect(check=check) as player, pytest.raises(NodeEndedError):
        play(player, random_frames(3), rate_hz=1000.0)


def test_wrong_namespace_fails_soon_and_names_the_right_one(node: NodeProcess) -> None:
    def is_told() -> bool:  # the node may take some seconds to be discovered
        with pytest.raises(
            ValueError, match='no segmentation node in namespace /nobody'
        ) as caught:
            player.check_running(wait_s=0.5)
        return '/segmentation' in str(caught.value).partition('with one: ')[2]

    with connect(namespace='nobody') as player:
        wait_for(is_told, 'the namespace in the error')


def test_idle_node_is_an_error_that_tells_its_state(peer: Peer) -> None:
    def is_told() -> bool:
        with pytest.raises(TimeoutError) as caught:
            play(player, random_frames(1), wait_s=0.5)
        return 'it is inactive' in str(caught.value)

    assert peer.change(NODE, 'deactivate')
    try:
        with connect() as player:
            wait_for(is_told, 'the state in the error')
    finally:
        assert peer.change(NODE, 'activate')


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
        play_once(random_frames(1), **arguments)  # type: ignore[arg-type]


def test_player_leaves_no_thread_behind(node: NodeProcess) -> None:
    before = threading.active_count()
    play_once(random_frames(2))
    assert threading.active_count() == before
