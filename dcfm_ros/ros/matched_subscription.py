"""A subscription that requests as much as the publishers of its topic offer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
import time
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

from dcfm_ros.ros.health.sequence_gaps import SequenceGaps
from dcfm_ros.ros.health.standstill import Standstill
from dcfm_ros.ros.qos_overrides import override_name, overriding_options


class MatchedSubscription:
    """Reliable, or best effort while a publisher offers no more.

    Best effort loses large images, and a request for more than is offered gets nothing at all.
    The offers are looked at twice per second. The node's `qos_overrides` win. During a change two
    subscriptions receive: what is sent before the publishers know the new one would be lost. If
    nothing comes after the process stood still, see `Standstill`, it resubscribes.
    """

    _NUM_HEARD = 32
    """Messages of the old subscription to know again, beside a queue of them."""

    def __init__(
        self,
        node: Node,
        kind: Any,
        name: str,
        callback: Callable[..., None],
        *,
        counts_lost: bool = False,
        takes_latched: bool = False,
        depth: int = 1,
    ) -> None:
        """Subscribe at once; the name is not remapped, since rclpy would do it twice.

        With `counts_lost` the callback gets also the number of messages that the middleware lost
        before each, known with one publisher only; with `takes_latched` it gets the last message
        from before, if all publishers keep it.
        """
        self.topic = node.resolve_topic_name(name)
        """Fully qualified, remapped."""
        self._node = node
        self._kind = f'{kind.__module__.partition(".")[0]}/msg/{kind.__name__}'
        self._name = name
        self._callback = callback
        self._gaps = SequenceGaps() if counts_lost else None
        self._takes_latched = takes_latched
        self._depth = depth
        self._create = partial(
            node.create_subscription,
            kind,
            name,
            qos_overriding_options=overriding_options(
                node, self.topic, 'subscription', matched=True
            ),
        )
        self._is_overridden = node.has_parameter(
            override_name(self.topic, 'subscription', QoSPolicyKind.RELIABILITY)
        )
        self._subscription: Any = None
        self._former: Any = None
        """Goes on until `_subscription` receives, too."""
        self._newest = self._counted = 0
        """Numbers of `_subscription` and of the one whose publishers count, `_former` if it is."""
        self._known = 0
        """Publishers that `_subscription` had when it took over: they are not new."""
        self._only: set[bytes] = set()
        """Identifier of the publisher that there was last, if it was the only one."""
        self._heard: deque[tuple[int, int]] = deque(maxlen=self._NUM_HEARD + depth)
        self._subscribe(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._standstill = Standstill(time.monotonic())
        self._timer = node.create_timer(0.5, self._match, clock=steady)
        self._match()

    @property
    def publishers(self) -> int:
        """Number of connected publishers."""
        present = [one for one in (self._subscription, self._former) if one is not None]
        return max(int(one.get_publisher_count()) for one in present)

    @property
    def reliability(self) -> str:
        """'reliable' or 'best_effort', as requested."""
        return str(self._subscription.qos_profile.reliability.name.lower())

    @property
    def wrong_types(self) -> str:
        """What is published on the topic in messages of other types, in words; '' if nothing is.

        DDS matches by type as well as by name, and says nothing.
        """
        infos = self._node.get_publishers_info_by_topic(self._name)
        others = sorted({info.topic_type for info in infos} - {self._kind})
        if not others:
            return ''
        return f'{self.topic} carries {", ".join(others)}; {self._kind} is needed'

    def destroy(self) -> None:
        """Unsubscribe."""
        self._node.destroy_timer(self._timer)
        self._end_former()
        self._node.destroy_subscription(self._subscription)

    def _match(self) -> None:
        """Resubscribe if the publishers offer something else by now, or cannot be heard."""
        infos = self._node.get_publishers_info_by_topic(self._name)
        infos = [info for info in infos if info.topic_type == self._kind]
        is_silent = self._standstill.is_silent_after(time.monotonic())
        if not infos:
            return
        if is_silent and not self._takes_latched:  # such messages may come once only
            self._renew()
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

    def _subscribe(
        self,
        reliability: ReliabilityPolicy,
        durability: DurabilityPolicy,
        *,
        counts_on: bool = False,
    ) -> None:
        if self._former is None:
            self._former = self._subscription
        else:  # the one in between has received nothing yet
            self._node.destroy_subscription(self._subscription)
        self._newest += 1
        self._known = 0
        self._subscription = self._create(
            callback=partial(self._on_message, self._newest),
            qos_profile=QoSProfile(
                depth=self._depth, reliability=reliability, durability=durability
            ),
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=self._on_incompatible_qos,
                matched=partial(self._on_matched, self._newest),
            ),
        )
        if self._former is None or not self._former.get_publisher_count():
            if not counts_on:
                self._begin_counting()
            self._end_former()

    def _renew(self) -> None:
        """Resubscribe as before; a new subscription beside a deaf one may be deaf as well."""
        self._node.get_logger().warning(
            f'nothing received on {self.topic} since this process stalled: resubscribing'
        )
        profile = self._subscription.qos_profile
        is_same = self._only_publisher() == self._only != set()
        self._end_former()
        self._node.destroy_subscription(self._subscription)
        self._subscription = None
        self._subscribe(profile.reliability, profile.durability, counts_on=is_same)

    def _begin_counting(self) -> None:
        self._only = set()
        if self._gaps is not None:
            self._gaps.listen(time.monotonic(), self._node.count_publishers(self.topic))

    def _take_over(self) -> None:
        """Hear the old subscription out and end it: all that follows reaches the new one."""
        former = self._former
        with former.handle:
            while (taken := former.handle.take_message(former.msg_type, former.raw)) is not None:
                self._on_message(self._counted, *taken)
        if self.reliability == 'best_effort':  # it hears publishers that the old one did not
            self._begin_counting()
            self._only = self._only_publisher()
        else:
            self._known = self._subscription.get_publisher_count()
        self._end_former()

    def _end_former(self) -> None:
        self._counted = self._newest
        if self._former is not None:
            self._node.destroy_subscription(self._former)
            self._former = None

    def _on_message(self, subscription: int, message: Any, info: dict[str, Any]) -> None:
        self._standstill.received(time.monotonic())
        position = info['publication_sequence_number']
        sent = info['source_timestamp'], position
        if subscription != self._newest:
            self._heard.append(sent)
        else:
            if self._former is not None:
                self._take_over()
            if sent in self._heard:
                return
        if self._gaps is None:
            self._callback(message)
        else:
            number = position if self.publishers == 1 else None
            self._callback(message, self._gaps.lost_before(number))

    def _on_matched(self, subscription: int, event: Any) -> None:
        if self._gaps is None or subscription != self._counted:
            return
        # The event of a match may come after the first message.
        if event.current_count_change <= 0 or event.total_count > self._known:
            now, present = time.monotonic(), event.current_count
            found = self._only_publisher() if present == 1 else set()
            is_back = bool(found) and found == self._only
            self._gaps.connect(now, present, event.current_count_change, is_back=is_back)
            self._only = found if present else self._only

    def _only_publisher(self) -> set[bytes]:
        infos = self._node.get_publishers_info_by_topic(self._name)
        found = {bytes(info.endpoint_gid) for info in infos if info.topic_type == self._kind}
        return found if len(found) == 1 else set()

    def _on_incompatible_qos(self, event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        self._node.get_logger().warning(
            f'a publisher of {self.topic} offers less than requested: {policy}'
        )
        is_reliability = event.last_policy_kind == QoSPolicyKind.RELIABILITY
        if is_reliability and not self._is_overridden and self.reliability == 'reliable':
            self._subscribe(ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE)
