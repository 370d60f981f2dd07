"""The processes of `dcfm bench --transport`: one sends images over DDS, one takes them.

The sender prints a line of JSON for the middleware, and one for each row of the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
import json
import os
from pathlib import Path
from select import select
import subprocess
import sys
import time
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dcfm_ros.play.fastdds import shared_segment_mb, use_profile
from dcfm_ros.play.process_meter import ProcessMeter
from dcfm_ros.ros.messages import array_to_image, ns_to_stamp, stamp_to_ns
from dcfm_ros.synthetic.drive import DriveConfig, render_drive

_TOPIC = '/transport/image'
_IMAGES = 12
"""Different images that are sent in turn."""
_WAIT_S = 60.0
_SETTLE_S = 0.5
"""From the match of both ends to the first image, and from the last one to the end."""


def send(options: dict[str, Any]) -> None:
    """Send the images of every row to a taker: `profile`, `sizes`, `frames` and `rate_hz`."""
    profile = options['profile']
    use_profile(Path(profile) if profile else None)
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    _print(
        rmw=rclpy.get_rmw_implementation_identifier(),
        ros_distro=os.environ.get('ROS_DISTRO'),
        discovery_range=os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'],
    )
    drive = DriveConfig(height=360, width=480, num_frames=_IMAGES, seed=1)
    images = [image for image, _ in render_drive(drive)]
    for height, width in options['sizes']:
        resized = [np.asarray(cv2.resize(image, (width, height)), np.uint8) for image in images]
        for reliability in ('reliable', 'best_effort'):
            facts = {
                'profile': Path(profile).stem if profile else 'none',
                'size': f'{width}x{height}',
                'reliability': reliability,
            }
            _print(facts=facts, **_measure(resized, reliability, options))


def take(reliability: str) -> None:
    """Take images until the standard input is closed; then print, by stamp, when each came."""
    received_s: dict[int, float] = {}

    def on_image(message: Image) -> None:
        received_s[stamp_to_ns(message.header.stamp)] = time.monotonic()

    with _node('frame_taker') as node:
        node.create_subscription(Image, _TOPIC, on_image, _qos(1, reliability))
        while not select([sys.stdin], [], [], 0)[0]:  # readable once it is closed
            rclpy.spin_once(node, timeout_sec=0.1)
    print(json.dumps(received_s))


def _measure(images: list[NDArray[np.uint8]], reliability: str, options: Any) -> dict[str, Any]:
    messages = [array_to_image(image, 'rgb8', Header()) for image in images]
    sent_s: dict[int, float] = {}
    command = [sys.executable, '-m', 'dcfm_ros.play.transport_probe', 'take', reliability]
    pipe = subprocess.PIPE
    with (
        _node('frame_sender') as node,
        # Ends when its input is closed, at the latest on leaving.
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as taker,
    ):
        publisher = node.create_publisher(Image, _TOPIC, _qos(10, reliability))
        with ProcessMeter(taker.pid) as meter:
            _wait_for_match(publisher)
            segment_mb = shared_segment_mb(os.getpid())
            start_cpu_s = time.process_time()
            due_s = time.monotonic()
            for index, message in enumerate(islice(cycle(messages), options['frames'])):
                time.sleep(max(0.0, due_s + index / options['rate_hz'] - time.monotonic()))
                message.header.stamp = ns_to_stamp(index + 1)
                sent_s[index + 1] = time.monotonic()
                publisher.publish(message)
            cpu_s = time.process_time() - start_cpu_s
            end_s = time.monotonic()
            time.sleep(_SETTLE_S)
        output, _ = taker.communicate(timeout=_WAIT_S)
    received_s = json.loads(output.splitlines()[-1])  # before it, complaints of Fast DDS
    return {
        'segment_mb': segment_mb,
        'sent_s': list(sent_s.values()),
        'latencies_ms': [(s - sent_s[int(stamp)]) * 1e3 for stamp, s in received_s.items()],
        'receiver': meter.figures(sent_s[1], end_s),
        'sender_cpu_s': cpu_s,
    }


@contextmanager
def _node(name: str) -> Iterator[Node]:
    rclpy.init()
    node = Node(name, use_global_arguments=False)
    try:
        yield node
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def _qos(depth: int, reliability: str) -> QoSProfile:
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy[reliability.upper()])


def _wait_for_match(publisher: Any) -> None:
    end_s = time.monotonic() + _WAIT_S
    while publisher.get_subscription_count() == 0:
        if time.monotonic() > end_s:
            raise TimeoutError(f'waited {_WAIT_S:.0f} s for a subscription of {_TOPIC}')
        time.sleep(0.02)
    time.sleep(_SETTLE_S)


def _print(**values: Any) -> None:
    print(json.dumps(values), flush=True)


if __name__ == '__main__':
    if sys.argv[1] == 'send':
        send(json.loads(sys.argv[2]))
    else:
        take(sys.argv[2])
