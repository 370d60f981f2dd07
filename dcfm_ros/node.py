"""The ROS 2 node: images in, masks and timings out. Wiring only; docs/node.md is its manual."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
import sys
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_srvs.srv import SetBool, Trigger

from dcfm_ros.ros.camera import Camera, palette_and_groups
from dcfm_ros.ros.diagnostics import Diagnostics
from dcfm_ros.ros.frame_slot import Frame
from dcfm_ros.ros.frame_worker import FrameWorker, repeated
from dcfm_ros.ros.health.status import Status, model_status
from dcfm_ros.ros.parameter_declaration import DeclaredParameters
from dcfm_ros.ros.parameters.segmentation import NodeParameters
from dcfm_ros.ros.qos_overrides import unused_overrides
from dcfm_ros.ros.run_node import give_up, run_node, survive_wrong_transitions

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
        self.exit_code = 0
        self._state = 'unconfigured'
        self._failure = ''
        self._describe_model: Callable[[], dict[str, str]] = dict
        self._worker: FrameWorker[Frame] | None = None
        self._enabled = True
        self._cameras: dict[str, Camera] = {}
        self._declared = DeclaredParameters(
            self, NodeParameters, lambda: self._state, self._on_parameters_set
        )
        self._name_cameras()
        self._deadlines = Diagnostics(self, self._deadline_statuses)
        self._set_deadline_check()
        self._diagnostics = Diagnostics(self, self._statuses)
        self.create_service(SetBool, '~/enable', self._on_enable)
        self.create_service(Trigger, '~/reset', self._on_reset)
        survive_wrong_transitions(self)
        self._diagnostics.publish()

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

    def destroy_node(self) -> None:
        """Destroy the node, and with it what the middleware holds in shared memory."""
        super().destroy_node()
        # It holds the node until the interpreter ends, which `PromptEnd` does not wait for.
        self._state_machine.destroy_when_not_in_use()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the network, warm it up, advertise the outputs and latch the labels."""
        return self._transition('configuring', 'inactive', self._configure, state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the worker and subscribe to the cameras."""
        return self._transition('activating', 'active', self._activate, state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and finish the current frame."""
        return self._transition('deactivating', 'inactive', self._deactivate, state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of network and outputs."""
        return self._transition('cleaning up', 'unconfigured', self._cleanup, state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of everything, for good."""
        return self._transition('shutting down', 'finalized', self.close, state)

    @property
    def _values(self) -> NodeParameters:
        return self._declared.values

    def _transition(
        self, during: str, after: str, action: Callable[[], None], state: LifecycleState
    ) -> TransitionCallbackReturn:
        """Run a transition; rclpy would swallow what it raises, so the reason is logged here."""
        self._state, self._failure = during, ''
        self._diagnostics.publish()
        try:
            action()
        except Exception as error:
            self._state, self._failure = state.label, f'{during} failed: {error}'
            if self.context.ok():  # otherwise it failed because the node is shutting down
                self.get_logger().error(self._failure)
            self._deactivate()
            if during == 'configuring':
                self._cleanup()
            return TransitionCallbackReturn.FAILURE
        else:
            self._state = after
            return TransitionCallbackReturn.SUCCESS
        finally:
            self._diagnostics.publish()

    def _configure(self) -> None:
        # First, since it takes no time: a wrong file is told before the network is loaded.
        palette, groups = palette_and_groups(self._values)
        # PyTorch takes seconds to import: only now, so that wrong parameters are reported at once
        # and a missing package is a failed transition with a reason.
        from dcfm_ros.ros import engine_loader

        # The executor waits; the diagnostics must not.
        with repeated(self._diagnostics.publish, 1.0):
            engines, path = engine_loader.load_engines(self._values, self.get_logger().info)
        self._describe_model = partial(engine_loader.describe, engines, path)
        for camera, engine in zip(self._cameras.values(), engines, strict=True):
            camera.advertise(engine, palette, groups)
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
        """Have the cameras that the parameter names; known ones go on counting."""
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

    def _on_parameters_set(self) -> None:
        if tuple(self._cameras) != (self._values.cameras or ('',)):
            self._name_cameras()
        self._set_deadline_check()

    def _set_deadline_check(self) -> None:
        values = self._values
        has_deadline = values.max_allowed_processing_time_ms > 0
        period_ms = values.validation_callback_interval_ms if has_deadline else 0.0
        self._deadlines.set_period(period_ms)

    def _deadline_statuses(self) -> list[Status]:
        return [camera.deadline_status() for camera in self._cameras.values()]

    def _statuses(self) -> list[Status]:
        model, device = self._describe_model(), self._values.device
        statuses = [model_status(self._state, self._failure, device, model)]
        running_s = self._diagnostics.clock_running_s()
        for camera in self._cameras.values():
            statuses += camera.statuses(running_s, self._failure)
        if not self._deadlines.is_running:  # otherwise they are published more often
            statuses += self._deadline_statuses()
        return statuses


def _answer(response: Any, success: bool, message: str) -> Any:
    response.success, response.message = success, message
    return response


def main(args: list[str] | None = None) -> int:
    """Run the node until it is stopped; returns the exit code of the process."""
    return run_node(NAME, SegmentationNode, args, begin=SegmentationNode.autostart)


if __name__ == '__main__':
    sys.exit(main())
