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

from dcfm_ros.ros.parameters.files import misplaced_parameters
from dcfm_ros.ros.prompt_end import PromptEnd

_SWITCH_S = 1e-4
"""The node's share of a frame (p95) is 2.1 ms; with 5e-4 s it was 2.9 to 3.8, with the default of
Python, 5 ms, 4.5 to 5."""


def run_node(
    name: str,
    make: Callable[[], Any],
    args: list[str] | None = None,
    begin: Callable[[Any], None] = lambda node: None,
) -> int:
    """Spin a node until it is stopped; that takes a second or two, whatever it is busy with.

    Args:
        name: Name of the logger until there is a node.
        make: Makes the node, which has `close` and `exit_code`; ValueError: wrong parameters.
        args: Command line; None: that of the process, which ends here when the node is stopped.
        begin: Called with the node before it spins.

    Returns:
        Exit code of the process: 0 when it was stopped, 1 after `give_up`, 2 for wrong
        parameters.
    """
    # Read when torch is imported: threads that spin while they wait would take cores from the
    # rest of the robot, and make the network itself several times slower on a busy machine.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    # A worker with a new image waits until the executor's thread releases the interpreter.
    sys.setswitchinterval(_SWITCH_S)
    # A KeyboardInterrupt could strike anywhere, rclpy's destructors included; rclpy's own handler
    # shuts the context down for SIGINT as it does for SIGTERM, and then comes to this one.
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: signals.append(number))
    node, has_begun, end = None, False, None
    try:
        rclpy.init(args=args)
        if signals:  # before rclpy had a handler
            return 0
        has_begun = True
        # Not after the node: once the context is shut down it cannot be made, and says so loudly.
        executor = SingleThreadedExecutor()
        end = PromptEnd(lambda: rclpy.ok() and not signals, lambda: node)
        node = make()
        for warning in misplaced_parameters(
            sys.argv if args is None else args, node.get_fully_qualified_name()
        ):
            node.get_logger().warning(warning)
        executor.add_node(node)
        begin(node)
        executor.spin()
    except ExternalShutdownException:
        pass
    except Exception as error:
        is_going_down = has_begun and bool(signals or not rclpy.ok())  # in the middle of something
        if not is_going_down:
            if node is not None or not isinstance(error, (ValueError, RuntimeError)):
                raise
            for line in _start_problems(error):
                get_logger(name).fatal(line)
            return 2
    finally:
        if end is not None:
            end.release()
        # The first signal is being served; another one must not interrupt the clean-up.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if node is not None:
            node.close()
            node.destroy_node()
        try_shutdown()
    code = int(node.exit_code) if node is not None else 0
    if args is None and node is not None:  # what was made in part, the interpreter cleans up
        # To take PyTorch apart would be a second of work, many on a busy machine.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def give_up(node: Any, error: Exception) -> None:
    """End a node's process, from any thread, after an error that cannot be survived."""
    if node.context.ok():  # otherwise it failed because the node is shutting down
        reason = ''.join(traceback.format_exception(error))
        node.get_logger().fatal(f'cannot go on: {reason}')
        node.exit_code = 1
        node.context.try_shutdown()


def survive_wrong_transitions(node: Any) -> None:
    """Have a lifecycle node refuse a transition that its state does not allow.

    rclpy would raise in the executor and end the process.
    """

    def surviving(change_state: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def callback(request: Any, response: Any) -> Any:
            try:
                return change_state(request, response)
            except RuntimeError as error:
                asked = request.transition.label or request.transition.id
                node.get_logger().warning(f'no transition {asked} in this state: {error}')
                response.success = False
                return response

        return callback

    for service in node.services:
        if service.service_name.endswith('/change_state'):
            service.callback = surviving(service.callback)


def _start_problems(error: Exception) -> list[str]:
    """What to log, line by line: wrong parameters or a wrong command line."""
    if 'PARAMETER_NOT_SET' in str(error):  # rclpy does not name an empty list
        return ["a parameter given at start has no value; an empty list is written ['']"]
    return str(error).splitlines()
