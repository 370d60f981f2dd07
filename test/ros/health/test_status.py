from __future__ import annotations

import pytest

from dcfm_ros.ros.health.sequence_gaps import SequenceGaps
from dcfm_ros.ros.health.status import (
    Level,
    NodeHealth,
    Status,
    image_status,
    mask_status,
    model_status,
)
from dcfm_ros.ros.health.stream_statistics import StreamSnapshot, StreamStatistics


def stream(answers: int, interval_s: float = 0.1) -> StreamStatistics:
    """Frames at a fixed interval from 0 s on, latency 10, 20, ... ms, every second a keyframe."""
    statistics = StreamStatistics(window_s=10.0)
    statistics.restart(0.0)
    for index in range(answers):
        now = index * interval_s
        statistics.received(now)
        statistics.answered(now, 10.0 * (index + 1), index % 2 == 0)
    return statistics


def images(snapshot: StreamSnapshot, **changes: object) -> Status:
    arguments: dict[str, object] = {
        'is_waiting': True,
        'no_image_warning_s': 5.0,
        'topic': '/segmentation/image',
        'publishers': 1,
        'reliability': 'reliable',
    }
    return image_status(snapshot, **(arguments | changes))  # type: ignore[arg-type]


def test_rates_are_frames_per_second_of_the_window() -> None:
    snapshot = stream(100).snapshot(10.0)
    assert snapshot.rate_in_hz == pytest.approx(10.0)
    assert snapshot.rate_out_hz == pytest.approx(10.0)


def test_rate_just_after_the_start_is_not_diluted_by_the_window() -> None:
    assert stream(10).snapshot(1.0).rate_out_hz == pytest.approx(10.0)


def test_figures_forget_what_is_older_than_the_window() -> None:
    statistics = stream(10)
    statistics.received(100.0)
    statistics.answered(100.0, 5.0, False)
    snapshot = statistics.snapshot(100.0)
    assert snapshot.latency_ms['max'] == 5.0
    assert snapshot.keyframe_share == 0.0
    assert snapshot.rate_in_hz == pytest.approx(0.1)


def test_counters_do_not_forget() -> None:
    snapshot = stream(10).snapshot(100.0)
    assert (snapshot.received, snapshot.answered) == (10, 10)


def test_latency_percentiles() -> None:
    snapshot = stream(100).snapshot(10.0)
    assert snapshot.latency_ms['p50'] == pytest.approx(505.0)
    assert snapshot.latency_ms['p95'] == pytest.approx(950.5)
    assert snapshot.latency_ms['max'] == 1000.0


def test_keyframe_share() -> None:
    assert stream(10).snapshot(1.0).keyframe_share == 0.5


def test_drops_are_counted_by_cause() -> None:
    statistics = stream(0)
    statistics.dropped('replaced')
    statistics.dropped('lost', 3)
    statistics.refused('no image')
    expected = {'replaced': 1, 'lost': 3, 'refused': 1, 'disabled': 0}
    assert statistics.snapshot(1.0).dropped == expected
    assert statistics.total_dropped == 5


def test_bad_frame_is_an_error_until_a_good_one_is_answered() -> None:
    statistics = stream(1)
    statistics.refused('no image')
    assert statistics.snapshot(1.0).bad_frame
    assert statistics.snapshot(2.0).bad_frame
    statistics.answered(2.5, 1.0, True)
    assert not statistics.snapshot(3.0).bad_frame


def test_bad_frame_is_told_once_though_a_good_one_followed_at_once() -> None:
    statistics = stream(1)
    statistics.refused('no image')
    statistics.answered(0.5, 1.0, True)
    assert statistics.snapshot(1.0).bad_frame
    assert not statistics.snapshot(2.0).bad_frame


def test_bad_frame_is_an_error_that_says_why() -> None:
    statistics = stream(1)
    statistics.refused('`encoding` must be rgb8')
    status = images(statistics.snapshot(1.0))
    assert status.level is Level.ERROR
    assert '`encoding` must be rgb8' in status.message


@pytest.mark.parametrize(
    ('now', 'changes', 'level'),
    [
        (4.0, {}, Level.OK),
        (6.0, {}, Level.WARN),
        (6.0, {'no_image_warning_s': 0.0}, Level.OK),
        (6.0, {'is_waiting': False}, Level.OK),
    ],
)
def test_silence_is_a_warning(now: float, changes: dict[str, object], level: Level) -> None:
    status = images(stream(1).snapshot(now), **changes)
    assert status.level is level


