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
from peer import Diagnostics, Peer, answer_to, values_of
from processes import processes_with
from random_messages import FRAME_IDS, STAMPS, images
from rclpy.serialization import serialize_message
from running_node import NodeProcess, running_node, wait_for
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger
from stream import Stream

from dcfm_ros.images.raw import image_to_rgb
from dcfm_ros.recordings.bag_writer import write_bag
from dcfm_ros.recordings.sources import synthetic_frames
from dcfm_ros.ros.messages import ns_to_stamp
from dcfm_ros.synthetic.drive import DriveConfig

pytestmark = pytest.mark.dds
NODE = '/faults/segmentation_node'
SECOND_NS = 1_000_000_000


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
def camera(peer: Peer) -> Stream:
    return Stream(peer, NODE, 'good')


def ask_reason(camera: Stream, stamp_ns: int) -> str:
    """Send an image with a stamp and return why it became a keyframe, if it did."""
    header = Header(stamp=ns_to_stamp(stamp_ns), frame_id=f'number {camera.sent}')
    return camera.ask_timing(camera.image(header=header))['reason']


def missing(camera: Stream) -> int:
    """Frames that are neither answered nor dropped, says the node; below 0: counted twice."""
    return camera.sent - camera.count('frames_answered', 'dropped_')


def settle(camera: Stream) -> None:
    """Wait until every frame that was sent is counted, and none twice."""
    wait_for(lambda: missing(camera) == 0, 'all to be counted')


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
    masks = peer.listen(Image, '/faults/mortal/mask')
    timings = peer.listen(DiagnosticArray, f'{NODE}/mortal/timing')
    health = Diagnostics(peer, NODE)
    for life in ('first', 'second'):
        process = subprocess.Popen([sys.executable, '-c', MORTAL, life])
        try:
            wait_for(lambda: [m for m in masks if m.header.frame_id == life], 'a mask')  # noqa: B023
            health.wait_for_level('mortal images', DiagnosticStatus.OK)
        finally:
            process.kill()
            process.wait()
        status = health.wait_for_level('mortal images', DiagnosticStatus.WARN)
        assert 'no image for' in status.message
        assert '/faults/mortal/image' in status.message
    header = next(mask.header for mask in masks if mask.header.frame_id == 'second')
    assert values_of(answer_to(timings, header).status[0])['reason'] == 'time_gap'


