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


def organised_cloud(
    height: int, width: int, header: Header, point: np.dtype[np.void] = POINT
) -> tuple[PointCloud2, NDArray[np.void]]:
    """A cloud in the order of an image, and its points, (height, width), all of them 0.

    `point` is their `point_type`.

    The points are the memory of the message: what is written to them need not be copied.
    """
    cloud = _cloud(height, width, header, point, is_dense=False)
    data = cloud.data  # grown in place, since without checks a message copies what it is given
    data.append(0)
    data *= height * width * point.itemsize
    points: NDArray[np.void] = np.frombuffer(data, point).reshape(height, width)
    return cloud, points


def dense_cloud(points: NDArray[np.void], header: Header) -> PointCloud2:
    """Put points, (N,), that all have a place in space into a message of one row."""
    cloud = _cloud(1, points.size, header, points.dtype, is_dense=True)
    cloud.data = as_array(points)
    return cloud


def _cloud(
    height: int, width: int, header: Header, point: np.dtype[np.void], *, is_dense: bool
) -> PointCloud2:
    cloud = PointCloud2(header=header, height=height, width=width, is_dense=is_dense)
    cloud.fields = [
        PointField(name=name, offset=offset, datatype=_DATATYPES[kind], count=1)
        for name, (kind, offset, *_) in (point.fields or {}).items()
    ]
    cloud.is_bigendian = sys.byteorder == 'big'
    cloud.point_step, cloud.row_step = point.itemsize, point.itemsize * width
    return cloud
