"""A replay to a node that runs already, with parameters of its own."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

pytest.importorskip('rclpy')

from running_node import NodeProcess

from dcfm_ros.replay.online.options import OnlineOptions
from dcfm_ros.replay.online.replay import replay_online
from dcfm_ros.replay.options import RecordingOptions
from dcfm_ros.replay.recording import open_recording

pytestmark = pytest.mark.dds
TOPICS = {'topic': '/camera/image_raw', 'label_topic': '/camera/label'}


def test_process_that_is_not_there_is_an_error(
    node: NodeProcess, drive_bag: Path, tmp_path: Path
) -> None:
    free = next(pid for pid in range(100_000, 1 << 22) if not psutil.pid_exists(pid))
    with pytest.raises(RuntimeError, match=f'process {free} of `pid`, the node, has ended'):
        replay_online(
            open_recording(str(drive_bag), RecordingOptions(**TOPICS)),
            tmp_path,
            {},
            OnlineOptions(namespace='segmentation', pid=free),
            log=tmp_path / 'node.log',
            say=lambda text: None,
        )
