"""Parameters of a node that runs: what is set takes effect, what is refused does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import threading
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters, SetParametersAtomically
from running_node import (
    NodeProcess,
    Peer,
    make_checkpoint,
    running_node,
    running_peer,
    set_parameter,
    wait_for,
)
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

NODE = '/segmentation/segmentation_node'
KINDS = {
    bool: (ParameterType.PARAMETER_BOOL, 'bool_value'),
    int: (ParameterType.PARAMETER_INTEGER, 'integer_value'),
    float: (ParameterType.PARAMETER_DOUBLE, 'double_value'),
    str: (ParameterType.PARAMETER_STRING, 'string_value'),
    list: (ParameterType.PARAMETER_STRING_ARRAY, 'string_array_value'),
}


class Stream:
    """Images to the node, one at a time, and all that comes back for them."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.defaults: dict[str, object] = {}
        self.received = {
            name: peer.listen(kind, f'/segmentation/{topic}')
            for name, kind, topic in [
                ('mask', Image, 'mask'),
                ('overlay', Image, 'overlay'),
                ('confidence', Image, 'confidence'),
                ('color_mask', Image, 'color_mask'),
                ('timing', DiagnosticArray, 'segmentation_node/timing'),
            ]
        }
        self.diagnostics = peer.listen(DiagnosticArray, '/diagnostics')
        self.images = peer.connect()
        self.ask('mask')
        for name in self.received:
            self.ask(name)  # connected in both directions, once this is answered

    def ask(self, name: str = 'mask', image: Image | None = None) -> Any:
        """Send an image; what comes back on a topic."""
        message = image or self.peer.image()
        self.images.publish(message)
        return self.answer(name, message)

    def answer(self, name: str, image: Image) -> Any:
        def found() -> list[Any]:
            return [m for m in self.received[name] if m.header == image.header]

        wait_for(found, f'{name} of {image.header}')
        return found()[0]

    def reasons(self, *images: Image) -> list[str]:
        """Why each of the images was a keyframe, '' if it was none, after a reset."""
        self.peer.call(Trigger, f'{NODE}/reset')
        return [values_of(self.ask('timing', image).status[0])['reason'] for image in images]

    def several(self, count: int) -> list[Image]:
        return [self.peer.image() for _ in range(count)]

    def set(self, **values: Any) -> None:
        """Set parameters, which a fixture sets back."""
        for name, value in values.items():
            self.defaults.setdefault(name, self.get(name))
            assert set_parameter(self.peer, NODE, name, value).successful, (name, value)

    def set_back(self) -> None:
        if self.defaults:
            assert self.set_together(**self.defaults).successful
            self.defaults.clear()

    def get(self, name: str) -> Any:
        answer = self.peer.call(GetParameters, f'{NODE}/get_parameters', names=[name])
        field = next(field for kind, field in KINDS.values() if kind == answer.values[0].type)
        return getattr(answer.values[0], field)

    def set_together(self, **values: Any) -> Any:
        service = f'{NODE}/set_parameters_atomically'
        parameters = [parameter(name, value) for name, value in values.items()]
        return self.peer.call(SetParametersAtomically, service, parameters=parameters).result

    def wait_for_status(self, task: str, level: bytes) -> DiagnosticStatus:
        """A status of that level that comes from now on."""
        seen = len(self.diagnostics)

        def found() -> list[DiagnosticStatus]:
            statuses = [s for m in self.diagnostics[seen:] for s in m.status]
            return [s for s in statuses if s.name == f'{NODE}: {task}' and s.level == level]

        wait_for(found, f'{task} at {level!r}')
        return found()[0]


def parameter(name: str, value: Any) -> Parameter:
    kind, field = KINDS[type(value)]
    return Parameter(name=name, value=ParameterValue(type=kind, **{field: value}))


def values_of(status: DiagnosticStatus) -> dict[str, str]:
    return {entry.key: entry.value for entry in status.values}


