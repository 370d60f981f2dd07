"""`run_node`: the life of a node's process."""

from __future__ import annotations

from collections.abc import Callable
import signal
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.utilities import try_shutdown


def run_node(name: str, make: Callable[[], Any], args: list[str] | None = None) -> int:
    """Spin a node until it is told to stop.

    Args:
        name: Logger of what is wrong before there is a node.
        make: Gives the node, with `close` and `exit_code`; ValueError: wrong parameters.
        args: Of the command line; None: those of the process.

    Returns:
        Exit code of the process: 0 when it was told to stop, 2 for wrong parameters.
    """
    node, has_begun = None, False
    try:
        rclpy.init(args=args)
        has_begun = True
        node = make()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (ValueError, RuntimeError) as error:
        if not has_begun or isinstance(error, ValueError):
            for line in str(error).splitlines():  # wrong parameters (a line each), command line
                get_logger(name).fatal(line)
            return 2
        if rclpy.ok():  # otherwise a shutdown hit it in the middle of something
            raise
    finally:
        # The first signal is being obeyed; another one must not interrupt the tidying up.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if node is not None:
            node.close()
            node.destroy_node()
        try_shutdown()
    return int(node.exit_code) if node is not None else 0
