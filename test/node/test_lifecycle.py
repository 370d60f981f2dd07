"""Starting, stopping and failing: the node's lifecycle, seen from outside the process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import signal
import threading

import numpy as np
import pytest
from repository import ROOT
from safetensors.numpy import save_file
import torch

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from running_node import (
    NodeProcess,
    Peer,
    make_checkpoint,
    running_node,
    running_peer,
    set_parameter,
    wait_for,
)
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool, Trigger

NODE = '/idle/segmentation_node'
NAMESPACE = ('-r', '__ns:=/idle')


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp('weights') / 'tiny.safetensors')


@pytest.fixture(scope='module')
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    log = tmp_path_factory.mktemp('node') / 'log'
    with running_node(log, *NAMESPACE, autostart='false', cpu_threads=1) as process:
        yield process


@pytest.fixture(scope='module')
def peer(node: NodeProcess) -> Iterator[Peer]:
    with running_peer() as running:
        yield running


@pytest.fixture(autouse=True)
def unconfigured(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave the shared node as it was found."""
    yield
    if 'peer' in request.fixturenames:
        peer = request.getfixturevalue('peer')
        if state(peer) == 'active':
            change(peer, 'deactivate')
        if state(peer) == 'inactive':
            change(peer, 'cleanup')
        set_parameter(peer, NODE, 'device', 'auto')


def change(peer: Peer, name: str) -> bool:
    transition = Transition(label=name)
    return bool(peer.call(ChangeState, f'{NODE}/change_state', transition=transition).success)


def state(peer: Peer) -> str:
    return str(peer.call(GetState, f'{NODE}/get_state').current_state.label)


def model_status(received: list[DiagnosticArray], node: str = NODE) -> DiagnosticStatus | None:
    """The newest status of the node's model, if any came."""
    found = (s for message in reversed(received) for s in message.status)
    return next((s for s in found if s.name == f'{node}: model'), None)


def wait_for_status(received: list[DiagnosticArray], text: str, node: str = NODE) -> bytes:
    def told() -> bool:
        status = model_status(received, node)
        return status is not None and text in status.message

    wait_for(told, f'{text!r} in the diagnostics')
    status = model_status(received, node)
    assert status is not None
    return bytes(status.level)


