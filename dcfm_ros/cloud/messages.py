"""Labelled points as sensor_msgs/PointCloud2; no node, no rclpy."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from dcfm_ros.cloud.points import POINT
from dcfm_ros.ros.messages import as_array

_DATATYPES = {np.dtype('f4'): PointField.FLOAT32, np.dtype('u4'): PointField.UINT32}


def points_to_cloud(points: NDArray[np.void], header: Header, is_dense: bool) -> PointCloud2:
    """Put points into a message.

    Args:
        points: `POINT`s: (H, W) makes an organised cloud, (N,) one row.
        header: Becomes the header of the message as it is.
        is_dense: Whether all points have a place in space.
    """
    height, width = points.shape if points.ndim == 2 else (1, points.size)
    cloud = PointCloud2(header=header, height=height, width=width, is_dense=is_dense)
    cloud.fields = [
        PointField(name=name, offset=offset, datatype=_DATATYPES[kind], count=1)
        for name, (kind, offset, *_) in (POINT.fields or {}).items()
    ]
    cloud.is_bigendian = sys.byteorder == 'big'
    cloud.point_step, cloud.row_step = POINT.itemsize, POINT.itemsize * width
    cloud.data = as_array(points)
    return cloud
