"""Faults of what comes in: publishers, images, stamps, clocks."""

from __future__ import annotations

import sys
import time

import numpy as np
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from dcfm_ros.ros.messages import ns_to_stamp
from dcfm_ros.torture.faults.camera import IMAGE
from dcfm_ros.torture.faults.process import Watched
from dcfm_ros.torture.faults.stage import Fault, Stage

_MORTAL = """if True:
    import sys, time
    import numpy as np, rclpy
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header

    rclpy.init()
    node = rclpy.create_node('mortal_camera')
    publisher = node.create_publisher(Image, sys.argv[1], 10)
    pixels = np.load(sys.argv[2])
    image = Image(encoding='rgb8', data=pixels.tobytes())
    image.height, image.width, image.step = *pixels.shape[:2], pixels.shape[1] * 3
    number = 0
    while True:
        now, number = time.time_ns(), number + 1
        image.header.stamp.sec, image.header.stamp.nanosec = now // 10**9, now % 10**9
        image.header.frame_id = f'mortal-{sys.argv[3]} {number} 0'
        publisher.publish(image)
        time.sleep(0.03)
"""
_SECOND_NS = 1_000_000_000


def _killed_and_back(stage: Stage) -> None:
    """Two lives of a camera in another process, each ended without a farewell."""
    pixels = stage.folder / 'faults_picture.npy'
    np.save(pixels, stage.camera.pictures[0].pixels)
    for _life in range(2):
        right = stage.camera.masks['right']
        name = f'{time.monotonic_ns()}'
        log = stage.folder / 'faults_mortal.log'
        command = [sys.executable, '-c', _MORTAL, IMAGE, str(pixels), name]
        process = Watched(command, log)
        try:
            stage.wait_for(lambda: stage.camera.masks['right'] > right, 'its first mask')  # noqa: B023
            time.sleep(stage.random.uniform(0.0, 0.5))
        finally:
            process.kill()


def _second_publisher(stage: Stage, reliability: ReliabilityPolicy) -> None:
    camera = stage.camera
    qos = QoSProfile(depth=10, reliability=reliability)
    second = camera.create_publisher(Image, IMAGE, qos)
    with stage.stream():
        for number in range(stage.random.randrange(5, 30)):
            message = camera.good(number % 4)
            message.header.frame_id = f'second-{time.monotonic_ns()} {number} {number % 4}'
            second.publish(message)
            time.sleep(0.04)
    camera.in_its_thread(lambda: camera.destroy_publisher(second))


def _sizes_and_encodings(stage: Stage) -> None:
    camera, random = stage.camera, stage.random
    for _ in range(30):
        camera.send(camera.good(random.randrange(len(camera.pictures))))
        time.sleep(random.choice([0.0, 0.03, 0.1]))


def _broken_images(stage: Stage) -> None:
    """Good ones between them."""
    camera, random = stage.camera, stage.random
    for number in range(20):
        message = camera.good(random.randrange(4))
        if number % 4:
            message.header.frame_id = f'broken {message.header.frame_id}'
            how = random.randrange(5)
            if how == 0:
                message.data = message.data[: random.randrange(len(message.data))]
            elif how == 1:
                message.step = random.randrange(message.width * 3)
            elif how == 2:
                message.encoding = random.choice(['', 'rgb9', '32FC1', 'jpeg'])
            elif how == 3:
                message.height = random.choice([0, 2**31])
            else:
                message.width = random.choice([0, 2**31])
        camera.send(message)
        time.sleep(0.03)


def _no_messages(stage: Stage) -> None:
    """What a publisher of another version of the type sends, or a broken network."""
    camera, random = stage.camera, stage.random
    whole = serialize_message(camera.good(0))
    for number in range(20):
        broken = bytearray(whole[: random.randrange(4, len(whole) - 1)])
        if number % 2:  # lengths of texts and data
            place = random.choice([12, 45, 56])
            broken[place : place + 4] = random.randbytes(4)
        camera.send(bytes(broken))
        time.sleep(0.03)
        camera.send_usual()
        time.sleep(0.03)


def _stamps(stage: Stage) -> None:
    camera, random = stage.camera, stage.random
    now_ns = time.time_ns()
    for number in range(30):
        message = camera.good(number % 4)
        back, gap = now_ns - number * 30_000_000, now_ns + 3600 * _SECOND_NS * random.randrange(9)
        stamp_ns = random.choice([0, 1, now_ns, back, gap, (2**31 - 1) * _SECOND_NS])
        message.header.stamp = ns_to_stamp(stamp_ns)
        camera.send(message)
        time.sleep(0.03)


def _burst(stage: Stage) -> None:
    for _ in range(1000):
        stage.camera.send_usual()


def _silence(stage: Stage) -> None:
    """Longer than the time after which the diagnostics warn."""
    time.sleep(stage.random.uniform(0.5, 2.0))


def _simulated_time(stage: Stage) -> None:
    """A bag that is paused, looped, and played on from somewhere else; then no clock at all."""
    camera, random = stage.camera, stage.random
    clock = camera.create_publisher(Clock, '/clock', 10)
    _use_sim_time(stage, True)
    now_ns = start_ns = 1000 * _SECOND_NS
    for number in range(60):
        what = random.choice(['play'] * 8 + ['pause', 'loop', 'jump'])
        now_ns = {
            'play': now_ns + 33_000_000,
            'pause': now_ns,
            'loop': start_ns,
            'jump': now_ns + random.randrange(3600) * _SECOND_NS,
        }[what]
        clock.publish(Clock(clock=ns_to_stamp(now_ns)))
        message = camera.good(number % 4)
        message.header.stamp = ns_to_stamp(now_ns)
        camera.send(message)
        time.sleep(random.uniform(0.3, 1.0) if what == 'pause' else 0.03)
    _use_sim_time(stage, False)
    camera.in_its_thread(lambda: camera.destroy_publisher(clock))


def _use_sim_time(stage: Stage, value: bool) -> None:
    flag = ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=value)
    parameters = [Parameter(name='use_sim_time', value=flag)]
    answer = stage.call(
        SetParametersAtomically, 'set_parameters_atomically', parameters=parameters
    )
    assert answer.result.successful, answer.result.reason


def _second_reliable(stage: Stage) -> None:
    _second_publisher(stage, ReliabilityPolicy.RELIABLE)


def _second_best_effort(stage: Stage) -> None:
    """The node asks for best effort while it is there."""
    _second_publisher(stage, ReliabilityPolicy.BEST_EFFORT)


FAULTS = (
    Fault('publisher killed, back, killed', _killed_and_back, is_exact=False),
    Fault('second publisher', _second_reliable, is_exact=False),
    Fault('second publisher, best effort', _second_best_effort, is_exact=False),
    Fault('sizes and encodings change', _sizes_and_encodings, compiles=True),
    Fault('broken images', _broken_images),
    Fault('bytes that are no message', _no_messages),
    Fault('stamps jump', _stamps),
    Fault('burst of 1000 images', _burst),
    Fault('camera silent', _silence),
    Fault('simulated time paused, looped, jumping', _simulated_time),
)
