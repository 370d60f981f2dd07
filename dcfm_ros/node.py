"""The ROS 2 node: images in, masks and timings out. Wiring only; docs/node.md is its manual."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import os
import signal
import sys
import time
import traceback
from typing import Any, cast

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
import rclpy
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.qos import (
    DurabilityPolicy,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
    qos_policy_name_from_kind,
)
from rclpy.utilities import try_shutdown
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger

from dcfm_ros import diagnostics, messages
from dcfm_ros.frame_processor import Frame, FrameProcessor
from dcfm_ros.frame_worker import FrameWorker, repeated
from dcfm_ros.parameter_declaration import declare_parameters, read_parameters
from dcfm_ros.parameter_rules import refusal

_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class SegmentationNode(LifecycleNode):
    """Feeds one camera's images to the engine and publishes what it finds.

    The executor's thread receives, serves and reports; a worker thread, alive while the node is
    active, processes frames. They share the slot of the newest frame and the statistics.
    """

    def __init__(self) -> None:
        super().__init__(
            'segmentation_node',
            namespace='segmentation',
            automatically_declare_parameters_from_overrides=True,
        )
        for warning in declare_parameters(self):
            self.get_logger().warning(warning)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self.exit_code = 0
        self._state = 'unconfigured'
        self._failure = ''
        self._describe_model: Callable[[], dict[str, str]] = dict
        self._outputs: dict[str, Any] = {}
        self._processor: FrameProcessor | None = None
        self._worker: FrameWorker[Frame] | None = None
        self._subscription: Any = None
        self._enabled = True
        self._gaps = diagnostics.SequenceGaps()
        self._statistics = diagnostics.StreamStatistics()
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        # Steady: with the node's own clock a paused simulation would silence the diagnostics.
        self.create_timer(1.0, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.create_service(SetBool, '~/enable', self._on_enable)
        self.create_service(Trigger, '~/reset', self._on_reset)
        for service in self.services:
            if service.service_name.endswith('/change_state'):
                service.callback = self._survive_wrong_transition(service.callback)
        self._publish_diagnostics()

    def autostart(self) -> None:
        """Configure and activate, unless the parameter of that name forbids it."""
        if not self.get_parameter('autostart').value:
            self.get_logger().info('waiting to be configured (autostart is off)')
        elif self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def close(self) -> None:
        """Stop the worker and let go of everything; in any state, also twice."""
        self._deactivate()
        self._cleanup()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the network, warm it up, advertise the outputs and latch the labels."""
        return self._transition('configuring', 'inactive', self._configure, state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the worker and listen to the camera."""
        return self._transition('activating', 'active', self._activate, state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening and finish the frame under way."""
        return self._transition('deactivating', 'inactive', self._deactivate, state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of network and outputs."""
        return self._transition('cleaning up', 'unconfigured', self._cleanup, state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of everything, for good."""
        return self._transition('shutting down', 'finalized', self.close, state)

    def _transition(
        self, during: str, after: str, action: Callable[[], None], state: LifecycleState
    ) -> TransitionCallbackReturn:
        """Run a transition; rclpy would swallow what it raises, so the reason is logged here."""
        self._state, self._failure = during, ''
        self._publish_diagnostics()
        try:
            action()
        except Exception as error:
            self._state, self._failure = state.label, f'{during} failed: {error}'
            if self.context.ok():  # otherwise it failed since the node is going down
                self.get_logger().error(self._failure)
            self._deactivate()
            if during == 'configuring':
                self._cleanup()
            return TransitionCallbackReturn.FAILURE
        else:
            self._state = after
            return TransitionCallbackReturn.SUCCESS
        finally:
            self._publish_diagnostics()

    def _configure(self) -> None:
        # PyTorch takes seconds to import: only now, so that wrong parameters are reported at once
        # and a package that is missing is a failed transition with a reason.
        from dcfm_ros import engine_loader

        values = engine_loader.settle_checkpoint(read_parameters(self))
        # The executor is kept waiting; the diagnostics must not be.
        with repeated(self._publish_diagnostics, 1.0):
            engine = engine_loader.load_engine(values, self.get_logger().info)
        self._describe_model = partial(engine_loader.describe, engine, values)
        for name, (topic, kind, depth) in messages.OUTPUTS.items():
            self._outputs[name] = self.create_publisher(kind, topic, depth)
        header = self._header_of_now()
        names, palette = engine.net.class_names, engine.net.palette
        for topic, message in messages.label_messages(names, palette, header).items():
            self._outputs[topic] = self.create_publisher(type(message), topic, _LATCHED)
            self._outputs[topic].publish(message)
        self._processor = FrameProcessor(
            engine,
            self._outputs,
            self._statistics,
            log_error=self.get_logger().error,
            clock_ns=lambda: self.get_clock().now().nanoseconds,
            overlay_alpha=lambda: self.get_parameter('overlay_alpha').value,
            node_name=self.get_fully_qualified_name(),
        )

    def _activate(self) -> None:
        assert self._processor is not None
        self._enabled = True
        self._statistics.restart(time.monotonic())
        self._worker = FrameWorker(self._processor.process, self._on_worker_failure)
        self._subscribe(ReliabilityPolicy.RELIABLE)
        self._match_publishers()

    def _deactivate(self) -> None:
        self._unsubscribe()
        if self._worker is not None:
            if self._worker.stop() is not None:
                self._statistics.dropped('disabled')
            self._worker = None
        if self._processor is not None:
            self._processor.request_reset()  # the cached feature will be old

    def _cleanup(self) -> None:
        for publisher in self._outputs.values():
            self.destroy_publisher(publisher)
        self._outputs = {}
        self._describe_model = dict
        self._processor = None

    def _subscribe(self, reliability: ReliabilityPolicy) -> None:
        self._unsubscribe()
        self._gaps.listen(time.monotonic(), self.count_publishers('image'))
        self._subscription = self.create_subscription(
            Image,
            'image',
            cast(Any, self._on_image),  # rclpy's hints know no message info
            QoSProfile(depth=1, reliability=reliability),
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=self._on_incompatible_qos,
                matched=self._on_matched,
            ),
        )

    def _unsubscribe(self) -> None:
        if self._subscription is not None:
            self.destroy_subscription(self._subscription)
            self._subscription = None

    def _match_publishers(self) -> None:
        """Ask for best effort only where a publisher offers no more: it loses large images."""
        offered = [p.qos_profile.reliability for p in self.get_publishers_info_by_topic('image')]
        wanted = ReliabilityPolicy.RELIABLE
        if ReliabilityPolicy.BEST_EFFORT in offered:
            wanted = ReliabilityPolicy.BEST_EFFORT
        if offered and self._subscription.qos_profile.reliability != wanted:
            self.get_logger().info(f'subscribing {wanted.name}, as the publishers offer')
            self._subscribe(wanted)

    def _on_incompatible_qos(self, event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        topic = self._subscription.topic_name
        self.get_logger().warning(f'a publisher of {topic} offers less than asked for: {policy}')
        if event.last_policy_kind == QoSPolicyKind.RELIABILITY:
            self._subscribe(ReliabilityPolicy.BEST_EFFORT)

    def _on_matched(self, event: Any) -> None:
        self._gaps.connect(time.monotonic(), event.current_count, event.current_count_change)

    def _on_image(self, message: Image, info: dict[str, Any]) -> None:
        """Only swap the slot; what the worker cannot keep up with is counted, never queued."""
        now = time.monotonic()
        is_alone = self._subscription.get_publisher_count() == 1
        number = info['publication_sequence_number'] if is_alone else None
        self._statistics.dropped('lost', self._gaps.lost_before(number))
        self._statistics.received(now)
        if not self._enabled:
            self._statistics.dropped('disabled')
        elif self._worker is not None and self._worker.slot.put(Frame(message, now)) is not None:
            self._statistics.dropped('replaced')

    def _on_worker_failure(self, error: Exception) -> None:
        if self.context.ok():  # otherwise it could not publish since the node is going down
            self.get_logger().fatal('cannot go on: ' + ''.join(traceback.format_exception(error)))
            self.exit_code = 1
            self.context.try_shutdown()

    def _on_enable(self, request: Any, response: Any) -> Any:
        if self._worker is None or self._processor is None:
            return _answer(response, False, f'the node is {self._state}, not active')
        if request.data and not self._enabled:
            self._processor.request_reset()
        self._enabled = request.data
        if not self._enabled and self._worker.slot.discard() is not None:
            self._statistics.dropped('disabled')
        return _answer(response, True, 'segmenting' if self._enabled else 'paused')

    def _on_reset(self, _: Any, response: Any) -> Any:
        if self._processor is None:
            return _answer(response, False, f'the node is {self._state}, no network is loaded')
        self._processor.request_reset()
        return _answer(response, True, 'the next image will be a keyframe')

    def _on_set_parameters(self, changes: list[Any]) -> SetParametersResult:
        values = {change.name: change.value for change in changes}
        reason = refusal(values, read_parameters(self), self._state)
        return SetParametersResult(successful=not reason, reason=reason)

    def _on_timer(self) -> None:
        if self._subscription is not None:
            self._match_publishers()
        self._publish_diagnostics()

    def _publish_diagnostics(self) -> None:
        values = read_parameters(self)
        snapshot = self._statistics.snapshot(time.monotonic())
        camera, mask = self._subscription, self._outputs.get('mask')
        model = diagnostics.model_status(
            self._state, self._failure, values.device, self._describe_model()
        )
        images = diagnostics.image_status(
            snapshot,
            is_waiting=self._worker is not None and self._enabled,
            no_image_warning_s=values.no_image_warning_s,
            topic=self.resolve_topic_name('image'),
            publishers=camera.get_publisher_count() if camera else 0,
            reliability=camera.qos_profile.reliability.name.lower() if camera else '',
        )
        subscribers = mask.get_subscription_count() if mask else 0
        masks = diagnostics.mask_status(snapshot, values.deadline_ms, subscribers)
        header, name = self._header_of_now(), self.get_fully_qualified_name()
        statuses = [model, images, masks]
        self._diagnostics.publish(messages.statuses_to_diagnostics(statuses, header, name))

    def _header_of_now(self) -> Header:
        return Header(stamp=self.get_clock().now().to_msg())

    def _survive_wrong_transition(self, change_state: Callable[..., Any]) -> Callable[..., Any]:
        def callback(request: Any, response: Any) -> Any:
            try:
                return change_state(request, response)
            except RuntimeError as error:  # rclpy would let it end the process
                asked = request.transition.label or request.transition.id
                self.get_logger().warning(f'no transition {asked} while {self._state}: {error}')
                response.success = False
                return response

        return callback


def _answer(response: Any, success: bool, message: str) -> Any:
    response.success, response.message = success, message
    return response


def main(args: list[str] | None = None) -> int:
    """Run the node until it is told to stop; returns the exit code of the process."""
    # Read when torch is loaded: threads that wait for work by spinning would take the processor
    # from the rest of the robot, and make the network itself several times slower on a busy one.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    node = None
    try:
        rclpy.init(args=args)
        node = SegmentationNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        node.autostart()
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (ValueError, RuntimeError) as error:
        if node is None:  # wrong parameters (a line each) or command line
            for line in str(error).splitlines():
                get_logger('segmentation_node').fatal(line)
            return 2
        if node.context.ok():  # otherwise a shutdown hit it in the middle of something
            raise
    finally:
        # The first signal is being obeyed; another one must not interrupt the tidying up.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if node is not None:
            node.close()
            node.destroy_node()
        try_shutdown()
    return node.exit_code if node is not None else 0


if __name__ == '__main__':
    sys.exit(main())
