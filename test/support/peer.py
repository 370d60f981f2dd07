"""A node in the process of the tests: publishes, listens, calls the services of other nodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
import numpy as np
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters, SetParametersAtomically
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from running_node import NODE, WAIT_S, wait_for
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dcfm_ros.play.spinning import spinning
from dcfm_ros.ros.messages import array_to_image, ns_to_stamp

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
_KINDS = {
    bool: (ParameterType.PARAMETER_BOOL, 'bool_value'),
    int: (ParameterType.PARAMETER_INTEGER, 'integer_value'),
    float: (ParameterType.PARAMETER_DOUBLE, 'double_value'),
    str: (ParameterType.PARAMETER_STRING, 'string_value'),
    list: (ParameterType.PARAMETER_STRING_ARRAY, 'string_array_value'),
}


class Peer(Node):
    """A thread of its own spins it, see `running_peer`."""

    def __init__(self, context: Context) -> None:
        super().__init__('peer', context=context, use_global_arguments=False)
        self._stamp_ns = time.time_ns()

    def listen(self, kind: Any, topic: str, qos: QoSProfile | int = 100) -> list[Any]:
        """A list that fills with the messages that come."""
        received: list[Any] = []
        self.create_subscription(kind, topic, received.append, qos)
        wait_for(lambda: self.count_publishers(topic), f'a publisher of {topic}')
        return received

    def connect(
        self, topic: str = '/segmentation/image', qos: QoSProfile | int = 10, kind: Any = Image
    ) -> Any:
        """A publisher that has a subscription, which asks for as much as it offers.

        A node that has heard a best-effort publisher does so within a second; until then it misses
        what comes before it knows this one.
        """
        publisher = self.create_publisher(kind, topic, qos)
        offered = publisher.qos_profile.reliability

        def is_connected() -> bool:
            known = self.get_subscriptions_info_by_topic(topic)
            asked = [subscription.qos_profile.reliability for subscription in known]
            return publisher.get_subscription_count() > 0 and offered in asked

        wait_for(is_connected, f'a subscription of {topic}')
        return publisher

    def end(self, publisher: Any) -> None:
        """Destroy a publisher, in the thread that spins: in another one it could end the spinning.

        The executor holds the events of a publisher between collecting and waiting for them.
        """
        assert self.executor is not None
        task = self.executor.create_task(self.destroy_publisher, publisher)
        wait_for(task.done, 'the end of a publisher')

    def call(self, kind: Any, name: str, **fields: Any) -> Any:
        client = self.create_client(kind, name)
        assert client.wait_for_service(WAIT_S), f'no service {name}'
        future = client.call_async(kind.Request(**fields))
        wait_for(future.done, f'an answer of {name}', pause_s=0.001)
        self.destroy_client(client)
        return future.result()

    def image(self, rows: int = 96, columns: int = 128, **fields: Any) -> Image:
        """An rgb8 image with a stamp of its own, and some fields set otherwise."""
        self._stamp_ns += 10_000_001
        header = Header(stamp=ns_to_stamp(self._stamp_ns), frame_id='camera_optical_frame')
        pixels = np.random.default_rng(0).integers(0, 256, (rows, columns, 3), np.uint8)
        message = array_to_image(pixels, 'rgb8', header)
        for name, value in fields.items():
            setattr(message, name, value)
        return message

    def get_values(self, node: str, *names: str) -> list[Any]:
        """Values of parameters of a node."""
        answer = self.call(GetParameters, f'{node}/get_parameters', names=names)
        assert len(answer.values) == len(names), f'{node} lacks one of {names}'
        fields = dict(_KINDS.values())
        found = [getattr(value, fields[value.type]) for value in answer.values]
        return [value if isinstance(value, (str, float)) else _plain(value) for value in found]

    def try_to_set(self, node: str, **values: Any) -> Any:
        """Set parameters together, or none of them; the result of the service."""
        service = f'{node}/set_parameters_atomically'
        parameters = [parameter(name, value) for name, value in values.items()]
        return self.call(SetParametersAtomically, service, parameters=parameters).result

    def set_each(self, node: str, *parameters: Parameter) -> list[Any]:
        """Set parameters one after the other; a result for each."""
        answer = self.call(SetParameters, f'{node}/set_parameters', parameters=parameters)
        return list(answer.results)

    def state(self, node: str) -> str:
        return str(self.call(GetState, f'{node}/get_state').current_state.label)

    def change(self, node: str, name: str) -> bool:
        """Whether a transition of the node succeeded."""
        transition = Transition(label=name)
        return bool(self.call(ChangeState, f'{node}/change_state', transition=transition).success)

    def unconfigure(self, node: str) -> None:
        if self.state(node) == 'active':
            assert self.change(node, 'deactivate')
        if self.state(node) == 'inactive':
            assert self.change(node, 'cleanup')

    @contextmanager
    def configured(self, node: str = NODE, **values: Any) -> Iterator[None]:
        """Have a node that runs work with other parameters, and then with those of before."""
        before = dict(zip(values, self.get_values(node, *values), strict=True))
        self._configure(node, values)
        try:
            yield
        finally:
            self._configure(node, before)

    def _configure(self, node: str, values: dict[str, Any]) -> None:
        self.unconfigure(node)
        result = self.try_to_set(node, **values)
        assert result.successful, result.reason
        assert self.change(node, 'configure')
        assert self.change(node, 'activate')


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, Sequence) else value


def parameter(name: str, value: Any) -> Parameter:
    kind, field = _KINDS[type(value)]
    return Parameter(name=name, value=ParameterValue(type=kind, **{field: value}))


def values_of(status: DiagnosticStatus) -> dict[str, str]:
    return {entry.key: entry.value for entry in status.values}


def answer_to(received: list[Any], header: Header) -> Any:
    """The message with that header, once it has come."""
    found: list[Any] = []

    def has_come() -> bool:
        found.extend(message for message in received if message.header == header)
        return bool(found)

    wait_for(has_come, f'an answer to {header}', pause_s=0.002)
    return found[0]


def running_peer() -> AbstractContextManager[Peer]:
    return spinning(Peer)


class Diagnostics:
    """What a node says of itself on /diagnostics, about once per second."""

    def __init__(self, peer: Peer, node: str = NODE) -> None:
        self.messages = peer.listen(DiagnosticArray, '/diagnostics')
        self._node = node

    def all(self, task: str, since: int = 0) -> list[DiagnosticStatus]:
        """Every status of a task, from a number of messages on."""
        statuses = (status for message in self.messages[since:] for status in message.status)
        return [status for status in statuses if status.name == f'{self._node}: {task}']

    def newest(self, task: str) -> DiagnosticStatus:
        wait_for(lambda: self.all(task), f'a status of {task}')
        return self.all(task)[-1]

    def next(self, task: str) -> DiagnosticStatus:
        """The first status that comes from now on."""
        since = len(self.messages)
        wait_for(lambda: self.all(task, since), f'a status of {task}')
        return self.all(task, since)[0]

    def values(self, task: str) -> dict[str, str]:
        return values_of(self.newest(task))

    def wait_for_level(self, task: str, level: bytes) -> DiagnosticStatus:
        wait_for(lambda: self.newest(task).level == level, f'{task} at level {level!r}')
        return self.newest(task)

    def wait_for_message(self, task: str, text: str) -> DiagnosticStatus:
        wait_for(lambda: text in self.newest(task).message, f'{text!r} of {task}')
        return self.newest(task)

    def wait_for_value(self, task: str, key: str, value: str) -> DiagnosticStatus:
        wait_for(lambda: self.values(task).get(key) == value, f'{key} {value} of {task}')
        return self.newest(task)
