#!/usr/bin/env bash
# What happens: the ROS wheels publish another value than the one assigned when its Python type is
#   not the exact one of the field. A bool field that holds numpy.True_ arrives as False; a float64
#   field that holds the int 3 or a numpy.float32 arrives as a number close to zero. Nothing is
#   raised or logged, and the message still prints the right value before it is published.
#   (Fields are unchecked by default since Jazzy; builds with C assertions abort instead.)
# Why it matters: a segmentation node gets its flags, confidences and timings from NumPy.
#   `mask.any()` and `confidence.max()` are NumPy scalars, a frame count is an int, and they all
#   arrive as False or zero.
# Workaround: wrap every scalar in bool(), int() or float(), and run the tests with
#   ROS_PYTHON_CHECK_FIELDS=1, which raises an error at the assignment.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
# A sourced ROS installation would be found before the wheels.
unset AMENT_PREFIX_PATH LD_LIBRARY_PATH PYTHONPATH ROS_PYTHON_CHECK_FIELDS RMW_IMPLEMENTATION
python3 -m venv venv
venv/bin/pip install -qq numpy==2.2.6 ros-rclpy==7.1.6 ros-std-msgs==5.3.6 \
    ros-rmw-fastrtps-cpp==8.4.3
venv/bin/python -I - <<'PYTHON'
from importlib.metadata import version
import platform

import numpy as np
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Bool, Float64


def publish_and_receive(message):
    """Convert as publish() and a subscription do, without the network in between."""
    return deserialize_message(serialize_message(message), type(message)).data


print(
    f'versions: ros-rclpy {version("ros-rclpy")}, NumPy {np.__version__}, '
    f'Python {platform.python_version()}'
)
print('expected: the value that was assigned, or an exception')
mask = np.ones((480, 640), np.uint8)
confidence = np.full((480, 640), 0.5, np.float32)
changed = []
for message in (Bool(data=mask.any()), Float64(data=3), Float64(data=confidence.max())):
    received = publish_and_receive(message)
    print(f'seen: {type(message).__name__}.data = {message.data!r} arrives as {received!r}')
    if received == message.data:
        changed.append(type(message).__name__)
if (
    publish_and_receive(Bool(data=bool(mask.any()))) is not True
    or publish_and_receive(Float64(data=3.0)) != 3.0
):
    raise SystemExit('Plain bool and float do not arrive either: this is another problem.')
if changed:
    raise SystemExit(f'The behaviour has changed: {changed} arrived intact.')
print('The surprise is still there.')
PYTHON
