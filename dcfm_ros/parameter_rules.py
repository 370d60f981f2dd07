"""Which values the parameters take, alone and together, and when they may be changed; no ROS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from difflib import get_close_matches
import math
import re
from typing import Any

from dcfm_ros.parameters import SPECS, TYPES, UNCONFIGURED, NodeParameters

_BUILT_IN = ('use_sim_time', 'start_type_description_service')
_TYPE_NAMES = {bool: 'bool', int: 'int', float: 'double', str: 'string', tuple: 'string_array'}
_ORDERED = (
    ('min_keyframe_interval', 'max_keyframe_interval'),
    ('min_keyframe_interval_s', 'max_keyframe_interval_s'),
)
"""The second of each must not be below the first, unless it is 0."""


def type_name(name: str) -> str:
    """The ROS type of a parameter: 'bool', 'int', 'double', 'string' or 'string_array'."""
    return _TYPE_NAMES[TYPES[name]]


def allowed_values(name: str) -> str:
    """The values that a parameter takes, in words."""
    spec, kind = SPECS[name], TYPES[name]
    if kind is bool:
        return 'true or false'
    if kind is tuple:
        return f'a list of different names ({spec.pattern_text})'
    if kind is str:
        options = [*spec.choices, *([spec.pattern_text] if spec.pattern_text else [])]
        return f'one of {", ".join(options)}' if options else 'a text'
    noun = 'a whole number' if kind is int else 'a number'
    return f'{noun} from {spec.minimum} to {spec.maximum}'


def problem(name: str, value: object) -> str:
    """What is wrong with a value, naming what is allowed; '' if nothing is."""
    if _is_allowed(name, value):
        return ''
    return f'`{name}` must be {allowed_values(name)}, got {value!r}'


def settle(given: Mapping[str, Any]) -> NodeParameters:
    """All values, from those given by their names in ROS; the others have their defaults.

    Raises:
        ValueError: If values are not allowed, alone or together; one line for each.
    """
    values = {name: _as_declared(name, given[name]) for name in SPECS if name in given}
    problems = [text for name, value in values.items() if (text := problem(name, value))]
    if not problems:
        parameters = NodeParameters(**values)
        if not (problems := conflicts(parameters)):
            return parameters
    raise ValueError('\n'.join(problems))


def conflicts(parameters: NodeParameters) -> list[str]:
    """What is wrong with values that are allowed each on its own, a line for each."""
    values = asdict(parameters)
    return [
        f'`{high}` must be 0 or at least `{low}` ({values[low]}), got {values[high]}'
        for low, high in _ORDERED
        if values[high] and values[high] < values[low]
    ]


def refusal(changes: Mapping[str, Any], now: NodeParameters, state: str) -> str:
    """Why parameters may not be changed together in a lifecycle state; '' if they may.

    A parameter that is used at configuration only is refused in other states, since it would read
    as set without being in effect.

    Args:
        changes: New values by name, as they come from ROS.
        now: The values before.
        state: Lifecycle state in words.
    """
    changes = {name: value for name, value in changes.items() if name in SPECS}
    reasons = [_refusal_of_one(name, value, state) for name, value in changes.items()]
    if not any(reasons):
        try:
            settle(asdict(now) | changes)
        except ValueError as error:
            reasons = str(error).splitlines()
    return '; '.join(filter(None, reasons))


def unknown(names: list[str]) -> list[str]:
    """One warning for each name that is no parameter's."""
    return [_unknown_text(name) for name in names if name not in SPECS and name not in _BUILT_IN]


def _refusal_of_one(name: str, value: object, state: str) -> str:
    if text := problem(name, value):
        return text
    if SPECS[name].changeable == UNCONFIGURED and state != 'unconfigured':
        how = 'deactivate and clean up the node first'
        return f'`{name}` can be changed {UNCONFIGURED} only, and the node is {state}: {how}'
    return ''


def _as_declared(name: str, value: object) -> object:
    """A value in the type of the table, if it can be said in it."""
    if TYPES[name] is float and type(value) is int:
        return float(value)  # `overlay_alpha:=1` is no mistake
    if TYPES[name] is tuple and isinstance(value, list):
        return () if value == [''] else tuple(value)  # ROS cannot read an empty list from a file
    return value


def _is_allowed(name: str, value: object) -> bool:
    spec, kind = SPECS[name], TYPES[name]
    if isinstance(value, list):
        value = _as_declared(name, value)
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


def _unknown_text(name: str) -> str:
    close = get_close_matches(name, SPECS, n=1)
    hint = f'; did you mean `{close[0]}`?' if close else ''
    return f'`{name}` is not a parameter of this node and is ignored{hint}'
