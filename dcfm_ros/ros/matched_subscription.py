"""A subscription that requests as much as the publishers of its topic offer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
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
    """Reliable, or best effort while a publisher offers no more.

    Best effort loses large images, and a request for more than is offered gets nothing at all.
    The offers are looked at once per second. The node's `qos_overrides` win.
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
            node: Owner of the subscription.
            kind: Type of the messages.
            name: Of the topic, not remapped: rclpy would do it twice.
            callback: Called with each message and, if it takes two arguments, rclpy's message
                info.
            on_subscribe: Called with the number of publishers before each subscription, also one
                that replaces another.
            on_matched: Called with rclpy's event when publishers come or go.
            takes_latched: Whether to request the last message from before, if all publishers
                keep it.
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
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(1.0, self._match, clock=steady)
        self._match()

    @property
    def publishers(self) -> int:
        """Number of connected publishers."""
        return int(self._subscription.get_publisher_count())

    @property
    def reliability(self) -> str:
        """'reliable' or 'best_effort', as requested."""
        return str(self._subscription.qos_profile.reliability.name.lower())

    def destroy(self) -> None:
        """Unsubscribe."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_subscription(self._subscription)

    def _match(self) -> None:
        """Subscribe anew if the publishers offer something else now."""
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
            offered = f'{reliability.name}, {durability.name}'
            self._node.get_logger().info(f'resubscribing to {self.topic} as offered: {offered}')
            self._subscribe(reliability, durability)

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
            f'a publisher of {self.topic} offers less than requested: {policy}'
        )
        is_reliability = event.last_policy_kind == QoSPolicyKind.RELIABILITY
        if is_reliability and not self._is_overridden and self.reliability == 'reliable':
            self._subscribe(ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE)
