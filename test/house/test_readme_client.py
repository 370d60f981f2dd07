"""The subscriber that README.md shows, as it stands there, against a real node."""

from __future__ import annotations

from pathlib import Path
import re

import pytest
from repository import ROOT

pytest.importorskip('rclpy')

import numpy as np
from running_node import NodeProcess, running_node, running_peer, wait_for
from sensor_msgs.msg import Image

from dcfm_ros.ros.messages import array_to_image
from dcfm_ros.synthetic.drive import DriveConfig, SyntheticDrive

README = ROOT / 'README.md'


class Script(NodeProcess):
    def __init__(self, path: Path, log: Path) -> None:
        self.program = (str(path),)
        super().__init__(log)


def subscriber_of_readme() -> str:
    found = re.search(
        r'^A subscriber in full\b[^\n]*\n\n```python\n(.*?)^```$',
        README.read_text(encoding='utf-8'),
        re.DOTALL | re.MULTILINE,
    )
    assert found, 'README.md has lost its subscriber'
    return found[1]


def road_line(mask: Image) -> str:
    """What the subscriber logs of a mask; 3 is road in the packaged weights."""
    return f'{mask.header.stamp.sec}: {np.mean(np.asarray(mask.data) == 3):.0%} road'


def test_the_subscriber_of_the_readme_tells_the_road_of_every_mask(tmp_path: Path) -> None:
    path = tmp_path / 'road.py'
    path.write_text(subscriber_of_readme(), encoding='utf-8')
    drive = SyntheticDrive(DriveConfig(height=120, width=160, seed=7))
    pixels = drive.render(0)[0]
    with (
        running_node(tmp_path / 'log', cpu_threads=1, inference_height=120) as node,
        running_peer() as peer,
    ):
        script = Script(path, tmp_path / 'road.log')
        try:
            node.wait_for_log('ready on')
            publisher = peer.connect()
            masks = peer.listen(Image, '/segmentation/mask')
            wait_for(
                lambda: peer.count_subscribers('/segmentation/mask') == 2,
                'the subscriber of README.md to ask for masks',
            )

            def told() -> set[str]:
                return set(re.findall(r'\d+: \d+% road$', script.log, re.MULTILINE))

            def send_and_look() -> bool:
                image = array_to_image(pixels, 'rgb8', peer.image().header)
                image.header.stamp.sec = 1000 + len(masks)
                publisher.publish(image)
                return len(told()) >= 5

            wait_for(send_and_look, 'five masks in the log of the subscriber', pause_s=0.1)
            wait_for(lambda: told() <= {road_line(mask) for mask in masks}, 'the masks it told of')
            assert max(int(line.split()[1][:-1]) for line in told()) > 5, 'a street without road'
        finally:
            exit_code = script.stop()
    assert exit_code == 0, script.log
    assert 'Traceback' not in script.log
