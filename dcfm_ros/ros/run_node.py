"""The life of a node's process, from its command line to its exit code."""

from __future__ import annotations

from collections.abc import Callable
import os
import signal
import sys
import traceback
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.utilities import try_shutdown

_SWITCH_S = 1e-4
"""The node's share of a frame (p95) is 2.1 ms; with 5e-4 it was 2.9 to 3.8, with Python's own 5 ms
4.5 to 5."""


def run_node(
    name: str,
    make: Callable[[], Any],
    args: list[str] | None = None,
    begin: Callable[[Any], None] = lambda node: None,
) -> int:
    """Spin a node until it is told to stop.

    Args:
        name: Logger of what is wrong before there is a node.
        make: Gives the node, with `close` and `exit_code`; ValueError: wrong parameters.
        args: Of the command line; None: those of the process.
        begin: Called with the node before it spins.

    Returns:
        Exit code of the process: 0 when it was told to stop, 1 after `give_up`, 2 for wrong
        parameters.
    """
    # Read when torch is loaded: threads that wait for work by spinning would take the processor
    # from the rest of the robot, and make the network itself several times slower on a busy one.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    # A worker that gets an image waits for the executor's thread to let go of the interpreter.
    sys.setswitchinterval(_SWITCH_S)
    node, has_begun = None, False
    try:
        rclpy.init(args=args)
        has_begun = True
        node = make()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        begin(node)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (ValueError, RuntimeError) as error:
        is_going_down = has_begun and not rclpy.ok()  # hit by a signal in the middle of something
        if node is None and not is_going_down:
            for line in _start_problems(error):
                get_logger(name).fatal(line)
            return 2
        if not is_going_down:
            raise
    finally:
        # The first signal is being obeyed; another one must not interrupt the tidying up.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if node is not None:
            node.close()
            node.destroy_node()
        try_shutdown()
    return int(node.exit_code) if node is not None else 0


def give_up(node: Any, error: Exception) -> None:
    """Have the process of a node end, from any thread, for an error that cannot be survived."""
    if node.context.ok():  # otherwise it could not publish since the node is going down
        reason = ''.join(traceback.format_exception(error))
        node.get_logger().fatal(f'cannot go on: {reason}')
        node.exit_code = 1
        node.context.try_shutdown()


def _start_problems(error: Exception) -> list[str]:
    """What to tell, line by line: wrong parameters or a wrong command line."""
    if 'PARAMETER_NOT_SET' in str(error):  # of a list without elements rclpy names nothing
        return ["a parameter given at start has no value; an empty list is written ['']"]
    return str(error).splitlines()
