"""Quality of service by parameters: `qos_overrides.<topic>.<entity>.<policy>`."""

from __future__ import annotations

from collections.abc import Iterable

from rclpy.node import Node
from rclpy.qos import QoSPolicyKind
from rclpy.qos_overriding_options import QoSOverridingOptions

PREFIX = 'qos_overrides.'
POLICIES = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY)
_CHOICES = {
    QoSPolicyKind.HISTORY: ('keep_last', 'keep_all'),
    QoSPolicyKind.RELIABILITY: ('reliable', 'best_effort'),
}


def override_name(topic: str, entity: str, policy: QoSPolicyKind) -> str:
    """Name of a parameter; the topic fully qualified, remapped, 'subscription' or 'publisher'."""
    return f'{PREFIX}{topic}.{entity}.{policy.name.lower()}'


def overriding_options(
    node: Node, topic: str, entity: str, *, matched: bool = False
) -> QoSOverridingOptions:
    """Let rclpy apply the overrides of a topic, and declare the policies as parameters.

    With `matched`, reliability follows the other side unless it is given; declared, its first
    value would stay.

    Raises:
        ValueError: If a given value is not allowed; rclpy would say less.
    """
    policies = []
    for policy in POLICIES:
        name = override_name(topic, entity, policy)
        if node.has_parameter(name):
            _check(name, policy, node.get_parameter(name).value)
        elif matched and policy == QoSPolicyKind.RELIABILITY:
            continue
        policies.append(policy)
    return QoSOverridingOptions(policies)


def unused_overrides(node: Node, entities: Iterable[tuple[str, str]]) -> list[str]:
    """One warning for each override that was given and fits none of the (topic, entity) pairs."""
    entities = list(entities)
    used = {override_name(*entity, policy) for entity in entities for policy in POLICIES}
    names = (PREFIX + name for name in node.get_parameters_by_prefix(PREFIX[:-1]))
    # What rclpy declared for former cameras is read-only, what was given is not.
    given = {name for name in names if not node.describe_parameter(name).read_only}
    allowed = ', '.join(f'{PREFIX}{topic}.{entity}.*' for topic, entity in entities)
    policies = ', '.join(policy.name.lower() for policy in POLICIES)
    return [
        f'`{name}` is ignored; there are {allowed} with {policies}'
        for name in sorted(given - used)
    ]


def override_refusal(node: Node, names: Iterable[str]) -> str:
    """Why declared overrides may not be set; '' while rclpy declares them."""
    declared = (name for name in names if name.startswith(PREFIX) and node.has_parameter(name))
    return '; '.join(f'`{name}` can be given at start only' for name in declared)


def _check(name: str, policy: QoSPolicyKind, value: object) -> None:
    if policy == QoSPolicyKind.DEPTH:
        is_allowed = type(value) is int and 1 <= value <= 10000
        allowed = 'a whole number from 1 to 10000'
    else:
        is_allowed = value in _CHOICES[policy]
        allowed = f'one of {", ".join(_CHOICES[policy])}'
    if not is_allowed:
        raise ValueError(f'`{name}` must be {allowed}, got {value!r}')