def test_silence_while_the_clock_stands_is_no_warning() -> None:
    status = images(stream(1).snapshot(600.0), clock_running_s=0.0)
    assert (status.level, status.message) == (Level.OK, 'the clock is not running')


def test_silence_counts_from_when_the_clock_went_on() -> None:
    snapshot = stream(1).snapshot(600.0)
    assert images(snapshot, clock_running_s=4.9).level == Level.OK
    assert images(snapshot, clock_running_s=5.0).level == Level.WARN


@pytest.mark.parametrize(
    ('failure', 'requested', 'device', 'level'),
    [
        ('', 'cpu', 'cpu', Level.OK),
        ('', 'auto', 'cpu', Level.WARN),
        ('', 'auto', 'cuda:0', Level.OK),
        ('no such file', 'auto', 'cpu', Level.ERROR),
    ],
)
def test_model_status_level(failure: str, requested: str, device: str, level: Level) -> None:
    status = model_status('active', failure, requested, {'device': device})
    assert status.level is level


def test_a_backend_that_failed_is_a_warning() -> None:
    model = {'device': 'cpu', 'backend': 'torch', 'backend_failure': 'openvino failed: no memory'}
    status = model_status('active', '', 'cpu', model)
    assert status.level is Level.WARN
    assert status.message == 'active, but openvino failed: no memory'
    assert model.items() <= status.values.items()


def test_memory_is_that_of_a_python_process() -> None:
    status = model_status('active', '', 'cpu', {})
    assert 5.0 < float(status.values['memory_mb']) < 100_000.0


def test_gap_in_sequence_numbers_is_the_number_of_lost_frames() -> None:
    gaps = SequenceGaps()
    assert [gaps.lost_before(number) for number in (100, 101, 105, 106)] == [0, 0, 3, 0]


def test_another_publisher_counts_nothing_as_lost() -> None:
    gaps = SequenceGaps()
    gaps.lost_before(100)
    assert gaps.lost_before(7) == 0
    gaps.connect(1.0, publishers=2, change=1)
    assert gaps.lost_before(500) == 0


@pytest.mark.parametrize(
    ('known', 'connected_s', 'first', 'lost'),
    [
        (1, 10.5, 4, 3),  # node and publisher began together
        (1, 10.5, 31, 0),
        (1, 10.5, 5000, 0),  # the publisher was there long before the node
        (0, 10.5, 400, 399),  # it came after the node
        (1, 60.0, 400, 399),  # another one came after the node
        (0, 60.0, 5000, 0),  # it came back
    ],
)
def test_frames_before_the_first_are_lost_if_the_publisher_is_new(
    known: int, connected_s: float, first: int, lost: int
) -> None:
    gaps = SequenceGaps()
    gaps.listen(10.0, known_publishers=known)
    gaps.connect(connected_s, publishers=1, change=1)
    assert gaps.lost_before(first) == lost
    assert gaps.lost_before(first + 2) == 1


@pytest.mark.parametrize('changes', [[(0, -1), (1, 1)], [(1, 0)]])
def test_publisher_that_is_back_counts_on(changes: list[tuple[int, int]]) -> None:
    """Its machine was suspended, or the node's; what it has sent since is lost, and no more."""
    gaps = SequenceGaps()
    gaps.listen(0.0, known_publishers=0)
    gaps.connect(5.0, publishers=1, change=1)
    assert gaps.lost_before(1) == 0
    assert gaps.lost_before(170) == 168
    for publishers, change in changes:
        gaps.connect(60.0, publishers, change, is_back=publishers == 1)
    assert gaps.lost_before(179) == 8
    assert gaps.lost_before(180) == 0


def test_publisher_that_is_back_at_a_new_subscription_counts_nothing() -> None:
    gaps = SequenceGaps()
    gaps.lost_before(100)
    gaps.connect(5.0, publishers=0, change=-1)
    gaps.listen(60.0, known_publishers=1)
    gaps.connect(60.1, publishers=1, change=1, is_back=True)
    assert gaps.lost_before(170) == 0


