"""The process that `transport_child` sends images to: takes them, and tells when each one came."""

from __future__ import annotations

import json
import sys
import threading
import time

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from dcfm_ros.ros.messages import stamp_to_ns


def main() -> None:
    """Take images until the standard input is closed; then tell, by stamp, when each one came."""
    topic, reliability = sys.argv[1:]
    received_s: dict[int, float] = {}

    def on_image(message: Image) -> None:
        received_s[stamp_to_ns(message.header.stamp)] = time.monotonic()

    ended = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    rclpy.init()
    node = rclpy.create_node('frame_taker', use_global_arguments=False)
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy[reliability.upper()])
    node.create_subscription(Image, topic, on_image, qos)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while not ended.is_set():
        executor.spin_once(timeout_sec=0.1)
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown()
    print(json.dumps(received_s))


if __name__ == '__main__':
    main()