def pixels(message: Image) -> np.ndarray:
    return np.asarray(message.data, np.uint8).reshape(message.height, message.width, -1)


def inverted(image: Image) -> Image:
    image.data = (255 - np.asarray(image.data, np.uint8)).tobytes()
    return image


def black(image: Image) -> Image:
    image.data = bytes(len(image.data))
    return image


def later(image: Image, seconds: int) -> Image:
    image.header.stamp.sec += seconds
    return image


@pytest.fixture(scope='module')
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    folder = tmp_path_factory.mktemp('node')
    checkpoint = make_checkpoint(folder / 'tiny.safetensors')
    with running_node(folder / 'log', checkpoint=checkpoint, cpu_threads=1) as process:
        yield process


@pytest.fixture(scope='module')
def running_stream(node: NodeProcess) -> Iterator[Stream]:
    with running_peer() as peer:
        yield Stream(peer)


@pytest.fixture
def stream(running_stream: Stream) -> Iterator[Stream]:
    yield running_stream
    running_stream.set_back()


def test_keyframe_interval_holds_from_the_next_frame_on(stream: Stream) -> None:
    stream.set(keyframe_interval=2)
    assert stream.reasons(*stream.several(4)) == ['reset', '', 'interval', '']
    stream.set(keyframe_interval=3)
    assert stream.reasons(*stream.several(4)) == ['reset', '', '', 'interval']


def test_schedule_can_be_made_adaptive(stream: Stream) -> None:
    stream.set(keyframe_score='image', change_threshold=0.4)
    stream.set(keyframe_interval=2, schedule='adaptive')
    images = stream.several(5)
    images[3] = inverted(images[3])
    assert stream.reasons(*images) == ['reset', '', '', 'change', 'change']
    stream.set(schedule='fixed')
    assert stream.reasons(*stream.several(3)) == ['reset', '', 'interval']


def test_change_threshold_is_live(stream: Stream) -> None:
    stream.set(schedule='adaptive', change_threshold=100.0)
    images = stream.several(2)
    assert stream.reasons(images[0], inverted(images[1])) == ['reset', '']
    stream.set(change_threshold=0.0)
    assert stream.reasons(*stream.several(2)) == ['reset', 'change']


def test_keyframe_score_is_live(stream: Stream) -> None:
    stream.set(schedule='adaptive', change_threshold=100.0, keyframe_score='image')

    def score() -> str:
        stream.peer.call(Trigger, f'{NODE}/reset')
        stream.ask()
        answer = stream.ask('timing', inverted(stream.peer.image()))
        return values_of(answer.status[0])['change_score']

    image_score = score()
    stream.set(keyframe_score='feature')
    assert float(image_score) > 0.0
    assert float(score()) > 0.0
    assert score() != image_score


def test_longest_interval_is_live(stream: Stream) -> None:
    stream.set(keyframe_interval=1000, max_keyframe_interval=2)
    assert stream.reasons(*stream.several(3)) == ['reset', '', 'interval']
    stream.set(schedule='adaptive', change_threshold=100.0)
    assert stream.reasons(*stream.several(3)) == ['reset', '', 'max_interval']


def test_longest_interval_in_seconds_is_live(stream: Stream) -> None:
    stream.set(keyframe_interval=1000, max_time_gap_s=0.0, max_keyframe_interval_s=5.0)
    images = stream.several(3)
    found = stream.reasons(images[0], later(images[1], 3), later(images[2], 6))
    assert found == ['reset', '', 'max_interval']


def test_shortest_interval_is_live(stream: Stream) -> None:
    stream.set(schedule='adaptive', change_threshold=0.0, min_keyframe_interval=3)
    assert stream.reasons(*stream.several(4)) == ['reset', '', '', 'change']


def test_oldest_feature_is_live(stream: Stream) -> None:
    stream.set(keyframe_interval=1000, max_feature_age=1)
    assert stream.reasons(*stream.several(3)) == ['reset', '', 'max_age']


