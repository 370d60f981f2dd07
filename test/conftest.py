"""What tests share: a checkpoint for all workers, a ROS domain per module, a node per worker."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import signal
from typing import TYPE_CHECKING, Any

from domain import domain_of_its_own, in_domain
from filelock import FileLock
import pytest
from running_node import NODE, NodeProcess, SetLive, make_checkpoint, running_node, wait_for

if TYPE_CHECKING:
    from peer import Peer
    from stream import Stream

# What is started in the background ignores SIGINT, and so would the nodes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
TIERS = ('train', 'build', 'dds', 'slow', 'gpu')


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that no worker begins one when the others are done."""

    def tier(item: pytest.Item) -> int:
        return next((i for i, name in enumerate(TIERS) if name in marks[item.path]), len(TIERS))

    marks: dict[Path, set[str]] = {}
    for item in items:
        marks.setdefault(item.path, set()).update(mark.name for mark in item.iter_markers())
    items.sort(key=tier)


@pytest.fixture(scope='session')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with random weights, made once for all workers."""
    folder = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ:
        folder = folder.parent
    path = folder / 'tiny.safetensors'
    with FileLock(f'{path}.lock'):
        return path if path.exists() else make_checkpoint(path)


@pytest.fixture(scope='session')
def drive_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short drive with true masks, recorded."""
    pytest.importorskip('rclpy')
    from frames import DRIVE

    from dcfm_ros.recordings.bag_writer import write_bag
    from dcfm_ros.recordings.sources import synthetic_frames

    path = tmp_path_factory.mktemp('bag') / 'drive'
    write_bag(path, synthetic_frames(DRIVE))
    return path


@pytest.fixture(scope='module', autouse=True)
def domain() -> Iterator[int]:
    """A ROS domain in which a module's nodes meet nobody else's."""
    with domain_of_its_own() as number:
        yield number


@pytest.fixture(scope='session')
def shared_node(
    checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeProcess]:
    pytest.importorskip('rclpy')
    log = tmp_path_factory.mktemp('node') / 'log'
    with (
        domain_of_its_own(),
        running_node(log, checkpoint=checkpoint, cpu_threads=1) as process,
    ):
        wait_for(lambda: 'ready on' in process.log or 'failed' in process.log, 'it to be ready')
        assert 'ready on' in process.log, process.log
        yield process


@pytest.fixture(scope='module')
def node(shared_node: NodeProcess) -> Iterator[NodeProcess]:
    """The node with default parameters, which serves one module after the other.

    Whoever changes parameters sets them back, see `set_live` and `Peer.configured`.
    """
    assert shared_node.is_running, shared_node.log
    with in_domain(shared_node.domain):
        yield shared_node


@pytest.fixture(scope='module')
def peer(node: NodeProcess) -> Iterator[Peer]:
    """What talks to the node of a module, be it the shared one or one of its own."""
    from peer import running_peer

    with running_peer() as running:
        yield running


@pytest.fixture(scope='module')
def stream(peer: Peer) -> Stream:
    """Images to the shared node, and what comes back."""
    from stream import Stream

    return Stream(peer)


@pytest.fixture
def set_live(peer: Peer) -> Iterator[SetLive]:
    """Set parameters of the active node, for the length of a test."""
    before: dict[str, Any] = {}

    def set_live(**values: Any) -> None:
        added = [name for name in values if name not in before]
        before.update(zip(added, peer.get_values(NODE, *added), strict=True))
        result = peer.try_to_set(NODE, **values)
        assert result.successful, result.reason

    yield set_live
    if before:
        set_live(**before)
