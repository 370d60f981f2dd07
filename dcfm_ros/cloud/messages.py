"""Labelled points as sensor_msgs/PointCloud2; no node, no rclpy."""

from __future__ import annotations

import array
import sys

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from dcfm_ros.cloud.points import POINT

try:
    from sensor_msgs_py.point_cloud2 import create_cloud
except ImportError:  # comes with ROS, but not as a wheel
    create_cloud = None

_DATATYPES = {np.dtype('f4'): PointField.FLOAT32, np.dtype('u4'): PointField.UINT32}


def point_fields() -> list[PointField]:
    """What a `POINT` consists of."""
    assert POINT.names is not None and POINT.fields is not None
    entries = ((name, *POINT.fields[name][:2]) for name in POINT.names)
    return [
        PointField(name=name, offset=offset, datatype=_DATATYPES[kind], count=1)
        for name, kind, offset in entries
    ]


def points_to_cloud(points: NDArray[np.void], header: Header, is_dense: bool) -> PointCloud2:
    """Put points into a message.

    Args:
        points: `POINT`s: (H, W) makes an organised cloud, (N,) one row.
        header: Becomes the header of the message as it is.
        is_dense: Whether all points have a place in space.
    """
    flat = np.ascontiguousarray(points).reshape(-1)
    if create_cloud is not None:
        cloud = create_cloud(header, point_fields(), flat)
    else:
        cloud = _create_cloud(header, flat)
    # Said here, since create_cloud would take (H, W) for W rows of H points.
    cloud.height, cloud.width = points.shape if points.ndim == 2 else (1, points.size)
    cloud.row_step = cloud.point_step * cloud.width
    cloud.is_dense = is_dense
    return cloud


def _create_cloud(header: Header, points: NDArray[np.void]) -> PointCloud2:
    """What sensor_msgs_py does, for where it is not installed."""
    cloud = PointCloud2(header=header, fields=point_fields(), point_step=POINT.itemsize)
    cloud.is_bigendian = sys.byteorder == 'big'
    data = array.array('B')
    data.frombytes(points.view(np.uint8).data)
    cloud.data = data
    return cloud
