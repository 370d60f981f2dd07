"""The node's peer: plays frames over DDS, collects the answers and accounts for every frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
import threading
import time

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
from numpy.typing import NDArray
import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dcfm_ros.diagnostics import DROP_CAUSES
from dcfm_ros.messages import array_to_image, ns_to_stamp, stamp_to_ns

_IDLE_S = 2.0
"""Diagnostics that come so long after the last frame count it, wherever it is."""
_NO_STAGES = ('feature_age_ms', 'wait_ms', 'latency_ms')
"""Times of ~/timing in which the node does nothing for the frame, or all that it does."""


@dataclass(frozen=True, kw_only=True)
class PlayedFrame:
    """An image to send."""

    image: NDArray[np.uint8]
    """RGB, (H, W, 3)."""
    stamp_ns: int
    """Header stamp in ns, at least 0; unlike that of any other frame of the same play."""
    frame_id: str = 'camera_optical_frame'


@dataclass(kw_only=True)
class FrameRecord:
    """What became of a frame."""

    index: int
    stamp_ns: int
    frame_id: str
    sent_s: float
    """When it was sent, s of a steady clock."""
    answered: bool = False
    """Whether a mask with exactly this header came back."""
    mask: NDArray[np.uint8] | None = None
    """The mask, (H, W); None if there is none or `on_mask` took it."""
    latency_ms: float | None = None
    """From sending the frame to receiving the mask."""
    timing: dict[str, str] = field(default_factory=dict)
    """What ~/timing said: is_keyframe, reason, independent_ms, ...; empty if nothing came."""

    @property
    def stage_ms(self) -> dict[str, float]:
        """Duration in ms of what the node did with the frame, by stage, as ~/timing said."""
        return {
            name.removesuffix('_ms'): float(value)
            for name, value in self.timing.items()
            if name.endswith('_ms') and name not in _NO_STAGES
        }


@dataclass(frozen=True, kw_only=True)
class PlayReport:
    """What became of all frames: sent == answered + dropped + unaccounted."""

    records: list[FrameRecord]
    dropped_by_cause: dict[str, int]
    """What the node counted as dropped during the play."""
    unexpected_masks: int
    """Masks whose header is that of no frame, or that came twice. Should be 0."""
    reported: dict[str, str]
    """Values of the node's last diagnostics: device, backend, checkpoint, ..."""

    @property
    def sent(self) -> int:
        """Frames sent."""
        return len(self.records)

    @property
    def answered(self) -> int:
        """Frames that came back as a mask."""
        return sum(record.answered for record in self.records)

    @property
    def dropped(self) -> int:
        """Frames that the node says it dropped."""
        return sum(self.dropped_by_cause.values())

    @property
    def unaccounted(self) -> int:
        """Frames that neither came back nor were counted as dropped. Should be 0."""
        return self.sent - self.answered - self.dropped


def play(
    frames: Iterable[PlayedFrame],
    *,
    rate_hz: float | None,
    namespace: str = 'segmentation',
    on_mask: Callable[[int, NDArray[np.uint8]], None] | None = None,
    reliability: str = 'reliable',
    wait_s: float = 30.0,
) -> PlayReport:
    """Play frames to a running node and wait for its answers.

    Args:
        frames: Taken one by one while playing.
        rate_hz: Frames per second; None: the next one when the last one is answered.
        namespace: Of the node.
        on_mask: Called with frame index and mask, (H, W), instead of keeping the masks; in another
            thread.
        reliability: 'reliable' or 'best_effort'.
        wait_s: How long to wait at most for the node to be active and connected, for the last
            answers and, without a rate, for each answer.

    Raises:
        ValueError: If an argument is wrong or two frames have the same stamp.
        TimeoutError: If the node is not there or not active; says what it reported.
    """
    if rate_hz is not None and rate_hz <= 0:
        raise ValueError(f'`rate_hz` must be above 0 or None, got {rate_hz}')
    if reliability not in ('reliable', 'best_effort'):
        raise ValueError(f"`reliability` must be 'reliable' or 'best_effort', got {reliability!r}")
    with _connected(namespace, reliability, on_mask) as player:
        player.wait_until_ready(wait_s)
        start_s = time.monotonic()
        for index, frame in enumerate(frames):
            if rate_hz is not None:
                time.sleep(max(0.0, start_s + index / rate_hz - time.monotonic()))
            player.send(frame)
            if rate_hz is None:
                player.wait_until_settled(wait_s)
        player.wait_until_settled(wait_s)
        return player.report()


@contextmanager
def _connected(
    namespace: str, reliability: str, on_mask: Callable[[int, NDArray[np.uint8]], None] | None
) -> Iterator[_Player]:
    """A player in a context of its own, so that a caller's rclpy is left alone."""
    context = Context()
    rclpy.init(context=context)
    executor = SingleThreadedExecutor(context=context)
    player = _Player(context, f'/{namespace.strip("/")}'.rstrip('/'), reliability, on_mask)
    executor.add_node(player)
    thread = threading.Thread(target=_spin, args=(executor,), name='player')
    thread.start()
    try:
        yield player
    finally:
        context.try_shutdown()  # before the executor's own shutdown, which races with its spin
        thread.join()
        executor.shutdown()
        player.destroy_node()


def _spin(executor: SingleThreadedExecutor) -> None:
    with suppress(ExternalShutdownException):
        executor.spin()


