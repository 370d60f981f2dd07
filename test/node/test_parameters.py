"""Parameters of a node that runs: what is set takes effect, what is refused does not."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticStatus
from peer import Peer, answer_to, parameter, values_of
from running_node import NODE, SetLive
from sensor_msgs.msg import Image
from stream import Stream

pytestmark = pytest.mark.dds


def pixels(message: Image) -> np.ndarray:
    return np.asarray(message.data, np.uint8).reshape(message.height, message.width, -1)


def inverted(image: Image) -> Image:
    image.data = (255 - np.asarray(image.data, np.uint8)).tobytes()
    return image


def later(image: Image, seconds: int) -> Image:
    image.header.stamp.sec += seconds
    return image


def test_keyframe_interval_holds_from_the_next_frame_on(stream: Stream, set_live: SetLive) -> None:
    set_live(keyframe_interval=2)
    assert stream.reasons(*stream.images_of(4)) == ['reset', '', 'interval', '']
    set_live(keyframe_interval=3)
    assert stream.reasons(*stream.images_of(4)) == ['reset', '', '', 'interval']


def test_schedule_can_be_made_adaptive(stream: Stream, set_live: SetLive) -> None:
    set_live(keyframe_score='image', change_threshold=0.4)
    set_live(keyframe_interval=2, schedule='adaptive')
    images = stream.images_of(5)
    images[3] = inverted(images[3])
    assert stream.reasons(*images) == ['reset', '', '', 'change', 'change']
    set_live(schedule='fixed')
    assert stream.reasons(*stream.images_of(3)) == ['reset', '', 'interval']


def test_change_threshold_is_live(stream: Stream, set_live: SetLive) -> None:
    set_live(schedule='adaptive', change_threshold=100.0)
    images = stream.images_of(2)
    assert stream.reasons(images[0], inverted(images[1])) == ['reset', '']
    set_live(change_threshold=0.0)
    assert stream.reasons(*stream.images_of(2)) == ['reset', 'change']


def test_keyframe_score_is_live(stream: Stream, set_live: SetLive) -> None:
    set_live(schedule='adaptive', change_threshold=100.0, keyframe_score='image')

    def score() -> str:
        stream.reset()
        stream.ask()
        return stream.ask_timing(inverted(stream.image()))['change_score']

    image_score = score()
    set_live(keyframe_score='feature')
    assert float(image_score) > 0.0
    assert float(score()) > 0.0
    assert score() != image_score


def test_longest_interval_is_live(stream: Stream, set_live: SetLive) -> None:
    set_live(schedule='adaptive', change_threshold=100.0, max_keyframe_interval=2)
    assert stream.reasons(*stream.images_of(3)) == ['reset', '', 'max_interval']


def test_shortest_interval_is_live(stream: Stream, set_live: SetLive) -> None:
    set_live(schedule='adaptive', change_threshold=0.0, min_keyframe_interval=3)
    assert stream.reasons(*stream.images_of(4)) == ['reset', '', '', 'change']


def test_oldest_feature_in_seconds_is_live(stream: Stream, set_live: SetLive) -> None:
    set_live(keyframe_interval=1000, max_time_gap_s=0.0, max_feature_age_s=5.0)
    images = stream.images_of(3)
    found = stream.reasons(images[0], later(images[1], 3), later(images[2], 6))
    assert found == ['reset', '', 'max_age']


def test_time_gap_is_live(stream: Stream, set_live: SetLive) -> None:
    set_live(keyframe_interval=1000)
    images = stream.images_of(4)
    assert stream.reasons(images[0], later(images[1], 2)) == ['reset', 'time_gap']
    set_live(max_time_gap_s=0.0)
    assert stream.reasons(later(images[2], 3), later(images[3], 6)) == ['reset', '']


@pytest.mark.parametrize('alpha', [0.0, 1.0])
def test_overlay_alpha_is_live(stream: Stream, set_live: SetLive, alpha: float) -> None:
    overlays, colours = stream.output('overlay'), stream.output('color_mask')
    set_live(overlay_alpha=alpha)
    image = stream.image()
    stream.ask(image)
    under = image if alpha == 0.0 else answer_to(colours, image.header)
    assert np.array_equal(pixels(answer_to(overlays, image.header)), pixels(under))


@pytest.mark.parametrize('name', ['confidence', 'color_mask', 'overlay'])
def test_output_can_be_turned_off_and_on(stream: Stream, set_live: SetLive, name: str) -> None:
    check_switch(stream, set_live, name, stream.output(name))


def test_timing_can_be_turned_off_and_on(stream: Stream, set_live: SetLive) -> None:
    check_switch(stream, set_live, 'timing', stream.timings)


def check_switch(stream: Stream, set_live: SetLive, name: str, received: list[Any]) -> None:
    set_live(**{f'publish_{name}': False})
    silent = [stream.ask().header for _ in range(2)]
    set_live(**{f'publish_{name}': True})
    answer_to(received, stream.ask().header)
    assert not [message for message in received if message.header in silent]


def test_size_of_the_mask_is_live(stream: Stream, set_live: SetLive) -> None:
    set_live(output_width=64, output_height=48)
    mask = stream.ask()
    assert (mask.width, mask.height, mask.step, len(mask.data)) == (64, 48, 64, 64 * 48)
    set_live(output_width=0, output_height=0)
    mask = stream.ask()
    assert (mask.width, mask.height) == (128, 96)


def test_late_frames_are_told_as_soon_as_a_limit_is_set(stream: Stream, set_live: SetLive) -> None:
    set_live(max_allowed_processing_time_ms=0.001)
    stream.ask()
    status = stream.diagnostics.wait_for_level('processing_time', DiagnosticStatus.WARN)
    assert float(values_of(status)['processing_time_ms']) > 0.001
    assert values_of(status)['is_processing_time_ms_in_expected_range'] == 'False'
    set_live(max_acceptable_consecutive_delay_ms=0.001)
    stream.ask()
    stream.diagnostics.wait_for_level('processing_time', DiagnosticStatus.ERROR)
    set_live(max_allowed_processing_time_ms=0.0)
    stream.diagnostics.wait_for_level('processing_time', DiagnosticStatus.OK)


def test_deadlines_are_checked_as_often_as_asked_for(stream: Stream, set_live: SetLive) -> None:
    set_live(max_allowed_processing_time_ms=1000.0, validation_callback_interval_ms=20.0)
    for _ in range(2):  # the second time from one second to the next
        start = len(stream.diagnostics.messages)
        stream.diagnostics.next('model')
    assert len(stream.diagnostics.all('processing_time', start)) > 5


@pytest.mark.parametrize(
    ('name', 'value', 'told'),
    [
        ('keyframe_interval', 0, '1000'),
        ('overlay_alpha', 1.5, '1.0'),
        ('schedule', 'sometimes', "`schedule` must be one of fixed, adaptive, got 'sometimes'"),
        ('publish_overlay', 3, 'Wrong parameter type, expected'),
        ('device', 'cpu', '`device` can be changed while unconfigured only, and the node is act'),
        ('image_transport', 'compressed', 'while unconfigured only'),
        ('cameras', ['front', 'rear'], 'while unconfigured only'),
        ('autostart', False, 'autostart'),
    ],
)
def test_refused_value_leaves_the_old_one(peer: Peer, name: str, value: object, told: str) -> None:
    before = peer.get_values(NODE, name)
    (result,) = peer.set_each(NODE, parameter(name, value))
    assert not result.successful
    assert told in result.reason
    assert peer.get_values(NODE, name) == before


def test_values_that_do_not_go_together_are_refused_together(peer: Peer) -> None:
    names = ('min_keyframe_interval', 'max_keyframe_interval', 'overlay_alpha')
    before = peer.get_values(NODE, *names)
    result = peer.try_to_set(NODE, **dict(zip(names, (5, 4, 0.1), strict=True)))
    told = '`max_keyframe_interval` must be 0 or at least `min_keyframe_interval` (5), got 4'
    assert (result.successful, result.reason) == (False, told)
    assert peer.get_values(NODE, *names) == before


def test_values_that_go_together_only_can_be_set_together(set_live: SetLive) -> None:
    set_live(min_keyframe_interval=2, max_keyframe_interval=4)
    set_live(min_keyframe_interval=5, max_keyframe_interval=8)
    set_live(min_keyframe_interval=0, max_keyframe_interval=0)


def test_storm_of_parameters_loses_no_frame(stream: Stream, peer: Peer, set_live: SetLive) -> None:
    set_live(keyframe_interval=4, overlay_alpha=0.5)  # and back afterwards
    answers: list[list[bool]] = []

    def storm() -> None:
        for index in range(50):
            results = peer.set_each(
                NODE,
                parameter('keyframe_interval', 1 + index % 8),
                parameter('overlay_alpha', index / 100),
                parameter('keyframe_interval', -index - 1),
            )
            answers.append([result.successful for result in results])

    thread = threading.Thread(target=storm)
    thread.start()
    sent = []
    while thread.is_alive():
        sent.append(stream.image())
        stream.ask(sent[-1])
    thread.join()
    assert answers == [[True, True, False]] * 50
    assert len(sent) > 5
    headers = [mask.header for mask in stream.masks]
    assert [headers.count(image.header) for image in sent] == [1] * len(sent)
    assert peer.get_values(NODE, 'keyframe_interval') == [1 + 49 % 8]
