"""ground_grid_node as a process: grids for masks, whatever comes."""

from __future__ import annotations

from collections.abc import Iterator
import json
import math
import os
from pathlib import Path
import time

import numpy as np
from numpy.typing import NDArray
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('nav_msgs')

from diagnostic_msgs.msg import DiagnosticStatus
from nav_msgs.msg import OccupancyGrid, Odometry
from peer import BEST_EFFORT, LATCHED, Diagnostics, Peer, running_peer
from running_node import GROUND, NodeProcess, running_node, wait_for
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header, String

from dcfm_ros.ros.messages import array_to_image, ns_to_stamp

pytestmark = pytest.mark.dds
NODE = '/segmentation/ground_grid_node'
NAMES = {'0': 'sky', '3': 'road', '4': 'pavement', '8': 'car'}
LABELS = {key: {'name': name, 'rgb': [0, 0, 0]} for key, name in NAMES.items()}
K = [75.0, 0.0, 39.5, 0.0, 75.0, 29.5, 0.0, 0.0, 1.0]
MOUNT = {'camera_height': '1.0', 'base_frame': 'base', 'resolution': '0.1', 'ahead': '8.0'}
MASK = np.full((60, 80), 3, np.uint8)
MASK[:30] = 0
MASK[20:45, 36:44] = 8  # its foot is 75 / 15 m ahead


