"""Faults on the way to a real node: it lives on, and every frame is answered or counted."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
import pytest

pytest.importorskip('rclpy')

from command import dcfm
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from random_messages import FRAME_IDS, STAMPS, images
from rclpy.serialization import serialize_message
from running_node import (
    WAIT_S,
    NodeProcess,
    Peer,
    make_checkpoint,
    running_node,
    running_peer,
    wait_for,
)
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger

from dcfm_ros.images.raw import image_to_rgb
from dcfm_ros.recordings.bag_writer import write_bag
from dcfm_ros.recordings.sources import synthetic_frames
from dcfm_ros.ros.messages import ns_to_stamp
from dcfm_ros.synthetic.drive import DriveConfig

NODE = '/faults/segmentation_node'
SECOND_NS = 1_000_000_000


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp('weights') / 'tiny.safetensors')


@pytest.fixture(scope='module')
def node(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """Two cameras: of one everything that is sent is counted, the other one dies."""
    values = {'cameras': '[good, mortal]', 'backend': 'torch', 'no_image_warning_s': 1.0}
    arguments = ('-r', '__ns:=/faults')
    log = tmp_path_factory.mktemp('node') / 'log'
    with running_node(log, *arguments, checkpoint=checkpoint, cpu_threads=1, **values) as process:
        yield process
        assert process.stop(signal.SIGTERM) == 0
        assert 'Traceback' not in process.log


@pytest.fixture(scope='module')
def peer(node: NodeProcess) -> Iterator[Peer]:
    with running_peer() as running:
        yield running


class Camera:
    """Sends images, counts them and compares the count with the node's."""

    def __init__(self, peer: Peer, name: str) -> None:
        self.peer = peer
        self.name = name
        self.sent = 0
        self.masks = peer.listen(Image, f'/faults/{name}/mask')
        self.timings = peer.listen(DiagnosticArray, f'{NODE}/{name}/timing')
        self.diagnostics = peer.listen(DiagnosticArray, '/diagnostics')

    def connect(self) -> None:
        self.images = self.peer.connect(f'/faults/{self.name}/image')

    def send(self, message: Image | bytes) -> None:
        self.images.publish(message)
        self.sent += 1

    def ask(self, message: Image) -> Image:
        """Send an image and return its mask."""
        self.send(message)
        return self.answer(self.masks, message.header)

    def ask_reason(self, stamp_ns: int) -> str:
        """Send an image with a stamp and return why it became a keyframe, if it did."""
        header = Header(stamp=ns_to_stamp(stamp_ns), frame_id=f'number {self.sent}')
        self.send(self.peer.image(header=header))
        return value_of(self.answer(self.timings, header).status[0], 'reason')

    def answer(self, received: list[Any], header: Header) -> Any:
        def found() -> list[Any]:
            return [message for message in received if message.header == header]

        wait_for(found, f'an answer to {header}')
        return found()[0]

    def status(self, task: str) -> DiagnosticStatus:
        name = f'{NODE}: {self.name} {task}'
        found = (s for message in reversed(self.diagnostics) for s in message.status)
        return next((s for s in found if s.name == name), DiagnosticStatus())

    def counts(self) -> dict[str, int]:
        """What the node has said last of the frames."""
        images, masks = self.status('images'), self.status('masks')
        values = {entry.key: entry.value for entry in (*images.values, *masks.values)}
        kinds = ('frames_received', 'frames_answered', 'dropped_')
        return {name: int(value) for name, value in values.items() if name.startswith(kinds)}

    def settled(self) -> dict[str, int]:
        """Counts of the node, once every frame that was sent is among them, and none twice."""
        wait_for(lambda: self.counts() and self.missing(self.counts()) == 0, 'all to be counted')
        return self.counts()

    def missing(self, counts: dict[str, int]) -> int:
        """Frames that are neither answered nor dropped; below 0: counted twice."""
        dropped = sum(count for name, count in counts.items() if name.startswith('dropped_'))
        return self.sent - counts['frames_answered'] - dropped


@pytest.fixture(scope='module')
def camera(peer: Peer) -> Camera:
    made = Camera(peer, 'good')
    made.connect()
    made.ask(peer.image())  # connected in both directions, once this is answered
    return made


def value_of(status: DiagnosticStatus, key: str) -> str:
    return next((entry.value for entry in status.values if entry.key == key), '')


MORTAL = """if True:
    import sys, time
    import numpy as np, rclpy
    from builtin_interfaces.msg import Time
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header

    rclpy.init()
    node = rclpy.create_node('mortal_camera')
    publisher = node.create_publisher(Image, '/faults/mortal/image', 10)
    while True:
        now = time.time_ns()
        stamp = Time(sec=now // 10**9, nanosec=now % 10**9)
        header = Header(stamp=stamp, frame_id=sys.argv[1])
        publisher.publish(
            Image(header=header, height=32, width=32, step=96, encoding='rgb8', data=bytes(3072))
        )
        time.sleep(0.05)
"""


