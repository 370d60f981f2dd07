"""A node in this process that publishes and listens to the nodes under test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.node import Node


class Peer(Node):
    """Keeps the newest diagnostics of every node."""

    def __init__(self, context: Context) -> None:
        super().__init__('torture', context=context, use_global_arguments=False)
        self._statuses: dict[str, tuple[float, dict[str, str]]] = {}
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 100)

    def values(self, node: str, since_s: float = 0.0) -> Mapping[str, str]:
        """Values of all statuses of a node that are newer than a time of the steady clock.

        Keys are '<task>/<key>'; empty if there is none.
        """
        return {
            f'{name.removeprefix(f"{node}: ")}/{key}': value
            for name, (when_s, values) in list(self._statuses.items())
            if name.startswith(f'{node}: ') and when_s >= since_s
            for key, value in values.items()
        }

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        now_s = time.monotonic()
        self._statuses |= {  # at once: sums over several are looked at in another thread
            status.name: (now_s, {entry.key: entry.value for entry in status.values})
            for status in message.status
        }


def wait_until(condition: Callable[[], Any], wait_s: float, pause_s: float = 0.0005) -> bool:
    """Whether something came true in time."""
    end_s = time.monotonic() + wait_s
    while not condition():
        if time.monotonic() > end_s:
            return False
        time.sleep(pause_s)
    return True
