"""What nodes say of their inputs under simulated time."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('nav_msgs')

from diagnostic_msgs.msg import DiagnosticStatus
from peer import Diagnostics, running_peer
from rosgraph_msgs.msg import Clock
from running_node import CLOUD, GROUND, running_node, wait_for

from dcfm_ros.ros.messages import ns_to_stamp

pytestmark = pytest.mark.dds


@pytest.mark.parametrize(
    ('program', 'name', 'task'),
    [(CLOUD, 'semantic_cloud_node', 'depth images'), (GROUND, 'ground_grid_node', 'masks')],
)
def test_paused_bag_is_no_missing_input(
    tmp_path: Path, program: tuple[str, ...], name: str, task: str
) -> None:
    values: dict[str, object] = {'use_sim_time': True, 'no_image_warning_s': 1.0}
    if program == GROUND:
        values['camera_height'] = 1.0
    with (
        running_node(tmp_path / 'log', program=program, **values),
        running_peer() as peer,
    ):
        diagnostics = Diagnostics(peer, f'/segmentation/{name}')
        diagnostics.wait_for_level(task, DiagnosticStatus.WARN)  # no clock yet
        clock = peer.create_publisher(Clock, '/clock', 10)

        def is_paused() -> bool:
            clock.publish(Clock(clock=ns_to_stamp(10**12)))
            return diagnostics.newest(task).message == 'the clock is not running'

        wait_for(is_paused, 'the node to know that its clock stands', pause_s=0.1)
        levels = {diagnostics.next(task).level for _ in range(2)}
        assert levels == {DiagnosticStatus.OK}
