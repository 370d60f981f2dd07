"""The ROS 2 node that turns depth images and masks into labelled clouds.

Wiring only; docs/semantic_cloud.md is its manual. It needs no PyTorch.
"""

from __future__ import annotations

from functools import partial
import sys
import time
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Float64

from dcfm_ros.cloud.inputs import DROP_CAUSES, CloudInputs
from dcfm_ros.cloud.processor import CloudJob, CloudProcessor
from dcfm_ros.ros.diagnostics import Diagnostics
from dcfm_ros.ros.frame_worker import FrameWorker
from dcfm_ros.ros.health.status import Status
from dcfm_ros.ros.health.stream_statistics import StreamStatistics
from dcfm_ros.ros.parameter_declaration import DeclaredParameters
from dcfm_ros.ros.parameters.cloud import CloudParameters
from dcfm_ros.ros.qos_overrides import overriding_options, unused_overrides
from dcfm_ros.ros.run_node import give_up, run_node

NAME = 'semantic_cloud_node'
# Clouds are large. Images: with depth 1 the next one would overwrite one that is resent.
OUTPUTS: dict[str, tuple[str, Any, int]] = {
    'points': ('points', PointCloud2, 2),
    'points/filtered': ('points/filtered', PointCloud2, 2),
    'points/mask': ('points/mask', Image, 5),
    'points/confidence': ('points/confidence', Image, 5),
    'processing_time_ms': ('~/debug/processing_time_ms', Float64, 10),
}
"""Topic, message type and queue depth of what is published."""
_CLOUD_TOPICS = tuple(name for name in OUTPUTS if name.startswith('points'))


class SemanticCloudNode(Node):
    """Matches depth images with masks in the executor's thread; a worker makes the clouds."""

    def __init__(self) -> None:
        super().__init__(
            NAME, namespace='segmentation', automatically_declare_parameters_from_overrides=True
        )
        self.exit_code = 0
        self._declared = DeclaredParameters(self, CloudParameters)
        self._statistics = StreamStatistics(causes=DROP_CAUSES)
        self._statistics.restart(time.monotonic())
        self._outputs = {name: self._advertise(*output) for name, output in OUTPUTS.items()}
        self._inputs = CloudInputs(
            self, lambda: self._declared.values, self._statistics, self._hand_on
        )
        used = [(topic, 'subscription') for topic in self._inputs.topics]
        used += [(output.topic_name, 'publisher') for output in self._outputs.values()]
        for warning in unused_overrides(self, used):
            self.get_logger().warning(warning)
        self._diagnostics = Diagnostics(self, self._statuses)
        processor = CloudProcessor(
            self._outputs,
            self._statistics,
            values=lambda: self._declared.values,
            logger=self.get_logger(),
        )
        # Last: its thread would outlive a failure of anything after it.
        self._worker = FrameWorker({'': processor.process}, partial(give_up, self))

    def close(self) -> None:
        """Finish the current cloud."""
        self._worker.stop()

    def _advertise(self, topic: str, kind: Any, depth: int) -> Any:
        overrides = overriding_options(self, self.resolve_topic_name(topic), 'publisher')
        return self.create_publisher(kind, topic, depth, qos_overriding_options=overrides)

    def _hand_on(self, job: CloudJob) -> None:
        if not any(self._subscribers().values()):
            self._statistics.dropped('unheard')
        elif self._worker.slot.put('', job) is not None:
            self._statistics.dropped('replaced')

    def _subscribers(self) -> dict[str, int]:
        return {name: self._outputs[name].get_subscription_count() for name in _CLOUD_TOPICS}

    def _statuses(self) -> list[Status]:
        snapshot = self._statistics.snapshot(time.monotonic())
        clouds = self._inputs.cloud_status(snapshot, self._subscribers())
        depth = self._inputs.depth_status(snapshot, self._diagnostics.clock_running_s())
        return [depth, clouds]


def main(args: list[str] | None = None) -> int:
    """Run the node until it is stopped; returns the exit code of the process."""
    return run_node(NAME, SemanticCloudNode, args)


if __name__ == '__main__':
    sys.exit(main())
