"""What a node opens to the network, and what it does where it is told to secure that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
import os
from pathlib import Path
import socket
import subprocess
import sys

import psutil
import pytest

pytest.importorskip('rclpy')

from domain import domain_of_its_own
from running_node import CLOUD, GROUND, SEGMENTATION, NodeProcess, running_node, wait_for

pytestmark = pytest.mark.dds

EMPTY = ('-c', 'import rclpy; rclpy.init(); rclpy.spin(rclpy.create_node("empty"))')
RUN_LENGTH = ('-m', 'dcfm_ros.ros.run_length_node')
KEYS = (
    'identity_ca.cert.pem', 'cert.pem', 'key.pem', 'permissions_ca.cert.pem', 'governance.p7s',
    'permissions.p7s',
)  # fmt: skip
"""What an enclave of SROS 2 holds."""


@pytest.fixture(scope='module')
def domain() -> Iterator[int]:
    with domain_of_its_own() as number:
        yield number


def sockets_of(node: NodeProcess, ports: range) -> Counter[tuple[str, bool]]:
    """Kind of each socket of a node, and whether it has a port of its domain."""
    process = psutil.Process(node.pid)

    def found() -> Counter[tuple[str, bool]]:
        sockets = process.net_connections('inet')
        return Counter((socket.SocketKind(s.type).name, s.laddr.port in ports) for s in sockets)

    wait_for(lambda: found()['SOCK_DGRAM', True] >= 2, 'the ports of DDS')
    return found()


@pytest.mark.parametrize('program', [SEGMENTATION, CLOUD, GROUND, RUN_LENGTH])
def test_node_has_the_sockets_of_an_empty_node(
    domain: int, tmp_path: Path, program: tuple[str, ...]
) -> None:
    """Those of DDS: two ports of the domain, and others of UDP that Fast DDS sends from."""
    parameters: dict[str, object] = {}
    if program == SEGMENTATION:
        parameters = {'device': 'cpu'}
    if program == GROUND:
        parameters = {'camera_height': 1.0}  # else it needs TF, and ends where that is absent
    ports = range(7400 + 250 * domain, 7400 + 250 * (domain + 1))
    with (
        running_node(tmp_path / 'empty', program=EMPTY) as empty,
        running_node(tmp_path / 'log', program=program, **parameters) as node,
    ):
        if program == SEGMENTATION:
            node.wait_for_log('loaded')
        found, of_empty = sockets_of(node, ports), sockets_of(empty, ports)
        assert {kind for kind, _ in found} == {'SOCK_DGRAM'}  # no TCP
        assert found['SOCK_DGRAM', True] == of_empty['SOCK_DGRAM', True]
        # To send from; Fast DDS opens them when it likes.
        assert abs(found.total() - of_empty.total()) <= 1


@pytest.fixture
def keystore(tmp_path: Path) -> Path:
    """An enclave with files, which nothing of this package reads."""
    enclave = tmp_path / 'keys' / 'enclaves' / 'robot'
    enclave.mkdir(parents=True)
    for name in KEYS:
        (enclave / name).write_text('no key')
    return tmp_path / 'keys'


def run_secured(keystore: Path, strategy: str, **more: str) -> subprocess.CompletedProcess[str]:
    secured = {
        'ROS_SECURITY_ENABLE': 'true',
        'ROS_SECURITY_STRATEGY': strategy,
        'ROS_SECURITY_KEYSTORE': str(keystore),
        **more,
    }
    command = [sys.executable, *RUN_LENGTH]
    return subprocess.run(
        command, env=os.environ | secured, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize('strategy', ['Enforce', 'Permissive'])
def test_node_that_cannot_be_secured_does_not_start(
    domain: int, keystore: Path, strategy: str
) -> None:
    """The wheels of PyPI have no security; neither has this machine real keys."""
    done = run_secured(keystore, strategy, ROS_SECURITY_ENCLAVE_OVERRIDE='/robot')
    assert done.returncode == 2
    assert "error creating node: This Fast DDS version doesn't have the security" in done.stderr


def test_node_without_keys_does_not_start_where_it_must_have_them(
    domain: int, tmp_path: Path
) -> None:
    done = run_secured(tmp_path, 'Enforce')
    assert done.returncode != 0
    assert 'SECURITY ERROR' in done.stderr
