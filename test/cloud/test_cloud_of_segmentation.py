"""segmentation_node and semantic_cloud_node together: the cloud says what the mask says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy')

from running_node import NodeProcess, make_checkpoint, running_node, running_peer, wait_for
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from dcfm_ros.cloud.points import POINT
from dcfm_ros.ros.messages import array_to_image


class CloudProcess(NodeProcess):
    program = ('-m', 'dcfm_ros.cloud.node')


def test_cloud_has_label_and_confidence_of_the_mask_of_its_stamp(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / 'weights.safetensors')
    clouds = CloudProcess(tmp_path / 'cloud.log')
    try:
        with (
            running_node(tmp_path / 'log', checkpoint=checkpoint, device='cpu'),
            running_peer() as peer,
        ):
            camera = peer.connect('/segmentation/image')
            depth = peer.connect('/segmentation/depth/image')
            info = peer.create_publisher(CameraInfo, '/segmentation/depth/camera_info', 1)
            received: dict[str, list[Any]] = {
                topic: peer.listen(kind, f'/segmentation/{topic}')
                for topic, kind in [
                    ('points', PointCloud2),
                    ('mask', Image),
                    ('confidence', Image),
                ]
            }

            def has_come() -> bool:
                image = peer.image(96, 128)
                pixels = np.full((48, 64), 1500, np.uint16)
                message = array_to_image(pixels.view(np.uint8), '16UC1', image.header)
                message.width = 64
                k = [100.0, 0.0, 64.0, 0.0, 100.0, 48.0, 0.0, 0.0, 1.0]
                info.publish(CameraInfo(width=128, height=96, k=k))
                depth.publish(message)
                camera.publish(image)
                return len(received['points']) > 2

            wait_for(has_come, 'clouds', pause_s=0.1)
    finally:
        assert clouds.stop() == 0
    stamps = [str(cloud.header) for cloud in received['points']]
    assert len(set(stamps)) == len(stamps)
    for cloud in received['points']:
        mask, confidence = (
            next(m for m in received[topic] if m.header == cloud.header)
            for topic in ('mask', 'confidence')
        )
        points = np.frombuffer(cloud.data, POINT).reshape(48, 64)
        # The pixel under the centre of a depth pixel is the second of two.
        ids, values = (
            np.frombuffer(m.data, np.uint8).reshape(96, 128)[1::2, 1::2]
            for m in (mask, confidence)
        )
        assert np.array_equal(points['label'], ids)
        assert np.array_equal(np.rint(points['confidence'] * 255), values)
        assert points['z'] == pytest.approx(1.5)
        assert points['x'][0, 0] == pytest.approx((0 - 32) / 50 * 1.5)
