"""A replay whose node fails or ends; no other node runs in the domain of these tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

pytest.importorskip('rclpy')

from command import dcfm
from frames import DRIVE

from dcfm_ros.recordings.frame import SourceFrame
from dcfm_ros.recordings.sources import synthetic_frames
from dcfm_ros.replay.online.options import OnlineOptions
from dcfm_ros.replay.online.replay import replay_online
from dcfm_ros.replay.recording import Recording

pytestmark = pytest.mark.dds


def test_log_of_a_node_that_fails_is_where_it_was_said_to_be(
    drive_bag: Path, checkpoint: Path, tmp_path: Path
) -> None:
    outcome = dcfm(
        *('replay', drive_bag, '--topic', '/camera/image_raw', '--online'),
        *('--precision', 'int8', '--checkpoint', checkpoint, '--report', tmp_path / 'report'),
    )
    assert outcome.returncode == 1
    assert 'configuring failed: `precision` int8 cannot be had' in outcome.stderr
    log = tmp_path / 'report' / 'node.log'
    assert f'node started, log in {log}' in outcome.stdout
    assert 'configuring failed' in log.read_text()


@pytest.mark.parametrize('number', [13, 20], ids=['during the play', 'with the last frame'])
def test_node_that_is_killed_ends_the_play(number: int, checkpoint: Path, tmp_path: Path) -> None:
    others = psutil.Process().children()  # nodes of other tests

    def frames() -> Iterator[SourceFrame]:
        drive = replace(DRIVE, num_frames=20)
        for index, frame in enumerate(synthetic_frames(drive), start=1):
            if index == number:  # more than is read to know the rate
                for node in set(psutil.Process().children()) - set(others):
                    node.kill()
            yield frame

    log = tmp_path / 'node.log'
    with pytest.raises(RuntimeError) as caught:
        replay_online(
            Recording(name='drive', source='drive', frames=frames),
            tmp_path,
            {'cpu_threads': 1, 'checkpoint': str(checkpoint)},
            OnlineOptions(),
            log=log,
            say=lambda text: None,
        )
    assert str(caught.value) == f'the node ended with exit code -9, its log is {log}'
