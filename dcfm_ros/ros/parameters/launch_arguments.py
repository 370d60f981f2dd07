"""Parameters as arguments of launch files; no ROS."""

from __future__ import annotations

from typing import Any

from dcfm_ros.option_spec import specs_of, types_of


def launch_argument(name: str, table: Any) -> dict[str, Any]:
    """Keywords of a parameter's `DeclareLaunchArgument`; '' leaves it to the parameter file."""
    spec, kind = specs_of(table)[name], types_of(table)[name]
    unit = f' Unit: {spec.unit}.' if spec.unit else ''
    description = f'{spec.description}{unit} Empty: as in params_file.'
    choices = ('true', 'false') if kind is bool else () if spec.pattern else spec.choices
    found = {'default_value': '', 'description': description}
    return found | {'choices': ['', *choices]} if choices else found


def value_type(name: str, table: Any) -> type | None:
    """The `value_type` of its `ParameterValue`: with None, YAML decides on the type."""
    return str if types_of(table).get(name) is str else None
