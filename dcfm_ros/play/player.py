"""Plays frames over DDS to a running node: at a rate, as recorded, or one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import time

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.play.player_node import Check, OnMask, PlayerNode
from dcfm_ros.play.report import PlayReport
from dcfm_ros.play.spinning import spinning


@dataclass(frozen=True, kw_only=True)
class PlayedFrame:
    """An image to send."""

    image: NDArray[np.uint8] | bytes
    """RGB, (H, W, 3); if played as compressed, the content of a JPEG or PNG file."""
    stamp_ns: int
    """Header stamp in ns, at least 0; unlike that of any other frame of the same play."""
    frame_id: str = 'camera_optical_frame'


@contextmanager
def connect(
    *,
    namespace: str = 'segmentation',
    reliability: str = 'reliable',
    image_transport: str = 'raw',
    on_mask: OnMask | None = None,
    check: Check | None = None,
) -> Iterator[PlayerNode]:
    """Connect to a node, in a context of its own, which leaves the caller's rclpy alone.

    Args:
        namespace: Of the node.
        reliability: 'reliable' or 'best_effort'.
        image_transport: 'raw' or 'compressed', as the parameter of the node.
        on_mask: Called with frame index and mask, (H, W), in another thread, before the frame
            counts as answered; None: the masks are kept.
        check: Called while the player waits and before each frame; what it raises ends the play.

    Raises:
        ValueError: If an argument is wrong.
    """
    if reliability not in ('reliable', 'best_effort'):
        raise ValueError(f"`reliability` must be 'reliable' or 'best_effort', got {reliability!r}")
    if image_transport not in ('raw', 'compressed'):
        allowed = "'raw' or 'compressed'"
        raise ValueError(f'`image_transport` must be {allowed}, got {image_transport!r}')
    name = f'/{namespace.strip("/")}'.rstrip('/')
    with spinning(
        lambda context: PlayerNode(context, name, reliability, image_transport, on_mask, check)
    ) as node:
        yield node


def play(
    player: PlayerNode,
    frames: Iterable[PlayedFrame],
    *,
    rate_hz: float | None = None,
    timeline: bool = False,
    wait_s: float = 30.0,
) -> PlayReport:
    """Play frames and wait for the answers; one play after the other.

    Args:
        player: Of `connect`.
        frames: Read one by one while playing.
        rate_hz: Frames per second; None: each when the last one is answered.
        timeline: Send at the intervals of the stamps instead; after a step back at once.
        wait_s: Longest wait for the node to be active and connected, for the last answers
            and, without a rate, for each answer.

    Raises:
        ValueError: If an argument is wrong or two frames have the same stamp.
        TimeoutError: If the node is absent or not active; with its state, or the other nodes.
        Exception: What the player's `check` raises.
    """
    if rate_hz is not None and (rate_hz <= 0 or timeline):
        allowed = 'None with `timeline`' if timeline else 'above 0 or None'
        raise ValueError(f'`rate_hz` must be {allowed}, got {rate_hz}')
    player.wait_until_ready(wait_s)
    player.begin()
    is_paced = timeline or rate_hz is not None
    for frame in when_due(frames, rate_hz) if is_paced else frames:
        player.send(frame.image, frame.stamp_ns, frame.frame_id)
        if not is_paced:
            player.wait_until_settled(wait_s)
    player.wait_until_settled(wait_s)
    return player.report()


def when_due(frames: Iterable[PlayedFrame], rate_hz: float | None) -> Iterator[PlayedFrame]:
    """Yield each frame when it is due, by the rate or by the stamps."""
    due_s = last_ns = None
    for frame in frames:
        if due_s is None or last_ns is None:
            due_s = time.monotonic()
        else:
            due_s += 1 / rate_hz if rate_hz else max(frame.stamp_ns - last_ns, 0) * 1e-9
        last_ns = frame.stamp_ns
        time.sleep(max(0.0, due_s - time.monotonic()))
        yield frame
