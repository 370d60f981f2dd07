"""The ROS 2 node: images in, masks and timings out. Wiring only; docs/node.md is its manual."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
import sys
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger

from dcfm_ros.ros import messages
from dcfm_ros.ros.camera import Camera
from dcfm_ros.ros.frame_processor import Frame
from dcfm_ros.ros.frame_worker import FrameWorker, repeated
from dcfm_ros.ros.health import status as diagnostics
from dcfm_ros.ros.health.running_clock import RunningClock
from dcfm_ros.ros.health.status import Status
from dcfm_ros.ros.parameter_declaration import declare_parameters, read_parameters
from dcfm_ros.ros.parameters.rules import refusal
from dcfm_ros.ros.qos_overrides import override_refusal, unused_overrides
from dcfm_ros.ros.run_node import give_up, run_node

NAME = 'segmentation_node'


class SegmentationNode(LifecycleNode):
    """Lifecycle, services, parameters and diagnostics of one camera or several.

    The executor's thread receives, serves and reports; a worker thread, alive while the node is
    active, processes the frames of all cameras. They share the slot of the newest frames, the
    cameras' statistics and the parameters.
    """

    def __init__(self) -> None:
        super().__init__(
            NAME,
            namespace='segmentation',
            automatically_declare_parameters_from_overrides=True,
        )
        for warning in declare_parameters(self):
            self.get_logger().warning(warning)
        self._values = read_parameters(self)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self.add_post_set_parameters_callback(self._on_parameters_set)
        self.exit_code = 0
        self._state = 'unconfigured'
        self._failure = ''
        self._describe_model: Callable[[], dict[str, str]] = dict
        self._worker: FrameWorker[Frame] | None = None
        self._enabled = True
        self._cameras: dict[str, Camera] = {}
        self._name_cameras()
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._clock_watch = RunningClock(time.monotonic())
        # Steady: with the node's own clock a paused simulation would silence the diagnostics.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._on_timer, clock=steady)
        self._deadline_timer = self.create_timer(1.0, self._on_deadline_timer, clock=steady)
        self._set_deadline_timer()
        self.create_service(SetBool, '~/enable', self._on_enable)
        self.create_service(Trigger, '~/reset', self._on_reset)
        for service in self.services:
            if service.service_name.endswith('/change_state'):
                service.callback = self._survive_wrong_transition(service.callback)
        self._publish_diagnostics()

    def autostart(self) -> None:
        """Configure and activate, unless the parameter of that name forbids it."""
        if not self._values.autostart:
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
        """Start the worker and listen to the cameras."""
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
        from dcfm_ros.ros import engine_loader

        values = engine_loader.settle_checkpoint(self._values)
        # The executor is kept waiting; the diagnostics must not be.
        with repeated(self._publish_meanwhile, 1.0):
            engines = engine_loader.load_engines(values, self.get_logger().info)
        self._describe_model = partial(engine_loader.describe, engines, values.checkpoint)
        for camera, engine in zip(self._cameras.values(), engines, strict=True):
            camera.advertise(engine, partial(engine_loader.adjust, engine))
        overridable = [entity for c in self._cameras.values() for entity in c.overridable]
        for warning in unused_overrides(self, overridable):
            self.get_logger().warning(warning)

    def _activate(self) -> None:
        self._enabled = True
        work = {name: camera.process for name, camera in self._cameras.items()}
        self._worker = FrameWorker(work, partial(give_up, self))
        for camera in self._cameras.values():
            camera.listen(self._worker.slot)

    def _deactivate(self) -> None:
        for camera in self._cameras.values():
            camera.stop()
        if self._worker is not None:
            self._count_disabled(self._worker.stop())
            self._worker = None
        self._request_reset()  # the cached features will be old

    def _cleanup(self) -> None:
        for camera in self._cameras.values():
            camera.withdraw()
        self._describe_model = dict

    def _name_cameras(self) -> None:
        """Have the cameras that the parameter names; those that were there go on counting."""
        known = self._cameras
        self._cameras = {
            name: known.get(name) or Camera(self, name, lambda: self._values)
            for name in self._values.cameras or ('',)
        }

    def _request_reset(self) -> None:
        for camera in self._cameras.values():
            camera.request_reset()

    def _count_disabled(self, names: Iterable[str]) -> None:
        for name in names:
            self._cameras[name].count_disabled()

    def _on_enable(self, request: Any, response: Any) -> Any:
        if self._worker is None:
            return _answer(response, False, f'the node is {self._state}, not active')
        if request.data and not self._enabled:
            self._request_reset()
        self._enabled = request.data
        for camera in self._cameras.values():
            camera.slot = self._worker.slot if self._enabled else None
        if not self._enabled:
            self._count_disabled(self._worker.slot.discard())
        return _answer(response, True, 'segmenting' if self._enabled else 'paused')

    def _on_reset(self, _: Any, response: Any) -> Any:
        if not self._describe_model():
            return _answer(response, False, f'the node is {self._state}, no network is loaded')
        self._request_reset()
        next_image = 'the next image of each camera' if self._values.cameras else 'the next image'
        return _answer(response, True, f'{next_image} will be a keyframe')

    def _on_set_parameters(self, changes: list[Any]) -> SetParametersResult:
        values = {change.name: change.value for change in changes}
        reason = refusal(values, self._values, self._state)
        reason = reason or override_refusal(values, self._state)
        return SetParametersResult(successful=not reason, reason=reason)

    def _on_parameters_set(self, _: list[Any]) -> None:
        self._values = read_parameters(self)
        if tuple(self._cameras) != (self._values.cameras or ('',)):
            self._name_cameras()
        self._set_deadline_timer()

    def _set_deadline_timer(self) -> None:
        """Have deadlines checked as often as asked for, if there are any."""
        timer, values = self._deadline_timer, self._values
        period_ns = round(values.validation_callback_interval_ms * 1e6)
        if not values.max_allowed_processing_time_ms:
            timer.cancel()
        elif timer.is_canceled() or timer.timer_period_ns != period_ns:
            timer.timer_period_ns = period_ns
            timer.reset()

    def _on_deadline_timer(self) -> None:
        self._publish([camera.deadline_status() for camera in self._cameras.values()])

    def _on_timer(self) -> None:
        for camera in self._cameras.values():
            camera.match_publishers()
        self._publish_diagnostics()

    def _publish_diagnostics(self) -> None:
        statuses = [
            diagnostics.model_status(
                self._state, self._failure, self._values.device, self._describe_model()
            )
        ]
        running_s = self._clock_watch.running_s(
            self.get_clock().now().nanoseconds, time.monotonic()
        )
        for camera in self._cameras.values():
            statuses += camera.statuses(running_s)
            if self._deadline_timer.is_canceled():  # otherwise it tells, more often
                statuses.append(camera.deadline_status())
        self._publish(statuses)

    def _publish_meanwhile(self) -> None:
        if self.context.ok():  # otherwise it was told to stop while it loads
            self._publish_diagnostics()

    def _publish(self, statuses: list[Status]) -> None:
        header, name = self._header_of_now(), self.get_fully_qualified_name()
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
    return run_node(NAME, SegmentationNode, args, begin=SegmentationNode.autostart)


if __name__ == '__main__':
    sys.exit(main())