def test_camera_that_is_killed_is_missed_and_its_return_is_answered(peer: Peer) -> None:
    camera = Camera(peer, 'mortal')
    for life in ('first', 'second'):
        process = subprocess.Popen([sys.executable, '-c', MORTAL, life])
        try:
            wait_for(lambda: [m for m in camera.masks if m.header.frame_id == life], 'a mask')  # noqa: B023
            wait_for(lambda: camera.status('images').level == DiagnosticStatus.OK, 'health')
        finally:
            process.kill()
            process.wait()
        wait_for(lambda: camera.status('images').level == DiagnosticStatus.WARN, 'a warning')
        assert 'no image for' in camera.status('images').message
        assert '/faults/mortal/image' in camera.status('images').message
    stamp = next(m.header for m in camera.masks if m.header.frame_id == 'second').stamp
    (timing,) = [t.status[0] for t in camera.timings if t.header.stamp == stamp]
    assert value_of(timing, 'reason') == 'time_gap'


def test_size_and_encoding_may_change_with_every_image(camera: Camera) -> None:
    kinds = [('rgb8', 48, 64, 3), ('mono8', 40, 80, 1), ('bgra8', 96, 32, 4), ('nv12', 32, 48, 1)]
    sent = {}
    for index in range(40):
        encoding, rows, columns, size = kinds[index % 4 if index < 20 else index % 3]
        message = camera.peer.image(rows * 3 // 2, columns * 2)  # more than enough data
        message.height, message.width, message.step = rows, columns, columns * size
        message.encoding = encoding
        sent[message.header.stamp.sec, message.header.stamp.nanosec] = (rows, columns)
        camera.send(message)
        time.sleep(0.02)
    camera.ask(camera.peer.image())
    counts = camera.settled()
    masks = {(m.header.stamp.sec, m.header.stamp.nanosec): m for m in camera.masks}
    answered = {stamp: masks[stamp] for stamp in sent if stamp in masks}
    assert len(answered) > 8
    for stamp, mask in answered.items():
        assert (mask.height, mask.width, len(mask.data)) == (
            *sent[stamp],
            mask.height * mask.width,
        )
    assert counts['frames_answered'] == len(camera.masks)


def test_stamps_that_run_backwards_make_keyframes(camera: Camera) -> None:
    start = time.time_ns()
    camera.ask_reason(start)
    reasons = [camera.ask_reason(start - number * 30_000_000) for number in range(1, 5)]
    assert reasons == ['time_jump'] * 4


def test_stamps_that_stand_still_are_no_jump(camera: Camera) -> None:
    """A driver that does not stamp sends zeros."""
    camera.ask_reason(SECOND_NS)
    reasons = [camera.ask_reason(0) for _ in range(6)]
    assert reasons == ['time_jump', '', '', 'interval', '', '']


def test_clock_that_is_set_makes_a_keyframe_once(camera: Camera) -> None:
    start, hour, frame = time.time_ns(), 3600 * SECOND_NS, 30_000_000
    camera.ask_reason(start)
    stamps = [start + hour, start + hour + frame, start + frame, start + 2 * frame]
    reasons = [camera.ask_reason(stamp) for stamp in stamps]
    assert reasons == ['time_gap', '', 'time_jump', '']


def test_burst_of_thousands_is_counted_and_its_last_image_answered(camera: Camera) -> None:
    camera.ask(camera.peer.image())
    before = camera.settled()
    message = camera.peer.image(8, 8)
    start_s = time.monotonic()
    for number in range(1, 5001):
        message.header.stamp.nanosec = number
        camera.send(message)
    seconds = time.monotonic() - start_s
    last = camera.answer(camera.masks, message.header)
    assert (last.height, last.width) == (8, 8)
    after = camera.settled()
    assert after['frames_answered'] - before['frames_answered'] < 5000
    assert after['frames_received'] > before['frames_received']
    assert 5000 / seconds > 1000.0, 'a burst, even on a busy machine'


def test_services_that_are_called_in_any_order_lose_no_frame(camera: Camera) -> None:
    is_over = threading.Event()

    def stream() -> None:
        while not is_over.wait(0.01):
            camera.images.publish(camera.peer.image(32, 32))

    thread = threading.Thread(target=stream)
    thread.start()
    names = ['deactivate', 'activate', 'enable', 'disable', 'reset', 'configure', 'cleanup']
    try:
        for name in random.Random(0).choices(names[:5] * 2 + names[5:], k=40):
            if name in ('enable', 'disable'):
                camera.peer.call(SetBool, f'{NODE}/enable', data=name == 'enable')
            elif name == 'reset':
                camera.peer.call(Trigger, f'{NODE}/reset')
            elif name != 'cleanup' or state(camera.peer) == 'active':  # there it is wrong
                change(camera.peer, name)
    finally:
        is_over.set()
        thread.join()
    if state(camera.peer) == 'inactive':
        assert change(camera.peer, 'activate')
    assert camera.peer.call(SetBool, f'{NODE}/enable', data=True).success
    wait_for(camera.images.get_subscription_count, 'the subscription')
    camera.ask(camera.peer.image())

    def is_even() -> bool:
        counts = camera.counts()  # what was sent while it was inactive is nobody's
        camera.sent = counts['frames_received'] + counts['dropped_lost']
        return camera.missing(counts) == 0 and counts['frames_answered'] == len(camera.masks)

    wait_for(is_even, 'every frame that came to be answered or counted')


def change(peer: Peer, name: str) -> bool:
    transition = Transition(label=name)
    return bool(peer.call(ChangeState, f'{NODE}/change_state', transition=transition).success)


def state(peer: Peer) -> str:
    return str(peer.call(GetState, f'{NODE}/get_state').current_state.label)


def test_bytes_that_are_no_message_are_counted_as_lost(camera: Camera) -> None:
    """As a publisher of another version of the type, or a broken network, sends them."""
    camera.ask(camera.peer.image())
    before = camera.settled()
    whole, source = serialize_message(camera.peer.image()), random.Random(1)
    for number in range(30):
        broken = bytearray(whole[: source.randrange(4, len(whole) - 1)])
        if number % 2:  # lengths of texts and data
            place = source.choice([12, 45, 56])
            broken[place : place + 4] = source.randbytes(4)
        camera.send(bytes(broken))
        time.sleep(0.01)
    camera.ask(camera.peer.image())
    after = camera.settled()
    assert after['dropped_lost'] - before['dropped_lost'] == 30
    assert after['frames_answered'] - before['frames_answered'] == 1


def is_image(message: Image) -> bool:
    try:
        image_to_rgb(message)
    except ValueError:
        return False
    return True


MESSAGES = st.tuples(images(st.sampled_from([0, 1, 3, 24, 32])), STAMPS, FRAME_IDS)


@settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # one node for all: what it did cannot be tried again
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(MESSAGES, min_size=40, max_size=60))
def test_any_messages_are_answered_or_counted_as_refused(
    camera: Camera, drawn: list[tuple[dict[str, Any], tuple[int, int], str]]
) -> None:
    for _ in range(20):  # on a busy machine one that is refused may be replaced by the next
        before, answers_before = camera.settled(), len(camera.masks)
        good = []
        for fields, (sec, nanosec), frame_id in drawn:
            message = Image(**fields)
            message.header.stamp.sec, message.header.stamp.nanosec = sec, nanosec
            message.header.frame_id = f'{camera.sent} {frame_id}'  # no two are the same
            if is_image(message):
                good.append(message.header)
                camera.ask(message)
            else:
                camera.send(message)
                time.sleep(0.01)
        camera.ask(camera.peer.image())
        after = camera.settled()
        gone = {name: after[name] - before[name] for name in after}
        if not gone['dropped_replaced'] + gone['dropped_lost']:
            break
    assert gone['frames_answered'] == len(good) + 1
    assert gone['dropped_refused'] == len(drawn) - len(good)
    assert gone['dropped_disabled'] == 0
    assert [mask.header for mask in camera.masks[answers_before:-1]] == good


