"""One camera of a segmentation node, seen from outside: images to it, and what comes back."""

from __future__ import annotations

from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from peer import Diagnostics, Peer, answer_to, values_of
from running_node import NODE, wait_for
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger


class Stream:
    """Sends one image at a time, or more than the node can take.

    Args:
        peer: Publishes and listens.
        node: Fully qualified name.
        camera: One of several; '' for the only one of a node.
        size: Of the images, rows and columns.
    """

    def __init__(
        self, peer: Peer, node: str = NODE, camera: str = '', size: tuple[int, int] = (96, 128)
    ) -> None:
        self.peer = peer
        self.node = node
        self.camera = camera
        self.size = size
        self.sent = 0
        self.topics = '/'.join(filter(None, (node.rpartition('/')[0], camera)))
        self.masks: list[Image] = peer.listen(Image, f'{self.topics}/mask')
        timing = '/'.join(filter(None, (node, camera, 'timing')))
        self.timings: list[Any] = peer.listen(DiagnosticArray, timing)
        self.diagnostics = Diagnostics(peer, node)
        self.images = peer.connect(f'{self.topics}/image')
        self._outputs: dict[str, list[Image]] = {}
        self.ask_timing()  # connected in both directions, once this is answered

    def image(self, **fields: Any) -> Image:
        image = self.peer.image(*self.size, **fields)
        if self.camera and 'header' not in fields:
            image.header.frame_id = self.camera
        return image

    def images_of(self, count: int) -> list[Image]:
        return [self.image() for _ in range(count)]

    def send(self, image: Image | bytes) -> None:
        self.images.publish(image)
        self.sent += 1

    def ask(self, image: Image | None = None) -> Image:
        """Send an image and return its mask."""
        message = self.image() if image is None else image
        self.send(message)
        mask: Image = answer_to(self.masks, message.header)
        return mask

    def ask_timing(self, image: Image | None = None) -> dict[str, str]:
        """Send an image and return what ~/timing says of it."""
        header = self.ask(image).header
        (status,) = answer_to(self.timings, header).status
        return values_of(status)

    def output(self, topic: str) -> list[Image]:
        """What comes on one of the topics that cost the node nothing without a subscriber."""
        if topic not in self._outputs:
            self._outputs[topic] = self.peer.listen(Image, f'{self.topics}/{topic}')
            wait_for(lambda: self.ask() and self._outputs[topic], topic)
        return self._outputs[topic]

    def reasons(self, *images: Image) -> list[str]:
        """Why each of the images was a keyframe, '' if it was none, after a reset."""
        self.reset()
        return [self.ask_timing(image)['reason'] for image in images]

    def reset(self) -> None:
        assert self.peer.call(Trigger, f'{self.node}/reset').success

    def task(self, name: str) -> str:
        """A task of the diagnostics, as the node calls it for this camera."""
        return f'{self.camera} {name}'.strip()

    def count(self, *names: str) -> int:
        """Sum of counters, as the diagnostics said them last; 'dropped': of all causes."""
        values = self.diagnostics.values(self.task('images'))
        values |= self.diagnostics.values(self.task('masks'))
        return sum(int(value) for key, value in values.items() if key.startswith(names))
