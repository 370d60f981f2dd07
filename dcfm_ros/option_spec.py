"""What an option means and which values it takes, stated once, beside its default.

`EngineOptions`, `ScheduleOptions` and the nodes' parameter tables are dataclasses of such fields.
Checks, ROS descriptors, command-line help and the tables in the manuals all read them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
import math
from numbers import Integral, Real
import re
from typing import Any


@dataclass(frozen=True, kw_only=True)
class OptionSpec:
    """The meaning of an option and its allowed values."""

    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ''
    """Regular expression for texts allowed beside `choices`; `pattern_text` says it in words."""
    pattern_text: str = ''
    unit: str = ''
    changeable: str = ''
    """When the parameter of a node may change; see `ros.parameters.spec`."""


def option(default: Any, description: str, **spec: Any) -> Any:
    """A dataclass field with its `OptionSpec`; the default `minimum` of a number is 0."""
    if type(default) in (int, float):
        spec = {'minimum': type(default)(0), **spec}
    return field(default=default, metadata={'spec': OptionSpec(description=description, **spec)})


def specs_of(table: Any) -> dict[str, OptionSpec]:
    """The specs of a dataclass of options, by field name."""
    return {f.name: f.metadata['spec'] for f in fields(table)}


def types_of(table: Any) -> dict[str, type]:
    """The Python types of a dataclass of options, by field name."""
    return {f.name: type(f.default) for f in fields(table)}


def allowed_values(name: str, table: Any) -> str:
    """The allowed values of an option, in words."""
    spec, kind = specs_of(table)[name], types_of(table)[name]
    if kind is bool:
        return 'true or false'
    if kind is tuple:
        return f'a list of different names ({spec.pattern_text})'
    if kind is str:
        options = [*spec.choices, *([spec.pattern_text] if spec.pattern_text else [])]
        return f'one of {", ".join(options)}' if options else 'a text'
    noun = 'a whole number' if kind is int else 'a number'
    return f'{noun} from {spec.minimum} to {spec.maximum}'


def problem(name: str, value: object, table: Any) -> str:
    """What is wrong with a value and what is allowed; '' if it is fine."""
    if _is_allowed(value, specs_of(table)[name], types_of(table)[name]):
        return ''
    return f'`{name}` must be {allowed_values(name, table)}, got {value!r}'


def check_options(options: Any) -> None:
    """Raise ValueError unless every field has an allowed value; one line for each that has not.

    For `__post_init__` of a frozen dataclass: numbers of other types (a whole number for a float,
    NumPy's) become int or float.
    """
    for name, kind in types_of(options).items():
        value, number = getattr(options, name), {int: Integral, float: Real}.get(kind)
        if number and isinstance(value, number) and not isinstance(value, bool):
            object.__setattr__(options, name, kind(value))
    texts = [problem(name, getattr(options, name), options) for name in specs_of(options)]
    if any(texts):
        raise ValueError('\n'.join(filter(None, texts)))


def _is_allowed(value: object, spec: OptionSpec, kind: type) -> bool:
    if type(value) is not kind:
        return False
    if isinstance(value, tuple) and spec.pattern:
        are_names = all(isinstance(v, str) and re.fullmatch(spec.pattern, v) for v in value)
        return are_names and len(set(value)) == len(value)
    if isinstance(value, str):
        is_free = not spec.choices and not spec.pattern
        is_named = value in spec.choices
        return is_free or is_named or bool(spec.pattern and re.fullmatch(spec.pattern, value))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return True
    low = -math.inf if spec.minimum is None else spec.minimum
    high = math.inf if spec.maximum is None else spec.maximum
    return low <= value <= high
