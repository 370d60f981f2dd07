"""A subscription whose publishers change, in a process that stands still."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import random
import time

import pytest

pytest.importorskip('rclpy')

from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from running_node import wait_for
from std_msgs.msg import String

from dcfm_ros.ros.matched_subscription import MatchedSubscription

pytestmark = pytest.mark.dds
RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT


class Listener:
    """The subscription, heard only while something spins, and who talks to it."""

    def __init__(self, context: Context) -> None:
        self.talker = Node('talker', context=context)
        self._node = Node('listener', context=context)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self._node)
        self.received = self.lost = 0
        self.subscription = MatchedSubscription(
            self._node, String, 'text', self._count, counts_lost=True
        )

    def publisher(self, reliability: ReliabilityPolicy) -> Publisher:
        return self.talker.create_publisher(
            String, 'text', QoSProfile(depth=1, reliability=reliability)
        )

    def spin(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left_s)

    def spin_until(self, condition: Callable[[], bool]) -> None:
        def is_met() -> bool:
            self.spin(0.05)
            return condition()

        wait_for(is_met, 'publishers and subscriptions to match')

    def spin_until_heard(self, publisher: Publisher) -> int:
        """Publish until something arrives; how many that took."""
        before, sent = self.received, 0

        def is_heard() -> bool:
            nonlocal sent
            publisher.publish(String())
            sent += 1
            self.spin(0.1)
            return self.received > before

        wait_for(is_heard, 'a message')
        return sent

    def close(self) -> None:
        self.subscription.destroy()
        self._executor.shutdown()
        self._node.destroy_node()
        self.talker.destroy_node()

    def _count(self, _: String, lost: int) -> None:
        self.received += 1
        self.lost += lost


@pytest.fixture
def listener() -> Iterator[Listener]:
    context = Context()
    context.init()
    listener = Listener(context)
    yield listener
    listener.close()
    context.shutdown()


def is_renewed(listener: Listener, publisher: Publisher, count: int) -> bool:
    """Stand still, and have it resubscribe while messages wait that nobody has taken yet."""
    time.sleep(random.uniform(1.1, 1.6))
    listener.spin(0.55)  # it finds out, and gives the publisher a second
    time.sleep(0.51)  # its timer is due, and not so late that this is another standstill
    received = listener.received
    for _ in range(count):
        publisher.publish(String())
    listener.spin(0.1)
    return listener.received == received


@pytest.mark.parametrize('changes', [False, True], ids=['same', 'replaced'])
def test_renewed_subscription_counts_on(listener: Listener, changes: bool) -> None:
    """Also where the only publisher took another's place during a change of reliability."""
    publisher = listener.publisher(RELIABLE)
    listener.spin_until_heard(publisher)
    if changes:
        former, publisher = publisher, listener.publisher(BEST_EFFORT)
        # Its place is taken while both subscriptions are there.
        listener.spin_until(lambda: former.get_subscription_count() == 2)
        listener.spin_until(lambda: listener.subscription.publishers == 2)
        listener.talker.destroy_publisher(former)
        listener.spin_until(lambda: listener.subscription.publishers == 1)
    listener.spin_until_heard(publisher)
    received, lost, sent = listener.received, listener.lost, 0

    def loses_what_waits() -> bool:
        nonlocal sent
        sent += 4
        return is_renewed(listener, publisher, 4)

    wait_for(loses_what_waits, 'it to resubscribe before it took what was waiting')
    sent += listener.spin_until_heard(publisher)
    assert listener.received - received + listener.lost - lost == sent
