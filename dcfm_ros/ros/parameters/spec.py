"""What the parameters of a node are made of: options, each with the time when it may change.

A table of parameters is a frozen dataclass with a field per parameter. Declaration, descriptors,
checks, `config/*.yaml` and the tables of the manuals all follow it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from dcfm_ros.keyframes.options import ScheduleOptions
from dcfm_ros.option_spec import OptionSpec, option, specs_of

LIVE = 'any time'
UNCONFIGURED = 'while unconfigured'
START = 'at start only'
_SCHEDULE = specs_of(ScheduleOptions)


@dataclass(frozen=True, kw_only=True)
class ParameterSpec(OptionSpec):
    """An `OptionSpec` and when the parameter may be changed."""

    changeable: str = UNCONFIGURED
    """`LIVE`, `UNCONFIGURED` or `START`."""


def parameter(default: Any, description: str, changeable: str = UNCONFIGURED, **spec: Any) -> Any:
    """A dataclass field with its `ParameterSpec`; see `option`."""
    given: OptionSpec = option(default, description, **spec).metadata['spec']
    return field(
        default=default,
        metadata={'spec': ParameterSpec(**vars(given), changeable=changeable)},
    )


def parameter_specs(table: Any) -> dict[str, ParameterSpec]:
    """The specs of a table of parameters, by name.

    Of the engine's options, those of the schedule may change at any time, the others not once
    the node is configured.
    """
    found = {}
    for entry in fields(table):
        spec = entry.metadata['spec']
        if not isinstance(spec, ParameterSpec):
            changeable = LIVE if entry.name in _SCHEDULE else UNCONFIGURED
            spec = ParameterSpec(**vars(spec), changeable=changeable)
        found[entry.name] = spec
    return found
