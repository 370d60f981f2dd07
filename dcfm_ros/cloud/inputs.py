"""`CloudInputs`: the subscriptions of semantic_cloud_node, and what becomes of their images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
import time
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String

from dcfm_ros.cloud.matching import CloudMatcher
from dcfm_ros.cloud.processor import CloudJob
from dcfm_ros.masks.class_labels import ClassLabels
from dcfm_ros.ros.camera_topics import LATCHED
from dcfm_ros.ros.frame_slot import Frame
from dcfm_ros.ros.health.status import Level, Status, image_status
from dcfm_ros.ros.health.stream_statistics import StreamSnapshot, StreamStatistics
from dcfm_ros.ros.matched_subscription import MatchedSubscription
from dcfm_ros.ros.messages import stamp_to_ns
from dcfm_ros.ros.parameters.cloud import CloudParameters

DROP_CAUSES = (
    'lost', 'bad_stamp', 'no_mask', 'no_camera_info', 'no_labels', 'unheard', 'replaced',
    'refused',
)  # fmt: skip
"""Why a depth image has no cloud: it never arrived, its stamp is 0 or another one has it, too, no
mask (with its confidence and image) has a stamp near its own, there was no camera_info yet, nor
labels that `drop_labels` or `channels` can name, the clouds have no subscribers, a newer one
replaced it, it was invalid, did not fit mask or camera_info, or `channels` names no class."""
_DEPTH, _INFO = 'depth/image', 'depth/camera_info'


class CloudInputs:
    """Matches messages and hands on those that make a cloud, in the executor's thread.

    The statistics count each depth image that arrives, and those that will have no cloud.
    """

    def __init__(
        self,
        node: Node,
        values: Callable[[], CloudParameters],
        statistics: StreamStatistics,
        hand_on: Callable[[CloudJob], None],
    ) -> None:
        self._node = node
        self._values = values
        self._statistics = statistics
        self._hand_on = hand_on
        uses = {'confidence': values().use_confidence, 'image': values().color == 'image'}
        self._companions = [name for name, is_used in uses.items() if is_used]
        self._matcher = CloudMatcher(
            self._companions, max_difference_ns=0, capacity=values().queue_size
        )
        self._info: CameraInfo | None = None
        self._labels = ClassLabels()
        self._labels_problem = ''
        self._frames = {'depth': '', 'mask': ''}
        self._heard_s: dict[str, float] = {}
        self._subscriptions = self._subscribe()

    @property
    def topics(self) -> list[str]:
        """Topics whose quality of service can be overridden."""
        return [subscription.topic for subscription in self._subscriptions.values()]

    def depth_status(self, snapshot: StreamSnapshot, clock_running_s: float) -> Status:
        """Diagnostics of the depth images; `clock_running_s` as in `image_status`."""
        depth = self._subscriptions[_DEPTH]
        status = image_status(
            snapshot,
            is_waiting=True,
            clock_running_s=clock_running_s,
            no_image_warning_s=self._values().no_image_warning_s,
            topic=depth.topic,
            publishers=depth.publishers,
            reliability=depth.reliability,
            wrong_types=depth.wrong_types,
        )
        return replace(status, task='depth images')

    def cloud_status(self, snapshot: StreamSnapshot, subscribers: Mapping[str, int]) -> Status:
        """Diagnostics of the output, by what its inputs lack; `subscribers` by topic."""
        values, silent = self._values(), self._silent_topics()
        depth_frame, mask_frame = self._frames['depth'], self._frames['mask']
        unknown_labels = self._unknown_labels(values)
        complaints = [f'the stamp of {n} {why}' for n, why in self._matcher.complaints.items()]
        is_stuck = snapshot.rate_in_hz and any(subscribers.values()) and not snapshot.rate_out_hz
        level, message = Level.WARN, f'{snapshot.rate_out_hz:.1f} clouds per second'
        if is_stuck and silent:
            message = f'no clouds: nothing comes on {", ".join(silent)}'
        elif is_stuck and self._lacks_labels(values):
            message = 'no clouds: `drop_labels` or `channels` has names, and no labels have come'
        elif is_stuck and complaints:
            message = f'no clouds: {", ".join(complaints)}'
        elif is_stuck:
            message = (
                f'no clouds: no mask has a stamp within {values.max_time_difference_ms:g} ms of '
                'a depth image, or it arrives after queue_size newer depth images'
            )
        elif mask_frame and depth_frame not in ('', mask_frame):
            message = (
                f'depth is in frame {depth_frame}, the mask in {mask_frame}: '
                'is the depth registered to the camera of the mask?'
            )
        elif self._labels_problem:
            message = self._labels_problem
        elif unknown_labels:
            message = '; '.join(unknown_labels)
        else:
            level = Level.OK
        texts = {**snapshot.output_values(), 'clouds': str(snapshot.answered)}
        texts |= {f'{topic} subscribers': str(count) for topic, count in subscribers.items()}
        texts |= {f'unmatched_{name}': str(count) for name, count in self._matcher.lone.items()}
        bad_stamps = self._matcher.bad_stamps
        texts |= {f'bad_stamps_{name}': str(bad_stamps[name]) for name in self._matcher.lone}
        texts |= {'depth_frame': depth_frame, 'mask_frame': mask_frame}
        return Status(task='clouds', level=level, message=message, values=texts)

    def _subscribe(self) -> dict[str, MatchedSubscription]:
        node = self._node
        found = {
            name: MatchedSubscription(node, Image, name, partial(self._on_image, name), depth=5)
            for name in ('mask', *self._companions)
        }
        found[_DEPTH] = MatchedSubscription(
            node, Image, _DEPTH, self._on_depth, counts_lost=True, depth=5
        )
        found[_INFO] = MatchedSubscription(
            node, CameraInfo, _INFO, self._on_camera_info, takes_latched=True
        )
        node.create_subscription(String, 'labels', self._on_labels, LATCHED)
        return found

    def _on_image(self, name: str, message: Image) -> None:
        self._heard_s[name] = time.monotonic()
        self._match(name, message, message)

    def _on_depth(self, message: Image, num_lost: int) -> None:
        now_s = time.monotonic()
        self._statistics.dropped('lost', num_lost)
        self._statistics.received(now_s)
        self._match('depth', message, Frame(message, now_s))

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._heard_s[_INFO] = float('inf')  # one is enough
        self._info = message

    def _on_labels(self, message: String) -> None:
        try:
            self._labels = ClassLabels.from_json(message.data)
            self._labels_problem = ''
        except ValueError as error:  # points have ids, not names: the former labels go on
            self._labels_problem = str(error)
            self._node.get_logger().error(str(error), throttle_duration_sec=1.0)

    def _match(self, stream: str, message: Image, item: Any) -> None:
        """Add a message, count what will have no mask and hand on what is complete."""
        if stream in self._frames:
            self._frames[stream] = message.header.frame_id
        self._matcher.pairs.max_difference_ns = round(self._values().max_time_difference_ms * 1e6)
        lone, bad = self._matcher.pairs.lone_firsts, self._matcher.bad_stamps['depth']
        matches = self._matcher.add(stream, stamp_to_ns(message.header.stamp), item)
        self._statistics.dropped('no_mask', self._matcher.pairs.lone_firsts - lone)
        self._statistics.dropped('bad_stamp', self._matcher.bad_stamps['depth'] - bad)
        for match in matches:
            if self._info is None:
                self._statistics.dropped('no_camera_info')
            elif self._lacks_labels(self._values()):
                self._statistics.dropped('no_labels')
            else:
                self._hand_on(CloudJob(match, self._info, self._labels))

    def _lacks_labels(self, values: CloudParameters) -> bool:
        """Whether classes are given by names that decide on the cloud, and none are known yet."""
        has_names = values.channels or not all(map(str.isdigit, values.drop_labels))
        return not self._labels.names and bool(has_names)

    def _unknown_labels(self, values: CloudParameters) -> list[str]:
        """A line for each list of classes that has entries without a class."""
        lists = {'drop_labels': values.drop_labels, 'keep_labels': values.keep_labels}
        unknown = {name: self._labels.keep(entries)[1] for name, entries in lists.items()}
        return [
            f'`{n}` has no such class: {", ".join(texts)}' for n, texts in unknown.items() if texts
        ]

    def _silent_topics(self) -> list[str]:
        """Topics that are needed and have been silent lately."""
        limit_s = time.monotonic() - (self._values().no_image_warning_s or float('inf'))
        return [
            subscription.topic
            for name, subscription in self._subscriptions.items()
            if name != _DEPTH and self._heard_s.get(name, float('-inf')) <= limit_s
        ]