def bad_checkpoints(folder: Path, good: Path) -> dict[str, Path]:
    paths = {name: folder / name for name in ('missing', 'truncated', 'random', 'foreign')}
    data = good.read_bytes()
    paths['truncated'].write_bytes(data[: len(data) // 2])
    paths['random'].write_bytes(np.random.default_rng(0).bytes(100_000))
    save_file({'weight': np.zeros(3, np.float32)}, paths['foreign'])
    return paths


@pytest.mark.parametrize(
    ('kind', 'reason'),
    [
        ('missing', 'no such checkpoint file'),
        ('truncated', 'not a whole safetensors file'),
        ('random', 'not a whole safetensors file'),
        ('foreign', 'not a dcfm_ros checkpoint'),
    ],
)
def test_bad_checkpoint_is_refused_with_its_reason(
    node: NodeProcess, peer: Peer, checkpoint: Path, tmp_path: Path, kind: str, reason: str
) -> None:
    path = bad_checkpoints(tmp_path, checkpoint)[kind]
    received = peer.listen(DiagnosticArray, '/diagnostics')
    assert set_parameter(peer, NODE, 'checkpoint', str(path)).successful
    assert not change(peer, 'configure')
    assert state(peer) == 'unconfigured'
    assert wait_for_status(received, reason) == DiagnosticStatus.ERROR
    (line,) = [line for line in node.log.splitlines() if str(path) in line]
    assert line.startswith('[ERROR]')
    assert reason in line


@pytest.mark.skipif(torch.cuda.is_available(), reason='needs a machine without CUDA')
def test_absent_gpu_is_refused_with_its_reason(
    node: NodeProcess, peer: Peer, checkpoint: Path
) -> None:
    received = peer.listen(DiagnosticArray, '/diagnostics')
    assert set_parameter(peer, NODE, 'checkpoint', str(checkpoint)).successful
    assert set_parameter(peer, NODE, 'device', 'cuda').successful
    assert not change(peer, 'configure')
    assert wait_for_status(received, 'CUDA') == DiagnosticStatus.ERROR
    node.wait_for_log('[ERROR]')


def test_node_recovers_from_a_failure(peer: Peer, checkpoint: Path) -> None:
    received = peer.listen(DiagnosticArray, '/diagnostics')
    set_parameter(peer, NODE, 'checkpoint', '/nowhere')
    assert not change(peer, 'configure')
    set_parameter(peer, NODE, 'checkpoint', str(checkpoint))
    assert change(peer, 'configure')
    assert wait_for_status(received, 'inactive') != DiagnosticStatus.ERROR


def test_packaged_weights_are_known_by_name(peer: Peer) -> None:
    received = peer.listen(DiagnosticArray, '/diagnostics')
    set_parameter(peer, NODE, 'checkpoint', 'default')
    assert change(peer, 'configure')
    wait_for_status(received, 'inactive')
    status = model_status(received)
    assert status is not None
    values = {entry.key: entry.value for entry in status.values}
    assert values['checkpoint'].endswith('/weights/default.safetensors')


def test_whole_cycle_can_be_repeated(peer: Peer, checkpoint: Path) -> None:
    set_parameter(peer, NODE, 'checkpoint', str(checkpoint))
    masks = []
    peer.create_subscription(Image, '/idle/mask', masks.append, 10)
    images = peer.create_publisher(Image, '/idle/image', 10)
    for _ in range(2):
        assert change(peer, 'configure')
        for _ in range(2):
            assert change(peer, 'activate')
            wait_for(images.get_subscription_count, 'the subscription')
            masks.clear()

            def answered() -> bool:
                images.publish(peer.image())
                return bool(masks)

            wait_for(answered, 'a mask', pause_s=0.1)
            assert change(peer, 'deactivate')
            wait_for(lambda: images.get_subscription_count() == 0, 'its end')
        assert change(peer, 'cleanup')
        wait_for(lambda: peer.count_publishers('/idle/mask') == 0, 'the end of the outputs')
    peer.destroy_publisher(images)


@pytest.mark.parametrize('name', ['activate', 'deactivate', 'cleanup', 'no such transition'])
def test_wrong_transition_is_refused(peer: Peer, name: str) -> None:
    assert not change(peer, name)
    assert state(peer) == 'unconfigured'


def test_wrong_transitions_of_an_active_node_are_refused(peer: Peer, checkpoint: Path) -> None:
    set_parameter(peer, NODE, 'checkpoint', str(checkpoint))
    assert change(peer, 'configure')
    assert change(peer, 'activate')
    assert not change(peer, 'configure')
    assert not change(peer, 'cleanup')
    assert state(peer) == 'active'


def test_services_of_an_unconfigured_node_say_so(peer: Peer) -> None:
    enabled = peer.call(SetBool, f'{NODE}/enable', data=True)
    reset = peer.call(Trigger, f'{NODE}/reset')
    assert not enabled.success
    assert not reset.success
    assert 'unconfigured' in enabled.message
    assert 'unconfigured' in reset.message


def test_autostart_cannot_be_set_later(peer: Peer) -> None:
    assert not set_parameter(peer, NODE, 'autostart', True).successful


def test_failed_autostart_leaves_a_node_that_tells_why(tmp_path: Path) -> None:
    with (
        running_peer() as peer,
        running_node(tmp_path / 'log', checkpoint=tmp_path / 'missing') as node,
    ):
        received = peer.listen(DiagnosticArray, '/diagnostics')
        name = '/segmentation/segmentation_node'
        level = wait_for_status(received, 'no such checkpoint file', name)
        assert level == DiagnosticStatus.ERROR
        assert peer.call(GetState, f'{name}/get_state').current_state.label == 'unconfigured'
        assert node.stop() == 0


def test_invalid_parameters_end_the_start_with_a_line_each(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path / 'log', keyframe_interval=0, device='tpu', overlay_alpha=2.5)
    assert node.wait() != 0
    lines = [line for line in node.log.splitlines() if ' must be ' in line]
    assert [line.partition('`')[2] for line in lines] == [
        "device` must be one of auto, cpu, cuda, cuda:N, got 'tpu'",
        'keyframe_interval` must be a whole number from 1 to 1000, got 0',
        'overlay_alpha` must be a number from 0.0 to 1.0, got 2.5',
    ]
    assert 'Traceback' not in node.log


def test_wrong_command_line_ends_the_start_without_a_traceback(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path / 'log', '-p', 'keyframe_interval')
    assert node.wait() != 0
    assert 'keyframe_interval' in node.log
    assert 'Traceback' not in node.log


def test_unknown_parameter_is_named(tmp_path: Path) -> None:
    with running_node(tmp_path / 'log', autostart='false', keyframe_intervall=3) as node:
        node.wait_for_log('did you mean `keyframe_interval`?')


def test_whole_number_is_taken_for_a_double(tmp_path: Path) -> None:
    with running_node(tmp_path / 'log', autostart='false', overlay_alpha=1) as node:
        node.wait_for_log('waiting to be configured')


@pytest.mark.parametrize('how', [signal.SIGINT, signal.SIGTERM])
def test_signal_under_load_ends_the_node_cleanly(
    checkpoint: Path, tmp_path: Path, how: signal.Signals
) -> None:
    namespace = '/front/camera'
    with running_peer() as peer:
        node = NodeProcess(tmp_path / 'log', '-r', f'__ns:={namespace}', checkpoint=checkpoint)
        masks = peer.listen(Image, f'{namespace}/mask')
        images = peer.connect(f'{namespace}/image')
        is_over = threading.Event()

        def flood() -> None:
            while not is_over.wait(0.005):
                images.publish(peer.image())

        thread = threading.Thread(target=flood)
        thread.start()
        try:
            wait_for(lambda: len(masks) > 5, 'masks')
            assert node.stop(how) == 0
        finally:
            is_over.set()
            thread.join()
    assert 'Traceback' not in node.log
    assert '[ERROR]' not in node.log


def test_parameter_file_is_understood(tmp_path: Path) -> None:
    config = ROOT / 'config' / 'segmentation.yaml'
    arguments = ('--params-file', str(config))
    with running_node(tmp_path / 'log', *arguments, autostart='false') as node:
        node.wait_for_log('waiting to be configured')
        assert '[WARN]' not in node.log


class FailingNode(NodeProcess):
    """A node whose frames fail as if the GPU were gone."""

    program = (
        '-c',
        """if True:
            import sys
            from dcfm_ros import node
            from dcfm_ros.ros import frame_processor

            def fail(self, frame):
                raise RuntimeError('CUDA error: an illegal memory access was encountered')

            frame_processor.FrameProcessor.process = fail
            sys.exit(node.main())
        """,
    )


def test_failure_that_cannot_be_survived_ends_the_process(
    checkpoint: Path, tmp_path: Path
) -> None:
    node = FailingNode(tmp_path / 'log', checkpoint=checkpoint)
    with running_peer() as peer:
        peer.connect().publish(peer.image())
        assert node.wait() == 1
    assert '[FATAL]' in node.log
    assert 'illegal memory access' in node.log


def test_shut_down_node_is_finalized_and_still_ends_cleanly(tmp_path: Path) -> None:
    with running_peer() as peer, running_node(tmp_path / 'log', autostart='false') as node:
        received = peer.listen(DiagnosticArray, '/diagnostics')
        name = '/segmentation/segmentation_node'
        transition = Transition(label='shutdown')
        assert peer.call(ChangeState, f'{name}/change_state', transition=transition).success
        assert wait_for_status(received, 'finalized', name) == DiagnosticStatus.OK
        assert not peer.call(SetBool, f'{name}/enable', data=True).success
        assert node.stop() == 0
