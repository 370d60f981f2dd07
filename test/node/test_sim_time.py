"""A node under simulated time: a bag that is played fast, paused and played again."""

from __future__ import annotations

from collections.abc import Iterator
import threading
import time
from typing import Any

import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rosgraph_msgs.msg import Clock
from running_node import Peer, make_checkpoint, running_node, running_peer, wait_for
from sensor_msgs.msg import Image
from std_msgs.msg import Float64

from dcfm_ros.ros.messages import ns_to_stamp

NODE = '/segmentation/segmentation_node'
START_NS = 1_000_000_000_000
SECOND_NS = 1_000_000_000
SILENCE_S = 1.5


class Bag:
    """Publishes /clock 50 times per second in a thread, and images stamped by it when asked."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.time_ns = START_NS
        self.rate = 3.0
        self._sent = 0
        self._clock = peer.create_publisher(Clock, '/clock', 10)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._tick)
        self._thread.start()
        wait_for(self._clock.get_subscription_count, 'a subscription of /clock')
        self.masks = peer.listen(Image, '/segmentation/mask')
        self.timings = peer.listen(DiagnosticArray, f'{NODE}/timing')
        self.latencies = peer.listen(Float64, f'{NODE}/debug/pipeline_latency_ms')
        self.diagnostics = peer.listen(DiagnosticArray, '/diagnostics')
        self._images = peer.connect()
        self.play(1)
        wait_for(lambda: self.play(1) is not None and self.latencies, 'a latency', 0.1)

    def close(self) -> None:
        self._is_over.set()
        self._thread.join()

    def play(self, count: int) -> list[dict[str, str]]:
        """Images by the clock of now, each after the mask of the one before; their timings."""
        found = []
        for _ in range(count):
            image = self.peer.image()
            self._sent += 1
            image.header.stamp = ns_to_stamp(self.time_ns + self._sent)  # all differ
            self._images.publish(image)
            self._answer(self.masks, image)
            status = self._answer(self.timings, image).status[0]
            found.append({entry.key: entry.value for entry in status.values})
            time.sleep(0.03)
        return found

    def levels(self, task: str, seconds: float) -> set[bytes]:
        """Levels of a status that come within some time."""
        return {s.level for s in self.statuses(task, seconds)}

    def statuses(self, task: str, seconds: float) -> list[DiagnosticStatus]:
        seen, end_s = len(self.diagnostics), time.monotonic() + seconds
        wait_for(lambda: time.monotonic() > end_s, 'time to pass')
        statuses = [s for message in self.diagnostics[seen:] for s in message.status]
        return [s for s in statuses if s.name == f'{NODE}: {task}']

    def _answer(self, received: list[Any], image: Image) -> Any:
        def found() -> list[Any]:
            return [message for message in received if message.header == image.header]

        wait_for(found, f'an answer to {image.header}')
        return found()[-1]

    def _tick(self) -> None:
        before_s = time.monotonic()
        while not self._is_over.wait(0.02):
            now_s = time.monotonic()
            self.time_ns += round((now_s - before_s) * self.rate * SECOND_NS)
            before_s = now_s
            self._clock.publish(Clock(clock=ns_to_stamp(self.time_ns)))


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bag]:
    folder = tmp_path_factory.mktemp('node')
    checkpoint = make_checkpoint(folder / 'tiny.safetensors')
    values: dict[str, object] = {
        'checkpoint': checkpoint,
        'cpu_threads': 1,
        'use_sim_time': True,
        'no_image_warning_s': SILENCE_S,
        'max_allowed_processing_time_ms': 5000.0,
        'max_acceptable_consecutive_delay_ms': 5000.0,
        'max_time_gap_s': 60.0,
        'keyframe_interval': 1000,
    }
    with running_node(folder / 'log', **values), running_peer() as peer:
        played = Bag(peer)
        try:
            yield played
        finally:
            played.close()


@pytest.fixture(autouse=True)
def running(bag: Bag) -> None:
    bag.rate = 3.0


def test_latency_is_in_the_time_of_a_fast_clock(bag: Bag) -> None:
    bag.latencies.clear()
    bag.play(10)
    wait_for(lambda: len(bag.latencies) >= 10, 'latencies')
    assert all(0.0 <= latency.data < 20_000.0 for latency in bag.latencies)
    assert max(latency.data for latency in bag.latencies) > 0.0


def test_diagnostics_are_stamped_by_the_clock(bag: Bag) -> None:
    before_ns = bag.time_ns
    bag.statuses('model', 1.5)
    stamp = bag.diagnostics[-1].header.stamp
    assert before_ns <= stamp.sec * SECOND_NS + stamp.nanosec <= bag.time_ns


def test_pause_is_no_missing_image(bag: Bag) -> None:
    bag.play(2)
    bag.rate = 0.0
    assert bag.levels('images', 2 * SILENCE_S) == {DiagnosticStatus.OK}
    paused = bag.statuses('images', 1.5)[-1]
    assert paused.message == 'the clock is not running'
    bag.rate = 3.0
    assert bag.play(1)[0]['reason'] == ''
    assert bag.levels('images', 1.1) == {DiagnosticStatus.OK}


def test_silence_while_the_clock_runs_is_a_missing_image(bag: Bag) -> None:
    bag.play(1)
    assert DiagnosticStatus.WARN in bag.levels('images', 2 * SILENCE_S + 2.0)


def test_frames_go_on_being_answered_while_the_clock_stands(bag: Bag) -> None:
    bag.rate = 0.0
    time.sleep(0.1)
    assert len(bag.play(3)) == 3


def test_bag_that_begins_again_is_a_keyframe_and_no_alarm(bag: Bag) -> None:
    bag.play(2)
    bag.latencies.clear()
    seen = len(bag.diagnostics)
    bag.time_ns = START_NS
    time.sleep(0.1)
    reasons = [timing['reason'] for timing in bag.play(4)]
    assert reasons == ['time_jump', '', '', '']
    bag.statuses('model', 1.2)
    assert all(0.0 <= latency.data < 20_000.0 for latency in bag.latencies)
    levels = {s.level for message in bag.diagnostics[seen:] for s in message.status}
    assert DiagnosticStatus.ERROR not in levels
    names = {s.name for m in bag.diagnostics[seen:] for s in m.status if s.level != b'\0'}
    assert names <= {f'{NODE}: model'}, 'which warns of the CPU'


def test_clock_that_jumps_ahead_is_a_keyframe_and_no_alarm(bag: Bag) -> None:
    bag.play(2)
    seen = len(bag.diagnostics)
    bag.time_ns += 3600 * SECOND_NS
    time.sleep(0.1)
    assert [timing['reason'] for timing in bag.play(3)] == ['time_gap', '', '']
    bag.statuses('model', 1.2)
    statuses = [status for message in bag.diagnostics[seen:] for status in message.status]
    assert {s.name for s in statuses if s.level != DiagnosticStatus.OK} <= {f'{NODE}: model'}
