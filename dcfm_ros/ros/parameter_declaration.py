"""A table of parameters as the parameters of a ROS node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node

from dcfm_ros.option_spec import allowed_values, specs_of, types_of
from dcfm_ros.ros.parameters.rules import refusal, settle, unknown
from dcfm_ros.ros.parameters.spec import START, when_changeable
from dcfm_ros.ros.qos_overrides import PREFIX, override_refusal

P = TypeVar('P')


class DeclaredParameters(Generic[P]):
    """Declares a node's parameters, judges each change and has the current values.

    Args:
        node: Made with `automatically_declare_parameters_from_overrides`, which alone shows the
            values given at start under unknown names.
        table: What is declared.
        state: Returns the lifecycle state in words.
        on_change: Called when `values` are new.

    Raises:
        ValueError: If values given at start are not allowed; one line for each of them.
    """

    def __init__(
        self,
        node: Node,
        table: type[P],
        state: Callable[[], str] = lambda: 'active',
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._node = node
        self._table = table
        self._state = state
        self._on_change = on_change
        self._declare()
        self.values = self._read()
        node.add_on_set_parameters_callback(self._judge)
        node.add_post_set_parameters_callback(self._on_set)

    def _declare(self) -> None:
        entries: dict[str, Any] = self._node.get_parameters_by_prefix('')
        given = {name: entry.value for name, entry in entries.items()}
        values = settle(given, self._table)
        for name in types_of(self._table):
            if name in given:
                self._node.undeclare_parameter(name)
            value = getattr(values, name)
            # An empty list has no type in ROS.
            ros_value = (list(value) or ['']) if isinstance(value, tuple) else value
            descriptor = _descriptor(name, self._table)
            self._node.declare_parameter(name, ros_value, descriptor, ignore_override=True)
        # Overrides of the quality of service wait for the topics, see `unused_overrides`.
        names = [name for name in given if not name.startswith(PREFIX)]
        for warning in unknown(names, self._table):
            self._node.get_logger().warning(warning)

    def _read(self) -> P:
        names = types_of(self._table)
        return settle({name: self._node.get_parameter(name).value for name in names}, self._table)

    def _judge(self, changes: list[Any]) -> SetParametersResult:
        given = {change.name: change.value for change in changes}
        reason = refusal(given, self.values, self._state())
        reason = reason or override_refusal(self._node, given)
        return SetParametersResult(successful=not reason, reason=reason)

    def _on_set(self, _: list[Any]) -> None:
        self.values = self._read()
        self._on_change()


def _descriptor(name: str, table: Any) -> ParameterDescriptor:
    spec, kind = specs_of(table)[name], types_of(table)[name]
    changeable = when_changeable(name, table)
    unit = f' Unit: {spec.unit}.' if spec.unit else ''
    descriptor = ParameterDescriptor(
        name=name,
        description=f'{spec.description}{unit} Can be changed {changeable}.',
        additional_constraints=f'Must be {allowed_values(name, table)}.',
        read_only=changeable == START,
    )
    if kind is int:
        limits = IntegerRange(from_value=spec.minimum, to_value=spec.maximum, step=1)
        descriptor.integer_range = [limits]
    elif kind is float:
        # Step 0: any value between. With a step, ROS refuses values off its grid.
        limits = FloatingPointRange(from_value=spec.minimum, to_value=spec.maximum, step=0.0)
        descriptor.floating_point_range = [limits]
    return descriptor