def test_oldest_feature_in_seconds_is_live(stream: Stream) -> None:
    stream.set(keyframe_interval=1000, max_time_gap_s=0.0, max_feature_age_s=5.0)
    images = stream.several(3)
    found = stream.reasons(images[0], later(images[1], 3), later(images[2], 6))
    assert found == ['reset', '', 'max_age']


def test_drop_of_confidence_is_live(stream: Stream) -> None:
    stream.set(schedule='adaptive', change_threshold=100.0)
    noise = stream.peer.image

    def reasons() -> list[str]:
        into_the_dark = stream.reasons(noise(), black(noise()), black(noise()))
        return into_the_dark + stream.reasons(black(noise()), noise(), noise())

    assert reasons() == ['reset', '', ''] * 2
    stream.set(confidence_drop=0.001)
    assert reasons().count('confidence') == 1, 'it drops one way or the other'


def test_time_gap_is_live(stream: Stream) -> None:
    stream.set(keyframe_interval=1000)
    images = stream.several(4)
    assert stream.reasons(images[0], later(images[1], 2)) == ['reset', 'time_gap']
    stream.set(max_time_gap_s=0.0)
    assert stream.reasons(later(images[2], 3), later(images[3], 6)) == ['reset', '']


@pytest.mark.parametrize('alpha', [0.0, 1.0])
def test_overlay_alpha_is_live(stream: Stream, alpha: float) -> None:
    stream.set(overlay_alpha=alpha)
    image = stream.peer.image()
    overlay = stream.ask('overlay', image)
    under = image if alpha == 0.0 else stream.answer('color_mask', image)
    assert np.array_equal(pixels(overlay), pixels(under))


@pytest.mark.parametrize('name', ['confidence', 'color_mask', 'overlay', 'timing'])
def test_output_can_be_turned_off_and_on(stream: Stream, name: str) -> None:
    stream.set(**{f'publish_{name}': False})
    silent = [stream.ask('mask').header for _ in range(2)]
    stream.set(**{f'publish_{name}': True})
    stream.ask(name)
    assert not [m for m in stream.received[name] if m.header in silent]


def test_size_of_the_mask_is_live(stream: Stream) -> None:
    stream.set(output_width=64, output_height=48)
    mask = stream.ask()
    assert (mask.width, mask.height, mask.step, len(mask.data)) == (64, 48, 64, 64 * 48)
    stream.set(output_width=0, output_height=0)
    mask = stream.ask()
    assert (mask.width, mask.height) == (128, 96)


def test_late_frames_are_told_as_soon_as_a_limit_is_set(stream: Stream) -> None:
    stream.set(max_allowed_processing_time_ms=0.001)
    stream.ask()
    status = stream.wait_for_status('processing_time', DiagnosticStatus.WARN)
    assert float(values_of(status)['processing_time_ms']) > 0.001
    assert values_of(status)['is_processing_time_ms_in_expected_range'] == 'False'
    stream.set(max_acceptable_consecutive_delay_ms=0.001)
    stream.ask()
    stream.wait_for_status('processing_time', DiagnosticStatus.ERROR)
    stream.set(max_allowed_processing_time_ms=0.0)
    stream.wait_for_status('processing_time', DiagnosticStatus.OK)


def test_deadlines_are_checked_as_often_as_asked_for(stream: Stream) -> None:
    stream.set(max_allowed_processing_time_ms=1000.0, validation_callback_interval_ms=20.0)
    seen = len(stream.diagnostics)
    stream.wait_for_status('model', DiagnosticStatus.WARN)
    start = len(stream.diagnostics)
    stream.wait_for_status('model', DiagnosticStatus.WARN)  # a second later
    between = stream.diagnostics[start - 1 : len(stream.diagnostics)]
    checks = [s for m in between for s in m.status if s.name.endswith('processing_time')]
    assert seen < start
    assert 15 <= len(checks) <= 60


