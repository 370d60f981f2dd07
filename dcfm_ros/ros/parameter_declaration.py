"""The table of parameters as parameters of a ROS node."""

from __future__ import annotations

from typing import Any, TypeVar, overload

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from dcfm_ros.ros.parameters.rules import allowed_values, settle, unknown
from dcfm_ros.ros.parameters.segmentation import START, NodeParameters, specs_of, types_of
from dcfm_ros.ros.qos_overrides import PREFIX

P = TypeVar('P')


def declare_parameters(node: Node, table: type = NodeParameters) -> list[str]:
    """Declare all parameters of a table with the values given at start.

    The node must have been made with `automatically_declare_parameters_from_overrides`: only so
    all values given at start can be seen, also those with a name that nobody knows.

    Returns:
        One warning for each value given for a parameter that does not exist; overrides of the
        quality of service can be judged when the topics are known, see `unused_overrides`.

    Raises:
        ValueError: If values are not allowed; one line for each of them.
    """
    entries: dict[str, Any] = node.get_parameters_by_prefix('')
    given = {name: entry.value for name, entry in entries.items()}
    parameters: Any = settle(given, table)
    for name in specs_of(table):
        if name in given:
            node.undeclare_parameter(name)
        value = getattr(parameters, name)
        # ROS could not tell what an empty list is a list of.
        ros_value = (list(value) or ['']) if isinstance(value, tuple) else value
        node.declare_parameter(name, ros_value, _descriptor(name, table), ignore_override=True)
    return unknown([name for name in given if not name.startswith(PREFIX)], table)


@overload
def read_parameters(node: Node) -> NodeParameters: ...


@overload
def read_parameters(node: Node, table: type[P]) -> P: ...


def read_parameters(node: Node, table: type[Any] = NodeParameters) -> Any:
    """The values of now."""
    return settle({name: node.get_parameter(name).value for name in specs_of(table)}, table)


def _descriptor(name: str, table: type) -> ParameterDescriptor:
    spec, kind = specs_of(table)[name], types_of(table)[name]
    unit = f' Unit: {spec.unit}.' if spec.unit else ''
    descriptor = ParameterDescriptor(
        name=name,
        description=f'{spec.description}{unit} Can be changed {spec.changeable}.',
        additional_constraints=f'Must be {allowed_values(name, table)}.',
        read_only=spec.changeable == START,
    )
    if kind is int:
        limits = IntegerRange(from_value=spec.minimum, to_value=spec.maximum, step=1)
        descriptor.integer_range = [limits]
    elif kind is float:
        # step 0: any value between; with a step, sliders and sums of it are refused.
        limits = FloatingPointRange(from_value=spec.minimum, to_value=spec.maximum, step=0.0)
        descriptor.floating_point_range = [limits]
    return descriptor