def test_size_and_encoding_may_change_with_every_image(camera: Stream) -> None:
    kinds = [('rgb8', 48, 64, 3), ('mono8', 40, 80, 1), ('bgra8', 96, 32, 4), ('nv12', 32, 48, 1)]
    for index in range(20):
        encoding, rows, columns, size = kinds[index % 4 if index < 10 else index % 3]
        message = camera.peer.image(rows * 3 // 2, columns * 2)  # more than enough data
        message.height, message.width, message.step = rows, columns, columns * size
        message.encoding = encoding
        mask = camera.ask(message)
        assert (mask.height, mask.width, len(mask.data)) == (rows, columns, rows * columns)


def test_stamps_that_run_backwards_make_keyframes(camera: Stream) -> None:
    start = time.time_ns()
    ask_reason(camera, start)
    reasons = [ask_reason(camera, start - number * 30_000_000) for number in range(1, 5)]
    assert reasons == ['time_jump'] * 4


def test_stamps_that_stand_still_are_no_jump(camera: Stream) -> None:
    """A driver that does not stamp sends zeros."""
    ask_reason(camera, SECOND_NS)
    reasons = [ask_reason(camera, 0) for _ in range(6)]
    assert reasons == ['time_jump', '', '', 'interval', '', '']


def test_clock_that_is_set_makes_a_keyframe_once(camera: Stream) -> None:
    start, hour, frame = time.time_ns(), 3600 * SECOND_NS, 30_000_000
    ask_reason(camera, start)
    stamps = [start + hour, start + hour + frame, start + frame, start + 2 * frame]
    reasons = [ask_reason(camera, stamp) for stamp in stamps]
    assert reasons == ['time_gap', '', 'time_jump', '']


def test_burst_of_thousands_is_counted_and_its_last_image_answered(camera: Stream) -> None:
    camera.ask()
    settle(camera)
    answered, received = camera.count('frames_answered'), camera.count('frames_received')
    message = camera.peer.image(8, 8)
    for number in range(1, 5001):
        message.header.stamp.nanosec = number
        camera.send(message)
    last = answer_to(camera.masks, message.header)
    assert (last.height, last.width) == (8, 8)
    settle(camera)
    assert camera.count('frames_answered') - answered < 5000, 'not a burst'
    assert camera.count('frames_received') > received


def test_node_that_stood_still_resubscribes_and_loses_no_count(
    camera: Stream, node: NodeProcess
) -> None:
    camera.ask()
    settle(camera)
    warning = 'nothing received on /faults/good/image since'
    before = node.log.count(warning)
    os.kill(node.pid, signal.SIGSTOP)
    try:
        time.sleep(1.2)
    finally:
        os.kill(node.pid, signal.SIGCONT)
    wait_for(lambda: node.log.count(warning) > before, 'the warning')
    answered = len(camera.masks)

    def is_answered() -> bool:  # what comes before the publisher knows the subscription is lost
        camera.send(camera.image())
        return len(camera.masks) > answered

    wait_for(is_answered, 'a mask')
    settle(camera)


def test_services_that_are_called_in_any_order_lose_no_frame(camera: Stream) -> None:
    peer, is_over = camera.peer, threading.Event()

    def stream() -> None:
        while not is_over.wait(0.01):
            camera.images.publish(camera.peer.image(32, 32))

    thread = threading.Thread(target=stream)
    thread.start()
    names = ['deactivate', 'activate', 'enable', 'disable', 'reset', 'configure', 'cleanup']
    try:
        for name in random.Random(0).choices(names[:5] * 2 + names[5:], k=40):
            if name in ('enable', 'disable'):
                peer.call(SetBool, f'{NODE}/enable', data=name == 'enable')
            elif name == 'reset':
                peer.call(Trigger, f'{NODE}/reset')
            elif name != 'cleanup' or peer.state(NODE) == 'active':  # there it is wrong
                peer.change(NODE, name)
    finally:
        is_over.set()
        thread.join()
    if peer.state(NODE) == 'inactive':
        assert peer.change(NODE, 'activate')
    assert peer.call(SetBool, f'{NODE}/enable', data=True).success
    wait_for(camera.images.get_subscription_count, 'the subscription')
    camera.ask()

    def is_even() -> bool:  # what was sent while it was inactive is nobody's
        camera.sent = camera.count('frames_received', 'dropped_lost')
        return missing(camera) == 0 and camera.count('frames_answered') == len(camera.masks)

    wait_for(is_even, 'every frame that came to be answered or counted')


def test_bytes_that_are_no_message_are_counted_as_lost(camera: Stream) -> None:
    """As a publisher of another version of the type, or a broken network, sends them."""
    camera.ask()
    settle(camera)
    lost, answered = camera.count('dropped_lost'), camera.count('frames_answered')
    whole, source = serialize_message(camera.image()), random.Random(1)
    for number in range(30):
        broken = bytearray(whole[: source.randrange(4, len(whole) - 1)])
        if number % 2:  # lengths of texts and data
            place = source.choice([12, 45, 56])
            broken[place : place + 4] = source.randbytes(4)
        camera.send(bytes(broken))
        time.sleep(0.01)  # or the queue of the middleware would lose some
    camera.ask()
    settle(camera)
    assert camera.count('dropped_lost') - lost == 30
    assert camera.count('frames_answered') - answered == 1


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
    camera: Stream, drawn: list[tuple[dict[str, Any], tuple[int, int], str]]
) -> None:
    counters = ('frames_answered', 'refused', 'replaced', 'lost', 'disabled')
    for _ in range(20):  # on a busy machine one that is refused may be replaced by the next
        settle(camera)
        before, answers_before = counts(camera, counters), len(camera.masks)
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
        camera.ask()
        settle(camera)
        gone = {name: count - before[name] for name, count in counts(camera, counters).items()}
        if not gone['replaced'] + gone['lost']:
            break
    assert gone['frames_answered'] == len(good) + 1
    assert gone['refused'] == len(drawn) - len(good)
    assert gone['disabled'] == 0
    assert [mask.header for mask in camera.masks[answers_before:-1]] == good


def counts(camera: Stream, names: tuple[str, ...]) -> dict[str, int]:
    return {
        name: camera.count(name if name.startswith('frames_') else f'dropped_{name}')
        for name in names
    }


def test_sigterm_while_it_loads_leaves_no_process(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = f'MARK_OF_{os.getpid()}_loads'
    monkeypatch.setenv(mark, '1')
    process = NodeProcess(tmp_path / 'log', '-r', '__ns:=/ending', checkpoint=checkpoint)
    wait_for(lambda: processes_with(mark), 'the process')  # it has no environment at first
    process.wait_for_log('loaded')
    assert process.stop(signal.SIGTERM) == 0
    assert 'Traceback' not in process.log
    assert not processes_with(mark)


def test_full_disk_ends_a_replay_and_its_node_and_leaves_a_log(
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
    assert 'the disk is full, nothing was kept' in outcome.stderr
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob('[!b]*/**/*'))
    assert left == ['report/node.log']  # what was there before it was full
    assert not processes_with(mark)
