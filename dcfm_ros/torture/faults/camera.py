"""A camera and a listener in one: sends pictures to a node, checks and counts what comes back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
import threading
import time
from typing import Any
import zlib

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dcfm_ros.ros.health.status import NodeHealth
from dcfm_ros.ros.messages import ns_to_stamp
from dcfm_ros.torture.faults.pictures import NUM_USUAL, Picture

NODE = '/segmentation/segmentation_node'
IMAGE, MASK = '/segmentation/image', '/segmentation/mask'


class Camera(Node):
    """Every image says in its `frame_id` which picture it is, so that any mask can be checked.

    A thread of its own spins it, see `spinning`.
    """

    def __init__(self, context: Context, pictures: Sequence[Picture]) -> None:
        super().__init__('torture_camera', context=context, use_global_arguments=False)
        self.pictures = pictures
        self.sent = 0
        self.masks: Counter[str] = Counter()
        """By what they were: 'right', 'wrong' or 'unexpected' (of no image, or twice)."""
        self.is_checking = True
        """Off while parameters are set on which masks depend: all are right then."""
        self.health = NodeHealth()
        self._health_s = 0.0
        self._changed = threading.Condition()
        self._right_at: dict[str, float] = {}
        self._sent_ids: set[str] = set()
        self._stamp_ns = 0
        quiet = PublisherEventCallbacks(use_default_callbacks=False)
        self._images = self.create_publisher(Image, IMAGE, 10, event_callbacks=quiet)
        self.create_subscription(Image, MASK, self._on_mask, 100)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 100)

    @property
    def is_connected(self) -> bool:
        """Whether a node gets the images."""
        return bool(self._images.get_subscription_count())

    def good(self, number: int) -> Image:
        """A picture that a node must answer, with a header of its own; usual ones come first."""
        with self._changed:
            self._stamp_ns = max(time.time_ns(), self._stamp_ns + 1)
            header = Header(stamp=ns_to_stamp(self._stamp_ns))
            header.frame_id = f'camera {self.sent} {number}'
        return self.pictures[number].message(header)

    def send(self, message: Image | bytes) -> None:
        """Publish an image, or bytes that should be one."""
        with self._changed:
            self.sent += 1
            if isinstance(message, Image):
                self._sent_ids.add(message.header.frame_id)
        self._images.publish(message)

    def send_usual(self) -> str:
        """Send a usual picture; its `frame_id`."""
        message = self.good(self.sent % NUM_USUAL)
        self.send(message)
        return str(message.header.frame_id)

    def wait_for_right(self, frame_ids: Sequence[str], wait_s: float) -> str | None:
        """The first of these images that is answered rightly within a time, or None."""

        def first() -> str | None:
            return next((name for name in frame_ids if name in self._right_at), None)

        with self._changed:
            self._changed.wait_for(first, wait_s)
            return first()

    def wait_for_health(self, holds: Callable[[NodeHealth], bool], wait_s: float) -> bool:
        """Whether the node says something within a time, later than now."""
        begin_s = time.monotonic()
        with self._changed:
            return self._changed.wait_for(
                lambda: self._health_s > begin_s and holds(self.health), wait_s
            )

    def forget(self) -> None:
        """Begin to count anew; masks of images from before are unexpected then."""
        with self._changed:
            self.sent = 0
            self.masks.clear()
            self._right_at.clear()
            self._sent_ids.clear()

    def in_its_thread(self, action: Callable[[], Any]) -> Any:
        """The result of what only the thread that spins may do, such as to destroy something."""
        assert self.executor is not None
        task = self.executor.create_task(action)
        end_s = time.monotonic() + 30.0
        while not task.done():
            if time.monotonic() > end_s:
                raise TimeoutError('the thread of the camera does not spin any more')
            time.sleep(0.002)
        return task.result()

    def _on_mask(self, message: Image) -> None:
        now_s, name = time.monotonic(), str(message.header.frame_id)
        words = name.split()
        is_right = not self.is_checking or (
            len(words) == 3 and zlib.crc32(message.data) in self.pictures[int(words[2])].masks
        )
        with self._changed:
            is_own = name in self._sent_ids or not name.startswith('camera ')
            if name in self._right_at or not is_own:
                self.masks['unexpected'] += 1
            elif is_right:
                self.masks['right'] += 1
                self._right_at[name] = now_s
            else:
                self.masks['wrong'] += 1
            self._changed.notify_all()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        prefix = f'{NODE}: '
        own = {s.name.removeprefix(prefix): s for s in message.status if s.name.startswith(prefix)}
        if 'model' not in own:
            return
        values = {
            task: {entry.key: entry.value for entry in status.values}
            for task, status in own.items()
        }
        with self._changed:
            self.health = NodeHealth.from_values(values, own['model'].message)
            self._health_s = time.monotonic()
            self._changed.notify_all()
