from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytest.importorskip('rclpy')

from rcl_interfaces.msg import SetParametersResult
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import HistoryPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from dcfm_ros.ros.qos_overrides import (
    override_name,
    override_refusal,
    overriding_options,
    unused_overrides,
)

RELIABILITY = 'qos_overrides./image.subscription.reliability'
DEPTH = 'qos_overrides./image.subscription.depth'
HISTORY = 'qos_overrides./image.subscription.history'


@contextmanager
def node_with(**values: object) -> Iterator[Node]:
    context = Context()
    rclpy.init(context=context)
    node = Node(
        'overridden',
        context=context,
        use_global_arguments=False,
        parameter_overrides=[Parameter(name, value=value) for name, value in values.items()],
        automatically_declare_parameters_from_overrides=True,
    )
    try:
        yield node
    finally:
        node.destroy_node()
        context.try_shutdown()


def subscribe(node: Node, *, matched: bool = True) -> QoSProfile:
    subscription = node.create_subscription(
        Image,
        '/image',
        print,
        QoSProfile(depth=1),
        qos_overriding_options=overriding_options(node, '/image', 'subscription', matched=matched),
    )
    return subscription.qos_profile


def test_name_of_an_override() -> None:
    assert override_name('/image', 'subscription', QoSPolicyKind.RELIABILITY) == RELIABILITY


def test_overrides_are_applied() -> None:
    given = {RELIABILITY: 'best_effort', DEPTH: 7, HISTORY: 'keep_all'}
    with node_with(**given) as node:
        profile = subscribe(node)
    assert profile.reliability == ReliabilityPolicy.BEST_EFFORT
    assert (profile.depth, profile.history) == (7, HistoryPolicy.KEEP_ALL)


def test_reliability_that_is_matched_is_not_declared() -> None:
    with node_with() as node:
        assert subscribe(node).reliability == ReliabilityPolicy.RELIABLE
        assert not node.has_parameter(RELIABILITY)
        assert node.get_parameter(DEPTH).value == 1


def test_reliability_that_is_not_matched_is_declared() -> None:
    with node_with() as node:
        subscribe(node, matched=False)
        assert node.get_parameter(RELIABILITY).value == 'reliable'


@pytest.mark.parametrize(
    ('name', 'value', 'allowed'),
    [
        (RELIABILITY, 'sometimes', "one of reliable, best_effort, got 'sometimes'"),
        (RELIABILITY, 1, 'one of reliable, best_effort, got 1'),
        (HISTORY, 'keep', "one of keep_last, keep_all, got 'keep'"),
        (DEPTH, 0, 'a whole number from 1 to 10000, got 0'),
        (DEPTH, 'many', "a whole number from 1 to 10000, got 'many'"),
        (DEPTH, True, 'a whole number from 1 to 10000, got True'),
    ],
)
def test_wrong_value_is_refused_with_its_name(name: str, value: object, allowed: str) -> None:
    with node_with(**{name: value}) as node, pytest.raises(ValueError, match='`') as caught:
        subscribe(node)
    assert str(caught.value) == f'`{name}` must be {allowed}'


def test_override_without_a_topic_is_told() -> None:
    with node_with(**{RELIABILITY: 'reliable', 'qos_overrides./imag.publisher.depth': 2}) as node:
        subscribe(node)
        (told,) = unused_overrides(node, [('/image', 'subscription')])
    assert told.startswith('`qos_overrides./imag.publisher.depth` is ignored; there are qos_over')
    assert told.endswith('qos_overrides./image.subscription.* with history, depth, reliability')


def test_what_was_declared_for_an_earlier_camera_is_not_told() -> None:
    with node_with() as node:
        subscribe(node)
        assert unused_overrides(node, [('/front/image', 'subscription')]) == []


def test_overrides_are_given_at_start_only() -> None:
    with node_with(**{DEPTH: 4}) as node:
        told = f'`{DEPTH}` can be given at start only'
        assert override_refusal(node, ['device', DEPTH, HISTORY]) == told
        assert override_refusal(node, ['device', HISTORY]) == ''


def test_rclpy_may_declare_policies_while_changes_are_judged() -> None:
    with node_with() as node:

        def judge(changes: list[Parameter]) -> SetParametersResult:
            reason = override_refusal(node, [change.name for change in changes])
            return SetParametersResult(successful=not reason, reason=reason)

        node.add_on_set_parameters_callback(judge)
        assert subscribe(node).depth == 1
        assert not node.set_parameters([Parameter(DEPTH, value=9)])[0].successful