def processes_with(mark: str) -> list[str]:
    """Command lines of the processes that were started with a variable of that name."""
    found = []
    for folder in Path('/proc').iterdir():
        try:
            if folder.name.isdigit() and mark.encode() in (folder / 'environ').read_bytes():
                found.append((folder / 'cmdline').read_text().replace('\0', ' '))
        except OSError:  # it has ended in the meantime, or is another user's
            continue
    return [line for line in found if line]  # a zombie has none


@pytest.mark.parametrize('moment', ['it loads', 'it works'])
def test_sigterm_leaves_no_process(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    mark = f'MARK_OF_{os.getpid()}_{moment.split()[1]}'
    monkeypatch.setenv(mark, '1')
    values = {'checkpoint': checkpoint, 'execution': 'async'}
    process = NodeProcess(tmp_path / 'log', '-r', '__ns:=/ending', **values)
    monkeypatch.delenv(mark)
    assert len(processes_with(mark)) == 1
    process.wait_for_log('loaded')
    if moment == 'it works':
        process.wait_for_log('ready on')
        with running_peer() as peer:
            masks = peer.listen(Image, '/ending/mask')
            images = peer.connect('/ending/image')
            while len(masks) < 5:
                images.publish(peer.image())
                time.sleep(0.005)
            assert process.stop(signal.SIGTERM) == 0
    start_s = time.monotonic()
    assert process.stop(signal.SIGTERM) == 0
    assert time.monotonic() - start_s < WAIT_S / 2
    assert 'Traceback' not in process.log
    assert not processes_with(mark)


def test_full_disk_ends_a_replay_and_its_node_and_leaves_nothing(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bag(tmp_path / 'bag', synthetic_frames(DriveConfig(num_frames=6, height=96, width=128)))
    mark = f'MARK_OF_{os.getpid()}_replay'
    monkeypatch.setenv(mark, '1')
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))  # writes beyond fail, as on one
    try:
        outcome = dcfm(
            'replay', tmp_path / 'bag', '--topic', '/camera/image_raw', '--online', '--report',
            tmp_path / 'report', '--checkpoint', checkpoint, '--backend', 'torch',
        )  # fmt: skip
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert outcome.returncode == 1
    assert 'the disk is full, nothing of the report was kept' in outcome.stderr
    assert [path.name for path in tmp_path.iterdir()] == ['bag']
    assert not processes_with(mark)
