"""A node process that hostile and good messages are sent to, with a count of both."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path
import random
import re
import time
from typing import Any

from std_msgs.msg import Header

from dcfm_ros.play.node_process import ros_process
from dcfm_ros.ros.messages import ns_to_stamp
from dcfm_ros.torture.peer import Peer, wait_until
from dcfm_ros.torture.process_state import process_state
from dcfm_ros.torture.targets import Target

_START_S = 60.0
_ANSWER_S = 10.0
_COUNT_S = 15.0
_OWN_LINE = re.compile(rb'^\[(?:DEBUG|INFO|WARN|ERROR|FATAL)\] ', re.MULTILINE)
_SETTLE_S = 0.005
"""For what a node keeps, sent on one topic, to be there before what is sent on another."""


class NodeUnderFire:
    """The process of a target; `start` it, and again if it has died.

    Args:
        target: What it is.
        peer: Publishes and listens.
        folder: For its log.
    """

    def __init__(self, target: Target, peer: Peer, folder: Path) -> None:
        self.target = target
        self._peer = peer
        self._folder = folder
        self._open = ExitStack()
        self._answers: dict[tuple[int, int], int] = {}
        self._stamp_ns = 0
        self._sent = 0
        self._holds_hostile = False
        self._topics = list(target.inputs)
        self._images = [topic for topic, item in target.inputs.items() if not item.is_state]
        self._weights = [target.inputs[topic].weight for topic in self._topics]
        self._publishers = {
            topic: peer.create_publisher(item.kind, f'/{target.name}/{topic}', item.qos)
            for topic, item in target.inputs.items()
        }
        topic, kind = target.answer
        peer.create_subscription(kind, f'/{target.name}/{topic}', self._on_answer, 100)
        self.expected: int | None = None
        """CRC-32 of the answer; None: that of the first one, before any hostile message."""

    def start(self) -> None:
        """Start the process and wait for its first answer.

        Raises:
            TimeoutError: If it does not answer.
        """
        self.stop()
        target = self.target
        self._open = ExitStack()
        logs = len(list(self._folder.glob(f'{target.name}_*.log')))  # one of a crash is kept
        self._log = self._folder / f'{target.name}_{logs}.log'
        self._process = self._open.enter_context(
            ros_process(target.program, target.parameters, self._log, namespace=target.name)
        )
        self._answers.clear()

        end_s = time.monotonic() + _START_S
        while (first := self._ask(wait_s=0.5, with_state=True)) is None:
            if time.monotonic() > end_s:
                raise TimeoutError(f'{target.full_name} did not answer, see {self._log}')
        if self.expected is None:
            self.expected = first
        # What it missed before it was connected is not its to count.
        counted = self._counted(_COUNT_S)
        self._sent = sum(counted.values()) if counted else 0

    def stop(self) -> None:
        """End the process, if there is one."""
        self._open.close()

    @property
    def has_died(self) -> bool:
        """Whether the process has ended by itself."""
        return self._process.poll() is not None

    @property
    def log_lines(self) -> int:
        """Lines that the node has logged so far; libraries write to the same file."""
        return len(_OWN_LINE.findall(self._log.read_bytes()))

    def attack(self, rng: random.Random) -> None:
        """Send a hostile message."""
        (topic,) = rng.choices(self._topics, self._weights)
        item = self.target.inputs[topic]
        message = item.draw(rng)
        self._holds_hostile |= item.is_state
        has_others = len(self._images) > 1 and topic in self._images
        if has_others and hasattr(message, 'header') and rng.random() < 0.5:
            # It is looked into if the others of its stamp are there.
            message.header = self._new_header()
            self._show(self.target.make_good(message.header) | {topic: message})
        else:
            self._publish(topic, message)

    def ask(self) -> str:
        """Send a good message: 'right', 'wrong' or 'unanswered'."""
        if self._holds_hostile:
            self._ask(_ANSWER_S, with_state=True)  # it may have overtaken what it stands on
            self._holds_hostile = False
        found = self._ask(_ANSWER_S)
        if found is None:
            return 'unanswered'
        return 'right' if found == self.expected else 'wrong'

    def account(self) -> Counter[str]:
        """How many messages were 'sent', 'refused' and are 'unaccounted', of those counted."""

        def missing() -> int | None:
            counted = self._counted(2.5)
            return None if counted is None else self._sent - sum(counted.values())

        wait_until(lambda: missing() == 0, _COUNT_S)
        left = missing()
        values = self._peer.values(self.target.full_name)
        return Counter(
            sent=self._sent,
            refused=int(values.get(self.target.refusals, 0)),
            unaccounted=self._sent if left is None else abs(left),
        )

    def state(self) -> dict[str, Any]:
        """What the process holds, see `process_state`."""
        return process_state(self._process.pid)

    def _ask(self, wait_s: float, *, with_state: bool = False) -> int | None:
        header = self._new_header()
        good = self.target.make_good(header)
        if with_state:
            for topic in good.keys() - set(self._images):
                self._publish(topic, good[topic])
            time.sleep(_SETTLE_S)
        self._show(good)
        key = header.stamp.sec, header.stamp.nanosec
        wait_until(lambda: key in self._answers or self.has_died, wait_s)
        return self._answers.pop(key, None)

    def _new_header(self) -> Header:
        """Stamps of now, and no two the same."""
        self._stamp_ns = max(time.time_ns(), self._stamp_ns + 1_000_000)
        return Header(stamp=ns_to_stamp(self._stamp_ns), frame_id='camera_optical_frame')

    def _show(self, messages: dict[str, Any]) -> None:
        for topic in self._images:
            self._publish(topic, messages[topic])
            if topic != self._images[-1]:
                time.sleep(_SETTLE_S)  # a mask is later than its depth image, as on a robot

    def _publish(self, topic: str, message: Any) -> None:
        self._publishers[topic].publish(message)
        self._sent += topic == self.target.counted

    def _counted(self, wait_s: float) -> dict[str, int] | None:
        """What became of messages, in diagnostics that are newer than now; None if none come."""
        now_s = time.monotonic()
        name = self.target.full_name

        def newest() -> dict[str, int]:
            values = self._peer.values(name, now_s)
            return {key: int(value) for key, value in values.items() if self.target.ends(key)}

        return newest() if wait_until(newest, wait_s, 0.05) else None

    def _on_answer(self, message: Any) -> None:
        stamp = message.header.stamp
        self._answers[stamp.sec, stamp.nanosec] = self.target.checksum(message)
        while len(self._answers) > 1000:  # those to hostile messages
            self._answers.pop(next(iter(self._answers)))
