"""segmentation_node and semantic_cloud_node together: the cloud says what the mask says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy')

from peer import answer_to
from running_node import CLOUD, running_node, wait_for
from sensor_msgs.msg import CameraInfo, PointCloud2
from stream import Stream

from dcfm_ros.cloud.points import POINT
from dcfm_ros.ros.messages import array_to_image

pytestmark = pytest.mark.dds


def test_cloud_has_label_and_confidence_of_the_mask_of_its_stamp(
    stream: Stream, tmp_path: Path
) -> None:
    peer = stream.peer
    with running_node(tmp_path / 'log', program=CLOUD) as process:
        depth = peer.connect('/segmentation/depth/image')
        info = peer.connect('/segmentation/depth/camera_info', 1, CameraInfo)
        clouds = peer.listen(PointCloud2, '/segmentation/points')
        confidences = stream.output('confidence')

        def have_come() -> bool:
            image = stream.image()
            pixels = np.full((48, 64), 1500, np.uint16)
            message = array_to_image(pixels.view(np.uint8), '16UC1', image.header)
            message.width = 64
            k = [100.0, 0.0, 64.0, 0.0, 100.0, 48.0, 0.0, 0.0, 1.0]
            info.publish(CameraInfo(width=128, height=96, k=k))
            depth.publish(message)
            stream.ask(image)
            return len(clouds) > 2

        wait_for(have_come, 'clouds', pause_s=0.1)
        assert process.stop() == 0
    stamps = [str(cloud.header) for cloud in clouds]
    assert len(set(stamps)) == len(stamps)
    for cloud in clouds:
        points = np.frombuffer(cloud.data, POINT).reshape(48, 64)
        # The pixel under the centre of a depth pixel is the second of two.
        ids, values = (
            np.frombuffer(answer_to(received, cloud.header).data, np.uint8).reshape(96, 128)
            for received in (stream.masks, confidences)
        )
        assert np.array_equal(points['label'], ids[1::2, 1::2])
        assert np.array_equal(np.rint(points['confidence'] * 255), values[1::2, 1::2])
        assert points['z'] == pytest.approx(1.5)
        assert points['x'][0, 0] == pytest.approx((0 - 32) / 50 * 1.5)