@pytest.mark.parametrize(
    ('name', 'value', 'told'),
    [
        ('keyframe_interval', 0, '1000'),
        ('overlay_alpha', 1.5, '1.0'),
        ('schedule', 'sometimes', "`schedule` must be one of fixed, adaptive, got 'sometimes'"),
        ('publish_overlay', 3, "expected 'Type.BOOL' got 'Type.INTEGER'"),
        ('device', 'cpu', '`device` can be changed while unconfigured only, and the node is act'),
        ('image_transport', 'compressed', 'while unconfigured only'),
        ('autostart', False, 'autostart'),
    ],
)
def test_refused_value_leaves_the_old_one(
    stream: Stream, name: str, value: object, told: str
) -> None:
    before = stream.get(name)
    result = set_parameter(stream.peer, NODE, name, value)
    assert not result.successful
    assert told in result.reason
    assert stream.get(name) == before


def test_values_that_do_not_go_together_are_refused_together(stream: Stream) -> None:
    result = stream.set_together(
        min_keyframe_interval=5, max_keyframe_interval=4, overlay_alpha=0.1
    )
    told = '`max_keyframe_interval` must be 0 or at least `min_keyframe_interval` (5), got 4'
    assert (result.successful, result.reason) == (False, told)
    names = ('min_keyframe_interval', 'max_keyframe_interval', 'overlay_alpha')
    assert [stream.get(name) for name in names] == [0, 0, 0.5]


def test_values_that_go_together_only_can_be_set_together(stream: Stream) -> None:
    stream.set(min_keyframe_interval=2, max_keyframe_interval=4)
    assert stream.set_together(min_keyframe_interval=5, max_keyframe_interval=8).successful
    assert stream.set_together(min_keyframe_interval=0, max_keyframe_interval=0).successful


@pytest.mark.parametrize(
    ('arguments', 'told'),
    [
        (['cameras:=[]'], "an empty list is written ['']"),
        (['cameras:=[front, front]'], '`cameras` must be a list of different names'),
        (
            ['min_keyframe_interval:=5', 'max_keyframe_interval:=4'],
            '`max_keyframe_interval` must be 0 or at least `min_keyframe_interval` (5), got 4',
        ),
    ],
)
def test_start_with_wrong_values_ends_with_the_reason(
    tmp_path: Path, arguments: list[str], told: str
) -> None:
    given = [text for argument in arguments for text in ('-p', argument)]
    process = NodeProcess(tmp_path / 'log', *given)
    assert process.wait() == 2
    assert told in process.log
    assert 'Traceback' not in process.log


def test_camera_names_are_refused_while_active(stream: Stream) -> None:
    result = stream.set_together(cameras=['front', 'rear'])
    assert not result.successful
    assert 'while unconfigured only' in result.reason


def test_storm_of_parameters_loses_no_frame(stream: Stream) -> None:
    stream.set(keyframe_interval=4, overlay_alpha=0.5)
    service = f'{NODE}/set_parameters'
    client = stream.peer.create_client(SetParameters, service)
    assert client.wait_for_service(10.0)
    answers: list[Any] = []

    def storm() -> None:
        for index in range(100):
            values = [
                parameter('keyframe_interval', 1 + index % 8),
                parameter('overlay_alpha', index / 100),
                parameter('keyframe_interval', -index - 1),
            ]
            future = client.call_async(SetParameters.Request(parameters=values))
            wait_for(future.done, 'an answer of set_parameters', pause_s=0.001)
            answers.append([result.successful for result in future.result().results])

    thread = threading.Thread(target=storm)
    thread.start()
    sent = []
    while thread.is_alive():
        sent.append(stream.peer.image())
        stream.ask('mask', sent[-1])
    thread.join()
    stream.peer.destroy_client(client)
    assert answers == [[True, True, False]] * 100
    assert len(sent) > 5
    headers = [message.header for message in stream.received['mask']]
    assert [headers.count(image.header) for image in sent] == [1] * len(sent)
    assert stream.get('keyframe_interval') == 1 + 99 % 8