class Scene:
    """A segmentation node that does what a test tells it, and a listener to grids."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.stamp_ns = time.time_ns()
        self.diagnostics = Diagnostics(peer, NODE)
        self.masks = peer.connect('/segmentation/mask')
        self.grids: list[OccupancyGrid] = peer.listen(OccupancyGrid, '/segmentation/ground_grid')

    def label(self) -> None:
        labels = self.peer.create_publisher(String, '/segmentation/labels', LATCHED)
        labels.publish(String(data=json.dumps(LABELS)))
        wait_for(labels.get_subscription_count, 'a subscription of labels')

    def calibrate(self) -> None:
        info = CameraInfo(width=80, height=60, k=K, distortion_model='plumb_bob')
        self.peer.connect('/segmentation/camera_info', 1, CameraInfo).publish(info)

    def show(self, mask: NDArray[np.uint8] = MASK) -> Header:
        self.stamp_ns += 33_000_000
        header = Header(stamp=ns_to_stamp(self.stamp_ns), frame_id='optical')
        self.masks.publish(array_to_image(mask, 'mono8', header))
        return header

    def grid_of(self, header: Header) -> OccupancyGrid:
        found: list[OccupancyGrid] = []

        def has_come() -> bool:
            found.extend(grid for grid in self.grids if grid.header.stamp == header.stamp)
            return bool(found)

        wait_for(has_come, 'the grid of a mask')
        return found[0]

    def see(self, mask: NDArray[np.uint8] = MASK) -> OccupancyGrid:
        """The grid of a mask; the first masks may come before calibration and labels."""
        stamps = []

        def is_answered() -> bool:
            stamps.append(self.show(mask).stamp)
            time.sleep(0.1)
            return any(grid.header.stamp in stamps for grid in self.grids)

        wait_for(is_answered, 'a grid')
        return self.grids[-1]


def cells_of(grid: OccupancyGrid) -> NDArray[np.int8]:
    return np.array(grid.data, np.int8).reshape(grid.info.height, grid.info.width)


@pytest.fixture
def scene() -> Iterator[Scene]:
    with running_peer() as peer:
        yield Scene(peer)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    with running_node(tmp_path / 'log', program=GROUND, **MOUNT) as process:
        yield process


def test_masks_become_grids_and_what_is_missing_is_told(node: NodeProcess, scene: Scene) -> None:
    scene.show()
    scene.diagnostics.wait_for_message('grids', 'no camera_info has come')
    scene.calibrate()
    scene.show()
    scene.diagnostics.wait_for_message('grids', 'no labels have come')
    scene.label()
    grid = scene.see()
    assert (grid.header.frame_id, grid.info.map_load_time) == ('base', grid.header.stamp)
    assert (grid.info.width, grid.info.height) == (80, 100)
    assert grid.info.resolution == pytest.approx(0.1)
    origin = grid.info.origin
    assert (origin.position.x, origin.position.y, origin.orientation.w) == (0.0, -5.0, 1.0)
    ahead = cells_of(grid)[50]
    assert (ahead[30:48] == 0).all()
    assert 100 in ahead[48:52]
    assert (ahead[54:] == -1).all()
    assert cells_of(grid)[65, 70] == 0  # beside the car
    assert scene.diagnostics.wait_for_level('grids', DiagnosticStatus.OK)

    scene.show(MASK[:, :40].copy())
    status = scene.diagnostics.wait_for_level('masks', DiagnosticStatus.ERROR)
    assert 'aspect ratio of the mask, 40 x 60, got 80 x 60' in status.message
    scene.see()
    scene.diagnostics.wait_for_level('masks', DiagnosticStatus.OK)
    assert node.stop() == 0
    assert 'Traceback' not in node.log


def test_free_classes_change_while_it_runs(node: NodeProcess, scene: Scene) -> None:
    scene.calibrate()
    scene.label()
    assert (cells_of(scene.see()) == 100).any()
    result = scene.peer.try_to_set(NODE, free_labels=['road', 'car', 'lawn'])
    assert result.successful
    wait_for(lambda: not (cells_of(scene.see()) == 100).any(), 'cars to be free')
    status = scene.diagnostics.wait_for_message('grids', 'no such class: lawn')
    assert status.level == DiagnosticStatus.WARN


def test_former_masks_vote_where_the_base_was(tmp_path: Path) -> None:
    with (
        running_node(tmp_path / 'log', program=GROUND, votes=4, **MOUNT),
        running_peer() as peer,
    ):
        scene = Scene(peer)
        scene.diagnostics.wait_for_message('grids', 'no odometry has come')
        scene.calibrate()
        scene.label()
        odometry = peer.connect('/segmentation/odom', 10, Odometry)

        def drive_to(x: float) -> NDArray[np.int8]:
            """The cells of the grid of a mask of a base at x."""
            scene.stamp_ns += 1_000_000_000
            message = Odometry(header=Header(stamp=ns_to_stamp(scene.stamp_ns)))
            message.pose.pose.position.x = x
            message.pose.pose.orientation.z = math.sin(math.pi / 4)  # towards the left
            message.pose.pose.orientation.w = math.cos(math.pi / 4)
            odometry.publish(message)
            time.sleep(0.1)
            return cells_of(scene.grid_of(scene.show()))

        drives = []

        def is_remembered() -> bool:
            """Whether the first mask votes; not if one was there before its odometry was."""
            first, moved = drive_to(0.0), drive_to(1.0)
            drives.append((first, (moved != -1) & (first == -1)))
            return bool(drives[-1][1][10:].any())

        scene.see()
        wait_for(is_remembered, 'cells that only a former mask has seen')
    first, is_new = drives[-1]
    # Facing along y, 1 m along x is 1 m to the right: what was seen is 10 rows to the left.
    assert (first[:-10][is_new[10:]] != -1).all()


def test_time_that_starts_over_makes_a_grid_of_the_new_run_alone(tmp_path: Path) -> None:
    """Odometry is best effort, as that of many drivers."""
    with (
        running_node(tmp_path / 'log', program=GROUND, votes=4, **MOUNT),
        running_peer() as peer,
    ):
        scene = Scene(peer)
        scene.calibrate()
        scene.label()
        odometry = peer.connect('/segmentation/odom', BEST_EFFORT, Odometry)
        alone = cells_of(scene.see())
        start_ns = scene.stamp_ns

        def drive_to(x: float) -> NDArray[np.int8]:
            scene.stamp_ns += 1_000_000_000
            message = Odometry(header=Header(stamp=ns_to_stamp(scene.stamp_ns)))
            message.pose.pose.position.x = x
            message.pose.pose.orientation.w = 1.0
            odometry.publish(message)
            time.sleep(0.1)
            return cells_of(scene.grid_of(scene.show()))

        def is_remembered() -> bool:
            return bool((drive_to(0.0) != drive_to(1.0)).any())

        wait_for(is_remembered, 'a vote of a former mask')
        scene.stamp_ns = start_ns
        scene.grids.clear()
        for _ in range(2):
            np.testing.assert_array_equal(drive_to(5.0), alone)


def test_masks_wait_for_their_confidence(tmp_path: Path) -> None:
    values = {'min_confidence': '0.5', **MOUNT}
    with running_node(tmp_path / 'log', program=GROUND, **values), running_peer() as peer:
        scene = Scene(peer)
        scene.calibrate()
        scene.label()
        confidences = peer.connect('/segmentation/confidence')

        def some_are_given_up() -> bool:
            scene.show()
            counted = scene.diagnostics.values('masks')
            return int(counted.get('dropped_no_confidence', '0')) > 1

        wait_for(some_are_given_up, 'masks without confidence', pause_s=0.02)
        scene.diagnostics.wait_for_message('grids', 'no confidence has come')
        assert not scene.grids
        confidence = np.full((60, 80), 255, np.uint8)
        confidence[:, :40] = 100

        def is_answered() -> bool:
            header = scene.show()
            confidences.publish(array_to_image(confidence, 'mono8', header))
            time.sleep(0.1)
            return any(grid.header.stamp == header.stamp for grid in scene.grids)

        wait_for(is_answered, 'a grid')
        cells = cells_of(scene.grids[-1])
        # 3 m ahead, 1 m to the left and to the right.
        assert [cells[row, 30] for row in (60, 40)] == [-1, 0]
        assert scene.diagnostics.wait_for_level('grids', DiagnosticStatus.OK)


def test_every_mask_is_counted_where_stamps_come_twice(tmp_path: Path) -> None:
    values = {'min_confidence': '0.5', **MOUNT}
    with running_node(tmp_path / 'log', program=GROUND, **values), running_peer() as peer:
        scene = Scene(peer)
        scene.calibrate()
        scene.label()
        publishers = {'mask': scene.masks, 'confidence': peer.connect('/segmentation/confidence')}
        pixels = {'mask': MASK, 'confidence': np.full((60, 80), 255, np.uint8)}
        num_masks = 0

        def publish(topic: str, stamp_ns: int) -> None:
            nonlocal num_masks
            header = Header(stamp=ns_to_stamp(stamp_ns), frame_id='optical')
            publishers[topic].publish(array_to_image(pixels[topic], 'mono8', header))
            num_masks += topic == 'mask'

        def dropped(*names: str) -> int:
            masks = scene.diagnostics.values('masks')
            return sum(int(masks[key]) for key in masks if key.startswith(names))

        def is_ready() -> bool:
            publish('mask', 0)  # never waits for a confidence
            return dropped('dropped_no_confidence') > 0

        def missing() -> int:
            """Masks that are neither grids nor dropped."""
            grids = int(scene.diagnostics.values('grids')['grids'])
            return num_masks - dropped('dropped_') - grids

        wait_for(is_ready, 'calibration and labels', pause_s=0.1)
        for stamp_ns in range(1, 6):
            for topic in ('confidence', 'confidence', 'mask', 'confidence', 'mask'):
                publish(topic, stamp_ns)
                time.sleep(0.05)  # topics have no common order: if another one, nothing is missing
        wait_for(lambda: missing() == 0, 'all masks to be counted')


@pytest.mark.parametrize(
    ('given', 'words'),
    [
        ({'min_range': '10.0', **MOUNT}, '`min_range` must be below max_range (10.0), got 10.0'),
        ({'resolution': '0.0'}, '`resolution` must be a number from 0.01 to 1.0, got 0.0'),
    ],
)
def test_wrong_parameters_are_told_and_end_the_node(
    tmp_path: Path, given: dict[str, str], words: str
) -> None:
    process = NodeProcess(tmp_path / 'log', program=GROUND, **given)
    assert process.wait() == 2
    assert words in process.log


TF2_ROS = """
from geometry_msgs.msg import TransformStamped
class TransformException(Exception): pass
class Buffer:
    def lookup_transform(self, target_frame, source_frame, time):
        if (target_frame, source_frame) != ('base_footprint', 'optical') or time.nanoseconds:
            raise TransformException('frame does not exist')
        found = TransformStamped()
        found.transform.translation.z = 1.0
        turn = found.transform.rotation
        turn.x, turn.y, turn.z, turn.w = -0.5, 0.5, -0.5, 0.5
        return found
