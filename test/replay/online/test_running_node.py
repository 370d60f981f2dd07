"""A replay to a node that runs already, with parameters of its own."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

pytest.importorskip('rclpy')

from peer import Peer
from running_node import NodeProcess

from dcfm_ros.replay.online.options import OnlineOptions
from dcfm_ros.replay.online.replay import replay_online
from dcfm_ros.replay.options import RecordingOptions
from dcfm_ros.replay.recording import open_recording
from dcfm_ros.replay.report import report_of

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


def test_node_with_small_masks_and_without_timing_is_replayed(
    peer: Peer, drive_bag: Path, tmp_path: Path
) -> None:
    with peer.configured(output_height=48, output_width=64, publish_timing=False):
        made = replay_online(
            open_recording(str(drive_bag), RecordingOptions(**TOPICS)),
            tmp_path,
            {},
            OnlineOptions(namespace='segmentation'),
            log=tmp_path / 'node.log',
            say=lambda text: None,
        )
    figures = report_of(made)
    count = figures['masks_received']
    assert figures['accuracy']['labelled_frames'] == count > 0
    assert figures['keyframe_share'] is None
    assert [line.split(' came')[0].split(' of')[0] for line in made.losses] == [
        f'{count} masks'
    ] * 2
