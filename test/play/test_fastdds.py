"""The shipped Fast DDS profile: that Fast DDS takes it, and that it shows if it does not."""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys
from xml.etree import ElementTree

import pytest
from repository import ROOT

from dcfm_ros.play.fastdds import VARIABLES, packaged_profile, profile_in_use, use_profile

PROFILE = ROOT / 'config' / 'fastdds_large_images.xml'
SEGMENT_BYTES = 64 * 2**20
OF_A_NODE = """
import os, sys
from pathlib import Path
import rclpy
from dcfm_ros.play.fastdds import shared_segment_mb, use_profile
if sys.argv[1:] != ['environment']:
    use_profile(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
rclpy.init()
if not rclpy.get_rmw_implementation_identifier().startswith('rmw_fastrtps'):
    sys.exit('another middleware')
node = rclpy.create_node('segment_test')
print(shared_segment_mb(os.getpid()))
node.destroy_node()
rclpy.shutdown()
"""


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    pytest.importorskip('rclpy')
    for name in VARIABLES:
        monkeypatch.setenv(name, '/of/somebody/else.xml')
    return monkeypatch


def segment_of_a_node(*arguments: str) -> tuple[float, str]:
    """Largest segment, MB, of a process that has made a node with a profile, or with none.

    'environment': with what the environment names. And what Fast DDS said: version 2 does so on
    the standard output, version 3 on the other.
    """
    pytest.importorskip('rclpy')
    done = subprocess.run(
        [sys.executable, '-c', OF_A_NODE, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if 'another middleware' in done.stderr:
        pytest.skip('needs rmw_fastrtps')
    assert done.returncode == 0, done.stderr
    *said, segment = done.stdout.splitlines()
    return float(segment), '\n'.join([*said, done.stderr])


@pytest.mark.dds
def test_fast_dds_takes_the_profile() -> None:
    segment_mb, said = segment_of_a_node(str(PROFILE))
    assert segment_mb >= SEGMENT_BYTES / 1e6
    assert said.strip() == ''


@pytest.mark.dds
def test_without_the_profile_the_segment_does_not_hold_an_image() -> None:
    segment_mb, _ = segment_of_a_node()
    assert segment_mb < 640 * 480 * 3 / 1e6


@pytest.mark.dds
def test_profile_that_fast_dds_cannot_read_shows_in_the_segment(tmp_path: Path) -> None:
    broken = tmp_path / 'broken.xml'
    broken.write_text(PROFILE.read_text().replace('segment_size>', 'segment_bytes>'))
    segment_mb, said = segment_of_a_node(str(broken))
    assert segment_mb < 640 * 480 * 3 / 1e6
    assert 'segment_bytes' in said


@pytest.mark.dds
def test_of_two_profiles_the_one_that_is_used_is_told(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, size in zip(VARIABLES, (2**24, 2**25), strict=True):
        path = tmp_path / str(size)
        path.write_text(PROFILE.read_text().replace(str(SEGMENT_BYTES), str(size)))
        environment.setenv(name, str(path))
    segment_mb, _ = segment_of_a_node('environment')
    told = profile_in_use()
    assert told is not None
    assert segment_mb == pytest.approx(int(Path(told).name) / 1e6, rel=0.1)


def test_profile_has_ten_of_the_largest_images() -> None:
    names = {'d': 'http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles'}
    tree = ElementTree.parse(PROFILE)
    size = tree.findtext('.//d:segment_size', namespaces=names)
    assert size is not None
    assert int(size) == SEGMENT_BYTES >= 10 * 1920 * 1080 * 3


def test_profile_keeps_a_transport_to_other_machines() -> None:
    names = {'d': 'http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles'}
    tree = ElementTree.parse(PROFILE)
    described = {
        entry.findtext('d:transport_id', namespaces=names): entry.findtext('d:type', '', names)
        for entry in tree.iterfind('.//d:transport_descriptor', names)
    }
    used = [entry.text for entry in tree.iterfind('.//d:userTransports/d:transport_id', names)]
    assert sorted(described[name] for name in used) == ['SHM', 'UDPv4']


def test_packaged_profile_is_that_of_the_source_tree() -> None:
    assert packaged_profile() == PROFILE


def test_profile_is_used_and_unused(environment: pytest.MonkeyPatch) -> None:
    assert profile_in_use() == '/of/somebody/else.xml'
    use_profile(PROFILE)
    assert [os.environ[name] for name in VARIABLES if name in os.environ] == [str(PROFILE)]
    assert profile_in_use() == str(PROFILE)
    use_profile(None)
    assert profile_in_use() is None


def test_profile_that_is_not_there_is_an_error(environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r'no such Fast DDS profile: /nowhere/p\.xml'):
        use_profile(Path('/nowhere/p.xml'))
    assert profile_in_use() == '/of/somebody/else.xml'