def test_new_subscription_counts_nothing_before_its_first_frame() -> None:
    gaps = SequenceGaps()
    gaps.connect(60.0, publishers=1, change=1)
    gaps.listen(61.0, known_publishers=0)
    assert gaps.lost_before(5) == 0


@pytest.mark.parametrize('changes', [[(1, 0)], [(2, 1), (1, -1)], [(0, -1), (1, 1)]])
def test_publisher_that_replaces_another_is_new(changes: list[tuple[int, int]]) -> None:
    gaps = SequenceGaps()
    gaps.lost_before(100)
    for publishers, change in changes:
        gaps.connect(60.0, publishers, change)
    assert gaps.lost_before(4) == 3


def test_publisher_that_stays_when_another_leaves_is_not_new() -> None:
    gaps = SequenceGaps()
    gaps.connect(60.0, publishers=2, change=1)
    gaps.lost_before(None)
    gaps.connect(70.0, publishers=1, change=-1)
    assert gaps.lost_before(200) == 0
    assert gaps.lost_before(202) == 1


def test_unknown_sequence_number_counts_nothing() -> None:
    gaps = SequenceGaps()
    assert [gaps.lost_before(number) for number in (1, None, 9)] == [0, 0, 0]


def test_health_is_read_back_from_the_statuses() -> None:
    statistics = StreamStatistics()
    for _ in range(3):
        statistics.received(0.0)
    statistics.answered(0.0, 5.0, is_keyframe=True)
    statistics.dropped('replaced', 2)
    snapshot = statistics.snapshot(1.0)
    facts = {'device': 'cpu', 'checkpoint': '/w.safetensors'}
    statuses = [
        model_status('active', '', 'cpu', facts),
        images(snapshot),
        mask_status(snapshot, 4, images(snapshot)),
    ]
    values = {status.task: status.values for status in statuses}
    health = NodeHealth.from_values(values, statuses[0].message)
    assert (health.state, health.message) == ('active', 'active')
    assert facts.items() <= health.model.items()
    assert (health.publishers, health.reliability, health.mask_subscribers) == (1, 'reliable', 4)
    assert (health.frames_received, health.frames_answered) == (3, 1)
    assert health.dropped == {'replaced': 2, 'lost': 0, 'refused': 0, 'disabled': 0}


def test_health_of_a_node_that_says_nothing_is_empty() -> None:
    assert NodeHealth.from_values({}) == NodeHealth()


def test_masks_have_the_cause_of_the_images() -> None:
    silent = stream(0).snapshot(30.0)
    cause = images(silent)
    status = mask_status(silent, 1, cause)
    assert (status.level, status.message) == (Level.WARN, f'no masks: {cause.message}')
    assert 'no image for 30 s on /segmentation/image' in status.message
    flowing = stream(10).snapshot(1.0)
    assert mask_status(flowing, 1, images(flowing)).level == Level.OK
    warned = images(flowing, camera_info_problem='no camera_info')
    assert mask_status(flowing, 1, warned).message == '10.0 masks per second'


def test_failure_of_the_node_is_the_cause_of_all() -> None:
    snapshot = stream(0).snapshot(30.0)
    failure = 'configuring failed: no such file: /w.safetensors'
    image = images(snapshot, is_waiting=False, failure=failure)
    mask = mask_status(snapshot, 0, image)
    assert image.message == f'not subscribed: {failure}'
    assert mask.message == f'no masks: not subscribed: {failure}'
    assert {image.level, mask.level} == {Level.ERROR}


def test_paused_node_that_is_subscribed_says_so() -> None:
    status = images(stream(1).snapshot(600.0), is_waiting=False)
    assert (status.level, status.message) == (Level.OK, 'paused by ~/enable')


def test_wrong_type_on_the_topic_is_told_at_once() -> None:
    wrong = '/image carries sensor_msgs/msg/CompressedImage; sensor_msgs/msg/Image is needed'
    silent = stream(0).snapshot(0.5)
    status = images(silent, publishers=0, wrong_types=wrong)
    assert (status.level, status.message) == (Level.WARN, wrong)
    beside = images(stream(10).snapshot(1.0), wrong_types=wrong)
    assert (beside.level, beside.message) == (
        Level.WARN,
        f'10.0 images per second, but {wrong}',
    )
    idle = images(silent, is_waiting=False, reliability='', wrong_types=wrong)
    assert idle.message == 'not subscribed'