class _Player(Node):
    """Publisher and subscriptions; the executor's thread fills `_records`."""

    def __init__(
        self,
        context: Context,
        namespace: str,
        reliability: str,
        on_mask: Callable[[int, NDArray[np.uint8]], None] | None,
    ) -> None:
        super().__init__('dcfm_player', context=context, use_global_arguments=False)
        self._node_name = f'{namespace}/segmentation_node'
        self._on_mask_user = on_mask
        self._changed = threading.Condition()
        self._records: list[FrameRecord] = []
        self._index: dict[tuple[int, str], int] = {}
        self._unexpected = 0
        self._reported: dict[str, str] = {}  # values of the node's last diagnostics
        self._reported_s = 0.0
        self._dropped_before = dict.fromkeys(DROP_CAUSES, 0)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 100)
        timing = f'{self._node_name}/timing'
        self.create_subscription(DiagnosticArray, timing, self._on_timing, 100)
        self.create_subscription(Image, f'{namespace}/mask', self._on_mask, 100)
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy[reliability.upper()])
        self._images = self.create_publisher(Image, f'{namespace}/image', qos)

    def wait_until_ready(self, wait_s: float) -> None:
        """Wait until the node is active and both directions are matched at both ends."""
        end_s = time.monotonic() + wait_s
        with self._changed:
            while problem := self._not_ready():
                left_s = end_s - time.monotonic()
                if left_s <= 0:
                    raise TimeoutError(f'waited {wait_s:.0f} s for {self._node_name}: {problem}')
                self._changed.wait(min(left_s, 0.1))
            self._dropped_before = self._dropped_in_total()

    def send(self, frame: PlayedFrame) -> None:
        """Publish a frame and remember it."""
        header = Header(stamp=ns_to_stamp(frame.stamp_ns), frame_id=frame.frame_id)
        message = array_to_image(frame.image, 'rgb8', header)
        key = (frame.stamp_ns, frame.frame_id)
        with self._changed:
            if key in self._index:
                raise ValueError(f'`stamp_ns` must differ between frames, got {key[0]} twice')
            index = self._index[key] = len(self._records)
            record = FrameRecord(
                index=index,
                stamp_ns=frame.stamp_ns,
                frame_id=frame.frame_id,
                sent_s=time.monotonic(),
            )
            self._records.append(record)
        self._images.publish(message)

    def wait_until_settled(self, wait_s: float) -> None:
        """Wait until every frame is answered or dropped, or the node is idle, or time is up."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_settled() or self._is_idle(), wait_s)

    def report(self) -> PlayReport:
        """What is known so far."""
        with self._changed:
            return PlayReport(
                records=self._records,
                dropped_by_cause=self._dropped(),
                unexpected_masks=self._unexpected,
                reported=dict(self._reported),
            )

    def _not_ready(self) -> str:
        reported = self._reported
        if not reported:
            return 'no diagnostics of a node of that name'
        if reported['state'] != 'active':
            return f'it is {reported["state"]}: {reported["message"]}'
        topic = self._images.topic_name
        # All publishers, for a former one may still count where this one does not yet.
        are_known = int(reported['publishers']) == self.count_publishers(topic)
        if self._images.get_subscription_count() == 0 or not are_known:
            return f'it is not connected to {topic}'
        if reported['mask_subscribers'] == '0':
            return 'its mask is not connected'
        return ''

    def _is_settled(self) -> bool:
        waiting = sum(not (record.answered and record.timing) for record in self._records)
        return waiting <= sum(self._dropped().values())

    def _is_idle(self) -> bool:
        """Whether the node has nothing under way, so that what is missing will not come."""
        if self._reported_s < self._records[-1].sent_s + _IDLE_S:
            return False
        done = int(self._reported['frames_answered']) - int(self._reported['frames_received'])
        total = self._dropped_in_total()
        return done + sum(total.values()) - total['lost'] == 0

    def _dropped(self) -> dict[str, int]:
        total, before = self._dropped_in_total(), self._dropped_before
        return {cause: total[cause] - before[cause] for cause in DROP_CAUSES}

    def _dropped_in_total(self) -> dict[str, int]:
        return {cause: int(self._reported[f'dropped_{cause}']) for cause in DROP_CAUSES}

    def _find(self, header: Header) -> FrameRecord | None:
        index = self._index.get((stamp_to_ns(header.stamp), header.frame_id))
        return None if index is None else self._records[index]

    def _on_mask(self, message: Image) -> None:
        now_s = time.monotonic()
        with self._changed:
            record = self._find(message.header)
            if record is None or record.answered:
                self._unexpected += 1
                return
            record.latency_ms = (now_s - record.sent_s) * 1e3
            mask = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)
            if self._on_mask_user is None:
                record.mask = mask
            record.answered = True
            self._changed.notify_all()
        if self._on_mask_user is not None:
            self._on_mask_user(record.index, mask)

    def _on_timing(self, message: DiagnosticArray) -> None:
        with self._changed:
            if (record := self._find(message.header)) is not None:
                record.timing = {entry.key: entry.value for entry in message.status[0].values}
                self._changed.notify_all()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        prefix = f'{self._node_name}: '
        own = {s.name.removeprefix(prefix): s for s in message.status if s.name.startswith(prefix)}
        if 'model' not in own:
            return
        values = {entry.key: entry.value for status in own.values() for entry in status.values}
        with self._changed:
            self._reported = {**values, 'message': own['model'].message}
            self._reported_s = time.monotonic()
            self._changed.notify_all()
