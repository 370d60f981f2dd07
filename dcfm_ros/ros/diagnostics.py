"""`Diagnostics`: the statuses of a node on `/diagnostics`, once per second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import time

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from std_msgs.msg import Header

from dcfm_ros.ros.health.running_clock import RunningClock
from dcfm_ros.ros.health.status import Status
from dcfm_ros.ros.messages import statuses_to_diagnostics


class Diagnostics:
    """Publishes what a function says, at a rate of its own and whenever asked to."""

    def __init__(
        self, node: Node, statuses: Callable[[], Sequence[Status]], period_ms: float = 1000.0
    ) -> None:
        """Start the timer."""
        self._node = node
        self._statuses = statuses
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        # Steady: on the node's own clock, a paused simulation would silence the diagnostics.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(period_ms / 1e3, self.publish, clock=steady)
        self._clock_watch = RunningClock(time.monotonic())

    @property
    def is_running(self) -> bool:
        """Whether the timer runs."""
        return not self._timer.is_canceled()

    def clock_running_s(self) -> float:
        """For how long the node's clock has been running, s; to be asked for each status."""
        clock_ns = self._node.get_clock().now().nanoseconds
        return self._clock_watch.running_s(clock_ns, time.monotonic())

    def set_period(self, period_ms: float) -> None:
        """Publish at another rate; 0: only when asked to."""
        if not period_ms:
            self._timer.cancel()
        elif not self.is_running or self._timer.timer_period_ns != round(period_ms * 1e6):
            self._timer.timer_period_ns = round(period_ms * 1e6)
            self._timer.reset()

    def publish(self) -> None:
        """Publish now, unless the node was stopped, perhaps while it loads."""
        if not self._node.context.ok():
            return
        header = Header(stamp=self._node.get_clock().now().to_msg())
        name = self._node.get_fully_qualified_name()
        self._publisher.publish(statuses_to_diagnostics(self._statuses(), header, name))
