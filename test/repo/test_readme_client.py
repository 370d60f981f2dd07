"""The subscriber that README.md shows, as it stands there, against a real node."""

from __future__ import annotations

from pathlib import Path
import re
import signal

from documents import blocks_of
import numpy as np
import pytest
from repository import ROOT

pytest.importorskip('rclpy')

from running_node import running_node, wait_for
from sensor_msgs.msg import Image
from stream import Stream

from dcfm_ros.ros.messages import array_to_image
from dcfm_ros.synthetic.drive import DriveConfig, SyntheticDrive

pytestmark = pytest.mark.dds


def road_line(mask: Image) -> str:
    """What the subscriber logs of a mask; 3 is road in the packaged weights."""
    return f'{mask.header.stamp.sec}: {np.mean(np.asarray(mask.data) == 3):.0%} road'


def test_the_subscriber_of_the_readme_tells_the_road_of_every_mask(
    stream: Stream, tmp_path: Path
) -> None:
    (block,) = (b for b in blocks_of(ROOT / 'README.md') if 'rclpy.spin' in b.text)
    path = tmp_path / 'road.py'
    path.write_text(block.text, encoding='utf-8')
    drive = SyntheticDrive(DriveConfig(height=120, width=160, seed=7))
    pixels = drive.render(0)[0]
    peer = stream.peer
    with (
        peer.configured(checkpoint='default', inference_height=120),
        running_node(tmp_path / 'road.log', program=(str(path),)) as script,
    ):
        wait_for(
            lambda: peer.count_subscribers('/segmentation/mask') == 2,
            'the subscriber of README.md to ask for masks',
        )

        def told() -> set[str]:
            return set(re.findall(r'\d+: \d+% road$', script.log, re.MULTILINE))

        def send_and_look() -> bool:
            image = array_to_image(pixels, 'rgb8', stream.image().header)
            image.header.stamp.sec = 1000 + len(stream.masks)
            stream.ask(image)
            return len(told()) >= 5

        wait_for(send_and_look, 'five masks in the log of the subscriber', pause_s=0.1)
        assert told() <= {road_line(mask) for mask in stream.masks}
        assert max(int(line.split()[1][:-1]) for line in told()) > 5, 'a street without road'
        assert 'Traceback' not in script.log
        script.stop(signal.SIGKILL)  # how it ends on Ctrl-C is up to rclpy
