"""Which values the parameters take, alone and together, and when they may be changed; no ROS.

`table` is the dataclass of a node's parameters.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from difflib import get_close_matches
import math
import re
from typing import Any, TypeVar, overload

from dcfm_ros.ros.parameters.segmentation import UNCONFIGURED, NodeParameters, specs_of, types_of

P = TypeVar('P')

_BUILT_IN = ('use_sim_time', 'start_type_description_service')
_TYPE_NAMES = {bool: 'bool', int: 'int', float: 'double', str: 'string', tuple: 'string_array'}
_ORDERED = (
    ('min_keyframe_interval', 'max_keyframe_interval'),
    ('min_keyframe_interval_s', 'max_keyframe_interval_s'),
)
"""The second of each must not be below the first, unless it is 0."""


def type_name(name: str, table: type = NodeParameters) -> str:
    """The ROS type of a parameter: 'bool', 'int', 'double', 'string' or 'string_array'."""
    return _TYPE_NAMES[types_of(table)[name]]


def allowed_values(name: str, table: type = NodeParameters) -> str:
    """The values that a parameter takes, in words."""
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


def problem(name: str, value: object, table: type = NodeParameters) -> str:
    """What is wrong with a value, naming what is allowed; '' if nothing is."""
    if _is_allowed(name, value, table):
        return ''
    return f'`{name}` must be {allowed_values(name, table)}, got {value!r}'


@overload
def settle(given: Mapping[str, Any]) -> NodeParameters: ...


@overload
def settle(given: Mapping[str, Any], table: type[P]) -> P: ...


def settle(given: Mapping[str, Any], table: type[Any] = NodeParameters) -> Any:
    """All values, from those given by their names in ROS; the others have their defaults.

    Raises:
        ValueError: If values are not allowed, alone or together; one line for each.
    """
    kinds = types_of(table)
    values = {name: _as_declared(given[name], kinds[name]) for name in kinds if name in given}
    problems = [text for name, value in values.items() if (text := problem(name, value, table))]
    if not problems:
        parameters = table(**values)
        if not (problems := conflicts(parameters)):
            return parameters
    raise ValueError('\n'.join(problems))


def conflicts(parameters: Any) -> list[str]:
    """What is wrong with values that are allowed each on its own, a line for each."""
    values = asdict(parameters)
    return [
        f'`{high}` must be 0 or at least `{low}` ({values[low]}), got {values[high]}'
        for low, high in _ORDERED
        if values.get(high) and values[high] < values[low]
    ]


def refusal(changes: Mapping[str, Any], now: Any, state: str) -> str:
    """Why parameters may not be changed together in a lifecycle state; '' if they may.

    A parameter that is used at configuration only is refused in other states, since it would read
    as set without being in effect.

    Args:
        changes: New values by name, as they come from ROS.
        now: The values before, an instance of the table.
        state: Lifecycle state in words.
    """
    table, specs = type(now), specs_of(now)
    changes = {name: value for name, value in changes.items() if name in specs}
    reasons = [_refusal_of_one(name, value, state, table) for name, value in changes.items()]
    if not any(reasons):
        try:
            settle(asdict(now) | changes, table)
        except ValueError as error:
            reasons = str(error).splitlines()
    return '; '.join(filter(None, reasons))


def unknown(names: list[str], table: type = NodeParameters) -> list[str]:
    """One warning for each name that is no parameter's."""
    known = specs_of(table)
    strange = (name for name in names if name not in known and name not in _BUILT_IN)
    return [_unknown_text(name, known) for name in strange]


def _refusal_of_one(name: str, value: object, state: str, table: type) -> str:
    if text := problem(name, value, table):
        return text
    if specs_of(table)[name].changeable == UNCONFIGURED and state != 'unconfigured':
        how = 'deactivate and clean up the node first'
        return f'`{name}` can be changed {UNCONFIGURED} only, and the node is {state}: {how}'
    return ''


def _as_declared(value: object, kind: type) -> object:
    """A value in the type of the table, if it can be said in it."""
    if kind is float and type(value) is int:
        return float(value)  # `overlay_alpha:=1` is no mistake
    if kind is tuple and isinstance(value, list):
        return () if value == [''] else tuple(value)  # ROS cannot read an empty list from a file
    return value


def _is_allowed(name: str, value: object, table: type) -> bool:
    spec, kind = specs_of(table)[name], types_of(table)[name]
    if isinstance(value, list):
        value = _as_declared(value, kind)
    if type(value) is not kind:
        return False
    if isinstance(value, tuple):
        are_names = all(isinstance(v, str) and re.fullmatch(spec.pattern, v) for v in value)
        return are_names and len(set(value)) == len(value)
    if isinstance(value, str):
        is_free = not spec.choices and not spec.pattern
        return is_free or value in spec.choices or bool(re.fullmatch(spec.pattern, value))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return True
    low = -math.inf if spec.minimum is None else spec.minimum
    high = math.inf if spec.maximum is None else spec.maximum
    return low <= value <= high


def _unknown_text(name: str, known: Collection[str]) -> str:
    close = get_close_matches(name, known, n=1)
    hint = f'; did you mean `{close[0]}`?' if close else ''
    return f'`{name}` is not a parameter of this node and is ignored{hint}'
