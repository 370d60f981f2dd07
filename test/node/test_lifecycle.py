"""Starting, stopping and failing: the node's lifecycle, seen from outside the process."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import signal
import threading

from diagnostic_msgs.msg import DiagnosticStatus
from domain import in_domain
import numpy as np
from processes import processes_with
import pytest
from repository import ROOT
from safetensors.numpy import save_file
import torch

pytest.importorskip('rclpy')

from peer import Diagnostics, Peer, running_peer
from running_node import NODE, NodeProcess, running_node, wait_for
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool, Trigger

pytestmark = pytest.mark.dds


@pytest.fixture(scope='module')
def health(peer: Peer) -> Diagnostics:
    return Diagnostics(peer)


@pytest.fixture(scope='module')
def kept(peer: Peer) -> Iterator[None]:
    """The shared node is left as it was found."""
    names = ('checkpoint', 'device')
    before = peer.get_values(NODE, *names)
    yield
    with peer.configured(**dict(zip(names, before, strict=True))):
        pass


@pytest.fixture
def idle(peer: Peer, kept: None) -> Peer:
    """Talks to the shared node, which is unconfigured."""
    peer.unconfigure(NODE)
    return peer


def set_value(peer: Peer, name: str, value: object) -> None:
    result = peer.try_to_set(NODE, **{name: value})
    assert result.successful, result.reason


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
    node: NodeProcess, idle: Peer, checkpoint: Path, tmp_path: Path, kind: str, reason: str
) -> None:
    path = bad_checkpoints(tmp_path, checkpoint)[kind]
    health = Diagnostics(idle)
    set_value(idle, 'checkpoint', str(path))
    assert not idle.change(NODE, 'configure')
    assert idle.state(NODE) == 'unconfigured'
    assert health.wait_for_message('model', reason).level == DiagnosticStatus.ERROR
    (line,) = [line for line in node.log.splitlines() if str(path) in line]
    assert line.startswith('[ERROR]')
    assert reason in line


@pytest.mark.skipif(torch.cuda.is_available(), reason='needs a machine without CUDA')
def test_absent_gpu_is_refused_with_its_reason(
    node: NodeProcess, idle: Peer, health: Diagnostics, checkpoint: Path
) -> None:
    set_value(idle, 'checkpoint', str(checkpoint))
    set_value(idle, 'device', 'cuda')
    seen = len(node.log)
    assert not idle.change(NODE, 'configure')
    assert health.wait_for_message('model', 'CUDA').level == DiagnosticStatus.ERROR
    wait_for(lambda: '[ERROR]' in node.log[seen:], 'an error in the log')
    set_value(idle, 'device', 'auto')


def test_node_recovers_from_a_failure(idle: Peer, health: Diagnostics, checkpoint: Path) -> None:
    set_value(idle, 'checkpoint', '/nowhere')
    assert not idle.change(NODE, 'configure')
    set_value(idle, 'checkpoint', str(checkpoint))
    assert idle.change(NODE, 'configure')
    assert health.wait_for_message('model', 'inactive').level != DiagnosticStatus.ERROR


def test_packaged_weights_are_known_by_name(idle: Peer, health: Diagnostics) -> None:
    set_value(idle, 'checkpoint', 'default')
    assert idle.change(NODE, 'configure')
    health.wait_for_message('model', 'inactive')
    assert health.values('model')['checkpoint'].endswith('/weights/default.safetensors')


def test_whole_cycle_can_be_repeated(idle: Peer, checkpoint: Path) -> None:
    set_value(idle, 'checkpoint', str(checkpoint))
    masks: list[Image] = []
    idle.create_subscription(Image, '/segmentation/mask', masks.append, 10)
    images = idle.create_publisher(Image, '/segmentation/image', 10)
    for _ in range(2):
        assert idle.change(NODE, 'configure')
        for _ in range(2):
            assert idle.change(NODE, 'activate')
            wait_for(images.get_subscription_count, 'the subscription')
            masks.clear()

            def answered() -> bool:
                images.publish(idle.image())
                return bool(masks)

            wait_for(answered, 'a mask', pause_s=0.1)
            assert idle.change(NODE, 'deactivate')
            wait_for(lambda: images.get_subscription_count() == 0, 'its end')
        assert idle.change(NODE, 'cleanup')
        wait_for(lambda: not idle.count_publishers('/segmentation/mask'), 'the outputs to go')
    idle.end(images)


@pytest.mark.parametrize('name', ['activate', 'deactivate', 'cleanup', 'no such transition'])
def test_wrong_transition_is_refused(idle: Peer, name: str) -> None:
    assert not idle.change(NODE, name)
    assert idle.state(NODE) == 'unconfigured'


def test_wrong_transitions_of_an_active_node_are_refused(idle: Peer, checkpoint: Path) -> None:
    set_value(idle, 'checkpoint', str(checkpoint))
    assert idle.change(NODE, 'configure')
    assert idle.change(NODE, 'activate')
    assert not idle.change(NODE, 'configure')
    assert not idle.change(NODE, 'cleanup')
    assert idle.state(NODE) == 'active'


def test_services_of_an_unconfigured_node_say_so(idle: Peer) -> None:
    enabled = idle.call(SetBool, f'{NODE}/enable', data=True)
    reset = idle.call(Trigger, f'{NODE}/reset')
    assert not enabled.success
    assert not reset.success
    assert 'unconfigured' in enabled.message
    assert 'unconfigured' in reset.message


def test_autostart_cannot_be_set_later(idle: Peer) -> None:
    assert not idle.try_to_set(NODE, autostart=True).successful


def test_failed_autostart_leaves_a_node_that_tells_why_and_can_be_shut_down(
    domain: int, tmp_path: Path
) -> None:
    values = {'checkpoint': tmp_path / 'missing'}
    with (
        in_domain(domain),
        running_peer() as peer,
        running_node(tmp_path / 'log', **values) as node,
    ):
        health = Diagnostics(peer)
        status = health.wait_for_message('model', 'no such checkpoint file')
        assert status.level == DiagnosticStatus.ERROR
        assert peer.state(NODE) == 'unconfigured'
        assert peer.change(NODE, 'shutdown')
        assert health.wait_for_message('model', 'finalized').level == DiagnosticStatus.OK
        assert not peer.call(SetBool, f'{NODE}/enable', data=True).success
        assert node.stop() == 0


def test_invalid_parameters_end_the_start_with_a_line_each(tmp_path: Path) -> None:
    values = {'keyframe_interval': 0, 'device': 'tpu', 'overlay_alpha': 2.5}
    node = NodeProcess(tmp_path / 'log', **values, cameras='[front, front]')
    assert node.wait() == 2
    lines = [line for line in node.log.splitlines() if ' must be ' in line]
    assert sorted(line.partition('`')[2].partition(' (')[0] for line in lines) == [
        'cameras` must be a list of different names',
        "device` must be one of auto, cpu, cuda, cuda:N, got 'tpu'",
        'keyframe_interval` must be a whole number from 1 to 1000, got 0',
        'overlay_alpha` must be a number from 0.0 to 1.0, got 2.5',
    ]
    assert 'Traceback' not in node.log


@pytest.mark.parametrize(
    ('argument', 'told'),
    [
        ('keyframe_interval', 'keyframe_interval'),
        ('cameras:=[]', "an empty list is written ['']"),
    ],
)
def test_wrong_command_line_ends_the_start_without_a_traceback(
    tmp_path: Path, argument: str, told: str
) -> None:
    node = NodeProcess(tmp_path / 'log', '-p', argument)
    assert node.wait() == 2
    assert told in node.log
    assert 'Traceback' not in node.log


def test_parameters_at_start_come_from_a_file_and_the_command_line(tmp_path: Path) -> None:
    """A whole number is taken for a double, and a name that is unknown is the only warning."""
    arguments = ('--params-file', str(ROOT / 'config' / 'segmentation.yaml'))
    given = {'autostart': 'false', 'overlay_alpha': 1, 'keyframe_intervall': 3}
    with running_node(tmp_path / 'log', *arguments, **given) as node:
        node.wait_for_log('waiting to be configured')
        (warning,) = [line for line in node.log.splitlines() if '[WARN]' in line]
        assert 'did you mean `keyframe_interval`?' in warning


@pytest.mark.parametrize('how', [signal.SIGINT, signal.SIGTERM])
def test_signal_under_load_ends_the_node_and_leaves_no_process(
    domain: int,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: signal.Signals,
) -> None:
    namespace, mark = '/front/camera', f'MARK_OF_{os.getpid()}_{how.name}'
    monkeypatch.setenv(mark, '1')
    with (
        in_domain(domain),
        running_peer() as peer,
        running_node(tmp_path / 'log', '-r', f'__ns:={namespace}', checkpoint=checkpoint) as node,
    ):
        wait_for(lambda: processes_with(mark), 'the process')  # it has no environment at first
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
    assert not processes_with(mark)


DEFECT = """if True:
    import sys
    from dcfm_ros import node
    from dcfm_ros.ros import frame_processor

    def fail(self, frame):
        raise RuntimeError('CUDA error: an illegal memory access was encountered')

    frame_processor.FrameProcessor.process = fail
    sys.exit(node.main())
"""
"""A node whose frames fail as if the GPU were gone."""


def test_failure_that_cannot_be_survived_ends_the_process(
    domain: int, checkpoint: Path, tmp_path: Path
) -> None:
    values = {'checkpoint': checkpoint, 'backend': 'torch'}
    with (
        in_domain(domain),
        running_peer() as peer,
        running_node(tmp_path / 'log', program=('-c', DEFECT), **values) as node,
    ):
        peer.connect().publish(peer.image())
        assert node.wait() == 1
    assert '[FATAL]' in node.log
    assert 'illegal memory access' in node.log
