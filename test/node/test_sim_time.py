"""A node under simulated time: a bag that is played fast, paused and played again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import threading
import time

import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticStatus
from peer import Peer
from rosgraph_msgs.msg import Clock
from running_node import NODE, NodeProcess, running_node, wait_for
from std_msgs.msg import Float64
from stream import Stream

from dcfm_ros.ros.messages import ns_to_stamp, stamp_to_ns

pytestmark = pytest.mark.dds
START_NS = 1_000_000_000_000
SECOND_NS = 1_000_000_000


@pytest.fixture(scope='module')
def node(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    values: dict[str, object] = {
        'use_sim_time': True,
        'no_image_warning_s': 1.5,
        'max_allowed_processing_time_ms': 5000.0,
        'max_time_gap_s': 60.0,
        'keyframe_interval': 1000,
    }
    log = tmp_path_factory.mktemp('node') / 'log'
    with running_node(log, checkpoint=checkpoint, cpu_threads=1, **values) as process:
        yield process


class Bag:
    """Publishes /clock 50 times per second in a thread, and images stamped by it when asked."""

    def __init__(self, peer: Peer) -> None:
        self.time_ns = START_NS
        self.rate = 3.0
        self._sent = 0
        self._clock = peer.create_publisher(Clock, '/clock', 10)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._tick)
        self._thread.start()
        wait_for(self._clock.get_subscription_count, 'a subscription of /clock')
        self.latencies = peer.listen(Float64, f'{NODE}/debug/pipeline_latency_ms')
        self.stream = Stream(peer)
        self.diagnostics = self.stream.diagnostics
        wait_for(lambda: self.play(1) and self.latencies, 'a latency')

    def close(self) -> None:
        self._is_over.set()
        self._thread.join()

    def set_time(self, time_ns: int) -> None:
        """Have the clock jump, and the node know of it."""
        self.time_ns = time_ns
        wait_for(lambda: abs(self.diagnosed_ns() - time_ns) < 60 * SECOND_NS, 'diagnostics')

    def diagnosed_ns(self) -> int:
        """When the newest diagnostics were made, by the clock of the node."""
        return stamp_to_ns(self.diagnostics.messages[-1].header.stamp)

    def play(self, count: int) -> list[str]:
        """Images by the clock of now, each after the mask of the one before; their reasons."""
        found = []
        for _ in range(count):
            image = self.stream.image()
            self._sent += 1
            image.header.stamp = ns_to_stamp(self.time_ns + self._sent)  # all differ
            found.append(self.stream.ask_timing(image)['reason'])
        return found

    def _tick(self) -> None:
        before_s = time.monotonic()
        while not self._is_over.wait(0.02):
            now_s = time.monotonic()
            self.time_ns += round((now_s - before_s) * self.rate * SECOND_NS)
            before_s = now_s
            self._clock.publish(Clock(clock=ns_to_stamp(self.time_ns)))


@pytest.fixture(scope='module')
def played(peer: Peer) -> Iterator[Bag]:
    made = Bag(peer)
    yield made
    made.close()


@pytest.fixture
def bag(played: Bag) -> Bag:
    """Whose clock runs, and images come."""
    played.rate = 3.0
    played.play(2)
    played.diagnostics.wait_for_level('images', DiagnosticStatus.OK)
    return played


def test_latency_is_in_the_time_of_a_fast_clock(bag: Bag) -> None:
    bag.latencies.clear()

    def some_ticks_lie_between() -> bool:
        bag.play(1)
        return any(latency.data > 0.0 for latency in bag.latencies)

    wait_for(some_ticks_lie_between, 'a latency above 0')
    assert all(0.0 <= latency.data < 20_000.0 for latency in bag.latencies)


def test_diagnostics_are_stamped_by_the_clock(bag: Bag) -> None:
    before_ns = bag.time_ns
    bag.diagnostics.next('model')
    bag.diagnostics.next('model')  # made after the test began
    assert before_ns <= bag.diagnosed_ns() <= bag.time_ns


def test_pause_is_no_missing_image(bag: Bag) -> None:
    bag.play(2)
    start = len(bag.diagnostics.messages)
    bag.rate = 0.0
    paused = bag.diagnostics.wait_for_message('images', 'the clock is not running')
    assert paused.level == DiagnosticStatus.OK
    bag.diagnostics.next('images')
    bag.diagnostics.next('images')  # by now an image is missing, if the steady clock counts
    bag.rate = 3.0
    assert bag.play(1) == ['']
    bag.diagnostics.next('images')
    levels = {status.level for status in bag.diagnostics.all('images', start)}
    assert levels == {DiagnosticStatus.OK}


def test_silence_while_the_clock_runs_is_a_missing_image(bag: Bag) -> None:
    bag.diagnostics.wait_for_level('images', DiagnosticStatus.WARN)


def test_frames_go_on_being_answered_while_the_clock_stands(bag: Bag) -> None:
    bag.rate = 0.0
    bag.diagnostics.wait_for_message('images', 'the clock is not running')
    assert len(bag.play(3)) == 3


def test_bag_that_begins_again_is_a_keyframe_and_no_alarm(bag: Bag) -> None:
    bag.set_time(bag.time_ns + 60 * SECOND_NS)  # far enough from the start
    bag.play(2)
    bag.latencies.clear()
    start = len(bag.diagnostics.messages)
    bag.set_time(START_NS)
    assert bag.play(4) == ['time_jump', '', '', '']
    check_no_alarm(bag, start)
    assert all(0.0 <= latency.data < 20_000.0 for latency in bag.latencies)


def test_clock_that_jumps_ahead_is_a_keyframe_and_no_alarm(bag: Bag) -> None:
    bag.play(2)
    start = len(bag.diagnostics.messages)
    bag.set_time(bag.time_ns + 3600 * SECOND_NS)
    assert bag.play(3) == ['time_gap', '', '']
    check_no_alarm(bag, start)


def check_no_alarm(bag: Bag, start: int) -> None:
    bag.diagnostics.next('model')
    statuses = [status for m in bag.diagnostics.messages[start:] for status in m.status]
    alarms = {status.name for status in statuses if status.level != DiagnosticStatus.OK}
    assert alarms <= {f'{NODE}: model'}, 'which warns of the CPU'
    assert DiagnosticStatus.ERROR not in {status.level for status in statuses}
