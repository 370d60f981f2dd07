"""A node in a context of its own, and the thread that spins it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import threading
from typing import TypeVar

import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

SomeNode = TypeVar('SomeNode', bound=Node)


@contextmanager
def spinning(make: Callable[[Context], SomeNode]) -> Iterator[SomeNode]:
    """Spin a node in a thread while the body runs; the caller's rclpy is left alone.

    Args:
        make: Makes the node in a context, which must be passed on to it.
    """
    context = Context()
    rclpy.init(context=context)
    executor = SingleThreadedExecutor(context=context)
    node = make(context)
    executor.add_node(node)
    thread = threading.Thread(target=_spin, args=(executor,), name='spinning')
    thread.start()
    try:
        yield node
    finally:
        context.try_shutdown()  # before the executor's own shutdown, which races with its spin
        thread.join()
        executor.shutdown()
        node.destroy_node()


def _spin(executor: SingleThreadedExecutor) -> None:
    try:
        executor.spin()
    except ExternalShutdownException:
        pass
    except RuntimeError:  # an RCLError, if the context went while the executor was busy
        if executor.context.ok():
            raise
