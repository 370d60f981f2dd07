"""A subscription that asks for as much as the publishers of its topic offer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
    qos_policy_name_from_kind,
)

from dcfm_ros.ros.qos_overrides import is_overridden, overriding_options


class MatchedSubscription:
    """Reliable, or best effort as long as a publisher offers no more.

    Best effort loses large images, and asking for more than is offered gets nothing at all. What
    the node's `qos_overrides` say wins.
    """

    def __init__(
        self,
        node: Node,
        kind: Any,
        name: str,
        callback: Callable[..., None],
        *,
        on_subscribe: Callable[[int], None] | None = None,
        on_matched: Callable[[Any], None] | None = None,
        takes_latched: bool = False,
        depth: int = 1,
    ) -> None:
        """Subscribe at once.

        Args:
            node: Whose the subscription is.
            kind: Type of the messages.
            name: Of the topic, not remapped yet: rclpy does that, and would do it once more.
            callback: Given each message and, if it takes two arguments, rclpy's message info.
            on_subscribe: Told the number of publishers before each subscription, also a new one
                that asks for something else.
            on_matched: Given rclpy's event when publishers come or go.
            takes_latched: Whether to ask for the last message from before, if all publishers keep
                it.
            depth: Of the queue.
        """
        self.topic = node.resolve_topic_name(name)
        """Fully qualified, remapped."""
        self._node = node
        self._name = name
        self._kind = kind
        self._callback = callback
        self._on_subscribe = on_subscribe
        self._on_matched = on_matched
        self._takes_latched = takes_latched
        self._depth = depth
        self._is_overridden = is_overridden(
            node, self.topic, 'subscription', QoSPolicyKind.RELIABILITY
        )
        self._subscription: Any = None
        self._subscribe(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)
        self.match()

    @property
    def publishers(self) -> int:
        """How many it is connected to."""
        return int(self._subscription.get_publisher_count())

    @property
    def reliability(self) -> str:
        """'reliable' or 'best_effort', as asked for."""
        return str(self._subscription.qos_profile.reliability.name.lower())

    def match(self) -> None:
        """Look at what the publishers offer now; to be called once in a while."""
        infos = self._node.get_publishers_info_by_topic(self._name)
        if not infos:
            return
        now, offers = self._subscription.qos_profile, [info.qos_profile for info in infos]
        reliability, durability = ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE
        if any(offer.reliability == ReliabilityPolicy.BEST_EFFORT for offer in offers):
            reliability = ReliabilityPolicy.BEST_EFFORT
        if self._is_overridden:
            reliability = now.reliability
        are_latched = all(o.durability == DurabilityPolicy.TRANSIENT_LOCAL for o in offers)
        if self._takes_latched and are_latched:
            durability = DurabilityPolicy.TRANSIENT_LOCAL
        if (reliability, durability) != (now.reliability, now.durability):
            asked = f'{reliability.name}, {durability.name}'
            self._node.get_logger().info(f'subscribing to {self.topic} anew, as offered: {asked}')
            self._subscribe(reliability, durability)

    def destroy(self) -> None:
        """Let go of it."""
        self._node.destroy_subscription(self._subscription)

    def _subscribe(self, reliability: ReliabilityPolicy, durability: DurabilityPolicy) -> None:
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        if self._on_subscribe is not None:
            self._on_subscribe(self._node.count_publishers(self.topic))
        self._subscription = self._node.create_subscription(
            self._kind,
            self._name,
            self._callback,
            QoSProfile(depth=self._depth, reliability=reliability, durability=durability),
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=self._on_incompatible_qos, matched=self._on_matched
            ),
            qos_overriding_options=overriding_options(
                self._node, self.topic, 'subscription', matched=True
            ),
        )

    def _on_incompatible_qos(self, event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        self._node.get_logger().warning(
            f'a publisher of {self.topic} offers less than asked for: {policy}'
        )
        is_reliability = event.last_policy_kind == QoSPolicyKind.RELIABILITY
        if is_reliability and not self._is_overridden and self.reliability == 'reliable':
            self._subscribe(ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE)
