"""Labelled points as sensor_msgs/PointCloud2; no node, no rclpy."""

from __future__ import annotations

import array
import sys

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from dcfm_ros.cloud.points import POINT

_DATATYPES = {np.dtype('f4'): PointField.FLOAT32, np.dtype('u4'): PointField.UINT32}


def point_fields() -> list[PointField]:
    """The fields of a `POINT`."""
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
    height, width = points.shape if points.ndim == 2 else (1, points.size)
    cloud = PointCloud2(header=header, height=height, width=width, is_dense=is_dense)
    cloud.fields = point_fields()
    cloud.is_bigendian = sys.byteorder == 'big'
    cloud.point_step, cloud.row_step = POINT.itemsize, POINT.itemsize * width
    data = array.array('B')  # the only type that a message takes over unchecked
    data.frombytes(np.ascontiguousarray(points).reshape(-1).view(np.uint8).data)
    cloud.data = data
    return cloud
