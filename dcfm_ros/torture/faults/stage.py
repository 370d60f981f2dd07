"""Where faults happen: a node, the camera that it answers, and how both come back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count as count_from
from pathlib import Path
from random import Random
import sys
import threading
import time
from typing import Any

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from std_srvs.srv import SetBool, Trigger

from dcfm_ros.ros.health.status import NodeHealth
from dcfm_ros.torture.faults.camera import NODE, Camera
from dcfm_ros.torture.faults.pictures import NODE_OPTIONS
from dcfm_ros.torture.faults.process import Ending, Watched
from dcfm_ros.torture.service_call import call

WAIT_S = 60.0
_ASK_S = 0.1
_STREAM_S = 0.05
_NUM_CODA = 3
_SETTLE_S = 10.0
_TO_ACTIVE = {'unconfigured': ('configure', 'activate'), 'inactive': ('activate',)}


@dataclass(frozen=True)
class Balance:
    """What became of the images since a moment; all 0 if every one is accounted for."""

    in_node: int
    """Images that the node received and neither answered nor counted as dropped."""
    of_masks: int
    """Masks that it published and that did not come here."""
    on_the_way: int
    """Images that it neither received nor counted as lost."""


EVEN = Balance(0, 0, 0)


class Stage:
    """A node process and the camera; what is random comes from `random`, new for each fault.

    Args:
        camera: Spun by a thread.
        folder: For logs.
    """

    def __init__(self, camera: Camera, folder: Path) -> None:
        self.camera = camera
        self.folder = folder
        self.random = Random(0)
        self.node: Watched
        self._numbers = count_from()
        self._before = NodeHealth()
        self._asking: Any = None

    def launch(self, program: Sequence[str] = ('-m', 'dcfm_ros.node')) -> None:
        """Start a node process, and do not wait for it; its counters begin at 0."""
        command = [sys.executable, *program, '--ros-args', '-p', 'no_image_warning_s:=1.0']
        for name, value in NODE_OPTIONS.items():
            command += ['-p', f'{name}:={value}']
        log = self.folder / f'faults_node_{next(self._numbers) % 20}.log'
        self.node = Watched(command, log)
        self._before = NodeHealth()
        self.camera.forget()

    def wait_until_ready(self) -> None:
        """Wait until the node is active and connected in both directions.

        Raises:
            TimeoutError: With the end of its log.
        """
        end_s = time.monotonic() + WAIT_S

        def is_ready(health: NodeHealth) -> bool:
            connected = health.publishers == 1 and health.mask_subscribers > 0
            return connected and health.state == 'active'

        while not (self.camera.wait_for_health(is_ready, 1.0) and self.camera.is_connected):
            if time.monotonic() > end_s or not self.node.is_running:
                raise TimeoutError(f'the node is not ready: {self.node.output[-2000:]}')

    def start(self) -> None:
        """Launch a node and have it answer an image, for which its network is compiled.

        Raises:
            TimeoutError: If it does not.
        """
        self.launch()
        self.wait_until_ready()
        if self.recover(WAIT_S) is None:
            raise TimeoutError(f'the node answers no image: {self.node.output[-2000:]}')

    def close(self) -> None:
        """End the node, however it is."""
        if hasattr(self, 'node') and self.node.is_running:
            self.node.kill()

    @contextmanager
    def stream(self, numbers: Sequence[int] = (0, 1, 2, 3)) -> Iterator[None]:
        """Have pictures sent at 20 Hz, in a thread, while the body runs."""
        is_over = threading.Event()

        def run() -> None:
            for index in count_from():
                self.camera.send(self.camera.good(numbers[index % len(numbers)]))
                if is_over.wait(_STREAM_S):
                    return

        thread = threading.Thread(target=run, name='stream')
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def recover(self, wait_s: float) -> tuple[float, int] | None:
        """Send good images, as a camera does, until one of them is answered rightly.

        Returns:
            Seconds from the first one to the mask, and how many images had to be sent; None: none
            was answered in time.
        """
        begin_s = time.monotonic()
        asked: list[str] = []
        while time.monotonic() - begin_s < wait_s:
            asked.append(self.camera.send_usual())
            if answered := self.camera.wait_for_right(asked, _ASK_S):
                return time.monotonic() - begin_s, asked.index(answered) + 1
        return None

    def begin_to_count(self) -> None:
        """Take the counters of now as the beginning; the node is idle.

        Lost images are known with one publisher only: one that was killed stays until its lease
        is over.
        """
        if not self.camera.wait_for_health(lambda health: health.publishers == 1, WAIT_S):
            raise TimeoutError(f'waited {WAIT_S:.0f} s for other publishers to be missed')
        self.settle(is_exact=False)
        self.camera.forget()
        self._before = self.camera.health

    def settle(self, is_exact: bool = True) -> Balance:
        """Wait until every image is accounted for, or for a while; what is missing.

        Args:
            is_exact: Otherwise only those that the node has received.
        """

        def is_even(health: NodeHealth) -> bool:
            balance = self._balance(health)
            return balance == EVEN if is_exact else not balance.in_node

        self.camera.wait_for_health(is_even, _SETTLE_S)
        return self._balance(self.camera.health)

    def coda(self) -> int:
        """Send a few usual images one by one; how many were not answered rightly."""
        return sum(
            self.camera.wait_for_right([self.camera.send_usual()], WAIT_S) is None
            for _ in range(_NUM_CODA)
        )

    def change(self, transition: str) -> bool:
        """Whether a transition of the node succeeded."""
        asked = Transition(label=transition)
        return bool(self.call(ChangeState, 'change_state', transition=asked).success)

    def begin_change(self, transition: str) -> None:
        """Ask for a transition, and do not wait for it."""
        camera, former = self.camera, self._asking
        if former is not None:
            camera.in_its_thread(lambda: camera.destroy_client(former))
        client = self._asking = camera.create_client(ChangeState, f'{NODE}/change_state')
        self.wait_for(client.service_is_ready, 'the service of transitions')
        client.call_async(ChangeState.Request(transition=Transition(label=transition)))

    def activate(self) -> None:
        """Have an enabled, active node, wherever it is now."""
        state = self.call(GetState, 'get_state').current_state.label
        for transition in _TO_ACTIVE.get(state, ()):
            assert self.change(transition), self.node.output[-2000:]
        assert self.call(SetBool, 'enable', data=True).success

    def reset(self) -> None:
        """Make the next image a keyframe."""
        assert self.call(Trigger, 'reset').success

    def call(self, kind: Any, service: str, **fields: Any) -> Any:
        """The answer of a service of the node."""
        return call(self.camera, kind, f'{NODE}/{service}', WAIT_S, **fields)

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something that is sure to happen.

        Raises:
            TimeoutError: If it does not.
        """
        end_s = time.monotonic() + WAIT_S
        while not condition():
            if time.monotonic() > end_s:
                raise TimeoutError(f'waited {WAIT_S:.0f} s for {what}')
            time.sleep(0.01)

    def _balance(self, health: NodeHealth) -> Balance:
        before, dropped = self._before, dict(health.dropped)
        received = health.frames_received - before.frames_received
        answered = health.frames_answered - before.frames_answered
        gone = {name: count - before.dropped[name] for name, count in dropped.items()}
        lost = gone.pop('lost')
        return Balance(
            in_node=received - answered - sum(gone.values()),
            of_masks=answered - self.camera.masks.total(),
            on_the_way=self.camera.sent - received - lost,
        )


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong.

    Args:
        name: In words.
        cause: Does it, and returns when it is over; how a process ended if one had to.
        is_exact: Whether every image that is sent meanwhile can be accounted for: the node stays
            subscribed, and there is one publisher, which lives and is reliable.
        due_code: Exit code of the process that has to end.
        of_node: Whether the node is meant; otherwise it is not looked at afterwards.
        compiles: Whether the network was loaded anew, or images of sizes came that its stages were
            not compiled for; the next image may have to wait for that.
    """

    name: str
    cause: Callable[[Stage], Ending | None]
    is_exact: bool = True
    due_code: int = 0
    of_node: bool = True
    compiles: bool = False
