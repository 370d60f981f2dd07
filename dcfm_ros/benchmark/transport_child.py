"""The process that sends images for `transport`: half of its table, with one profile or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
import time
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dcfm_ros.benchmark.frames import read_frames
from dcfm_ros.benchmark.transport import RELIABILITIES, transport_row
from dcfm_ros.models.checkpoint import find_checkpoint
from dcfm_ros.play.fastdds import shared_segment_mb, use_profile
from dcfm_ros.play.node_process import node_process
from dcfm_ros.play.player import PlayedFrame, Player, connect
from dcfm_ros.play.process_meter import ProcessMeter
from dcfm_ros.play.report import PlayReport
from dcfm_ros.ros.messages import array_to_image, ns_to_stamp

_TOPIC = '/transport/image'
_IMAGES = 12
"""Different images that are sent in turn."""
_WARM_UP = 8
_WAIT_S = 60.0
_READY_S = 300.0
"""For the node to load its network and to warm it up, on a busy machine."""
_SETTLE_S = 0.5
"""From the match of both ends to the first image, and from the last one to the end."""


def main() -> None:
    """Measure; a line of JSON for the middleware, and one for each row."""
    options: dict[str, Any] = json.loads(sys.argv[1])
    profile = options['profile']
    use_profile(Path(profile) if profile else None)
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    _say(
        rmw=rclpy.get_rmw_implementation_identifier(),
        ros_distro=os.environ.get('ROS_DISTRO'),
        discovery_range=os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'],
    )
    images = [frame.image for frame in read_frames(None, (360, 480), _IMAGES)]
    facts = {'profile': Path(profile).stem if profile else 'none'}
    for size in options['sizes']:
        resized = _resized(images, size)
        for reliability in RELIABILITIES:
            row = {**facts, 'to': 'subscriber', **_sent(size, reliability)}
            _say(**_to_subscriber(row, resized, reliability, options))
    with _node(options) as meter:
        for size in options['sizes']:
            resized = _resized(images, size)
            for reliability in RELIABILITIES:
                row = {**facts, 'to': 'node', **_sent(size, reliability)}
                with connect(reliability=reliability, on_mask=lambda index, mask: None) as player:
                    if reliability == 'reliable':  # another size may need another graph
                        _play(player, resized[:_WARM_UP], _WARM_UP, None)
                    row |= _to_node(row, player, meter, resized, options)
                _say(**row)


def _to_subscriber(
    facts: dict[str, Any], images: list[NDArray[np.uint8]], reliability: str, options: Any
) -> dict[str, Any]:
    messages = [array_to_image(image, 'rgb8', Header()) for image in images]
    sent_s: dict[int, float] = {}
    with _publisher(reliability) as publisher, _taker(reliability) as taker:
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
        told, _ = taker.communicate(timeout=_WAIT_S)
    told_s = json.loads(told.splitlines()[-1])  # before it, complaints of Fast DDS
    received_s = {int(stamp): when_s for stamp, when_s in told_s.items()}
    return transport_row(
        {**facts, 'segment_mb': segment_mb},
        list(sent_s.values()),
        [(received_s[stamp] - sent_s[stamp]) * 1e3 for stamp in received_s],
        lost=len(sent_s) - len(received_s),
        replaced=0,
        receiver=meter.figures(sent_s[1], end_s),
        sender_cpu_s=cpu_s,
    )


def _to_node(
    facts: dict[str, Any],
    player: Player,
    meter: ProcessMeter,
    images: list[NDArray[np.uint8]],
    options: Any,
) -> dict[str, Any]:
    start_cpu_s = time.process_time()
    report = _play(player, images, options['frames'], options['rate_hz'])
    cpu_s = time.process_time() - start_cpu_s
    sent_s = [record.sent_s for record in report.records]
    return transport_row(
        {**facts, 'segment_mb': shared_segment_mb(os.getpid())},
        sent_s,
        [record.latency_ms for record in report.records if record.latency_ms is not None],
        lost=report.never_arrived,
        replaced=report.dropped_by_cause['replaced'],
        receiver=meter.figures(sent_s[0], sent_s[-1]),
        sender_cpu_s=cpu_s,
    )


def _play(
    player: Player, images: list[NDArray[np.uint8]], count: int, rate_hz: float | None
) -> PlayReport:
    frames = (
        PlayedFrame(image=image, stamp_ns=(index + 1) * 33_000_000)
        for index, image in enumerate(islice(cycle(images), count))
    )
    return player.play(frames, rate_hz=rate_hz, wait_s=_READY_S if rate_hz is None else _WAIT_S)


@contextmanager
def _node(options: dict[str, Any]) -> Iterator[ProcessMeter]:
    checkpoint = find_checkpoint(options['checkpoint']).resolve()
    parameters = {'checkpoint': str(checkpoint), 'device': options['device']}
    with (
        tempfile.TemporaryDirectory() as folder,
        node_process(parameters, Path(folder) / 'node.log') as process,
        ProcessMeter(process.pid) as meter,
    ):
        yield meter


@contextmanager
def _publisher(reliability: str) -> Iterator[Any]:
    context = Context()
    rclpy.init(context=context)
    node = Node('frame_sender', context=context, use_global_arguments=False)
    try:
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy[reliability.upper()])
        yield node.create_publisher(Image, _TOPIC, qos)
    finally:
        node.destroy_node()
        context.try_shutdown()


@contextmanager
def _taker(reliability: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, '-m', 'dcfm_ros.benchmark.frame_taker', _TOPIC, reliability]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def _wait_for_match(publisher: Any) -> None:
    end_s = time.monotonic() + _WAIT_S
    while publisher.get_subscription_count() == 0:
        if time.monotonic() > end_s:
            raise TimeoutError(f'waited {_WAIT_S:.0f} s for a subscription of {_TOPIC}')
        time.sleep(0.02)
    time.sleep(_SETTLE_S)


def _resized(images: list[NDArray[np.uint8]], size: list[int]) -> list[NDArray[np.uint8]]:
    return [np.asarray(cv2.resize(image, (size[1], size[0])), np.uint8) for image in images]


def _sent(size: list[int], reliability: str) -> dict[str, str]:
    return {'size': f'{size[1]}x{size[0]}', 'reliability': reliability}


def _say(**values: Any) -> None:
    print(json.dumps(values), flush=True)


if __name__ == '__main__':
    main()