class TransformListener:
    def __init__(self, buffer, node): assert isinstance(buffer, Buffer) and node.get_name()
"""
"""As much of tf2_ros as the node uses; there is no wheel of the real one."""


def test_the_pose_is_looked_up_by_the_frame_of_the_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'tf2_ros.py').write_text(TF2_ROS)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path), prepend=os.pathsep)
    with running_node(tmp_path / 'log', program=GROUND), running_peer() as peer:
        scene = Scene(peer)
        scene.calibrate()
        scene.label()
        grid = scene.see()
        assert grid.header.frame_id == 'base_footprint'
        ahead = cells_of(grid)[100]
        assert (ahead[60:96] == 0).all()
        assert 100 in ahead[96:104]
        elsewhere = Header(stamp=scene.show().stamp, frame_id='rear')
        scene.masks.publish(array_to_image(MASK, 'mono8', elsewhere))
        status = scene.diagnostics.wait_for_level('masks', DiagnosticStatus.ERROR)
        assert "no transform from 'rear' to 'base_footprint': frame does not" in status.message


def test_a_robot_without_tf_is_told_to_say_where_the_camera_is(tmp_path: Path) -> None:
    try:
        import tf2_ros  # noqa: F401
    except ImportError:
        process = NodeProcess(tmp_path / 'log', program=GROUND)
        assert process.wait() == 2
        assert '`camera_height` must be above 0 where tf2_ros is not installed' in process.log
    else:
        pytest.skip('tf2_ros is installed')
