"""`PromptEnd`: a process that was told to stop ends, whatever it is busy with."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
import os
import sys
import threading
import time
from typing import Any

from rclpy.logging import get_logger
from rclpy.utilities import try_shutdown

_LOOK_S = 0.1
_PATIENCE_S = 1.0
"""What the main thread waits on in the middleware, another thread cannot take down: on a machine
without free time it needs a moment to get there itself."""
_MAKING_S = 3.0
"""For a node that is being made: one that is made in part cannot be destroyed, and would leave
what the middleware has in shared memory."""


class PromptEnd:
    """Ends the process a second after a signal if its main thread has not begun to.

    A signal shuts the context down, which the main thread sees between two callbacks only; loading
    a network takes many seconds in libraries that cannot be interrupted, and `docker stop` kills
    after ten.
    """

    def __init__(self, is_running: Callable[[], bool], node: Callable[[], Any]) -> None:
        """Start to watch.

        Args:
            is_running: False from the signal on.
            node: The node, with `exit_code`, to take leave for; None while there is none.
        """
        self._is_running = is_running
        self._node = node
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        threading.Thread(target=self._watch, name='prompt_end', daemon=True).start()

    def release(self) -> None:
        """Say that the main thread cleans up now; does not return if it is too late for that."""
        with self._lock:
            self._is_over.set()

    def _watch(self) -> None:
        while self._is_running():
            if self._is_over.wait(_LOOK_S):
                return
        with suppress(RuntimeError):  # rclpy does so itself, but for a signal that came very early
            try_shutdown()
        end_s = time.monotonic() + _MAKING_S
        while self._node() is None and time.monotonic() < end_s:
            if self._is_over.wait(_LOOK_S):
                return
        if self._is_over.wait(_PATIENCE_S):
            return
        with self._lock:
            if self._is_over.is_set():
                return
            code = 0
            try:
                if (node := self._node()) is not None:
                    code = int(node.exit_code)
                    # Not the node's own logger: the context of its topic is gone.
                    get_logger(node.get_name()).info('stopped while busy')
                    node.destroy_node()  # so that others do not wait for it
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
