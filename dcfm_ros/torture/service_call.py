"""Calls a service of a node from a thread that does not spin."""

from __future__ import annotations

import time
from typing import Any

from rclpy.node import Node


def call(caller: Node, kind: Any, name: str, wait_s: float, **fields: Any) -> Any:
    """The answer of a service.

    Args:
        caller: Another thread spins it.
        kind: Type of the service.
        name: Fully qualified.
        wait_s: For the service, and for its answer.
        fields: Of the request.

    Raises:
        TimeoutError: If there is no such service, or no answer.
    """
    client = caller.create_client(kind, name)
    try:
        end_s = time.monotonic() + wait_s
        has_service = client.wait_for_service(wait_s)
        future = client.call_async(kind.Request(**fields))
        while not (has_service and future.done()):
            if time.monotonic() > end_s:
                raise TimeoutError(f'waited {wait_s:.0f} s for {name}')
            time.sleep(0.001)
        return future.result()
    finally:
        caller.destroy_client(client)
