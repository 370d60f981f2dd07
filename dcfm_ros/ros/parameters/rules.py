"""From what ROS gives to a table of parameters, and when values may be changed; no ROS.

`table` is the dataclass of a node's parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, TypeVar

from dcfm_ros.option_spec import types_of
from dcfm_ros.ros.parameters.segmentation import REMOVED
from dcfm_ros.ros.parameters.spec import UNCONFIGURED, when_changeable

P = TypeVar('P')

_BUILT_IN = ('use_sim_time', 'start_type_description_service')


def settle(given: Mapping[str, Any], table: type[P]) -> P:
    """All values, from those given by their names in ROS; the others have their defaults.

    Raises:
        ValueError: If values are not allowed, alone or together; one line for each.
    """
    return table(**_as_declared(given, table))


def refusal(changes: Mapping[str, Any], now: Any, state: str) -> str:
    """Why parameters may not be changed together in a lifecycle state; '' if they may.

    A parameter that is read at configuration is refused in other states, where it would look set
    without having an effect.

    Args:
        changes: New values by name, as they come from ROS.
        now: The values before, an instance of the table.
        state: Lifecycle state in words.
    """
    values = _as_declared(changes, now)
    reasons: list[str] = []
    try:
        replace(now, **values)
    except ValueError as error:
        reasons = str(error).splitlines()
    how = 'deactivate and clean up the node first'
    reasons += [
        f'`{name}` can be changed {UNCONFIGURED} only, and the node is {state}: {how}'
        for name in values
        if when_changeable(name, now) == UNCONFIGURED and state != 'unconfigured'
    ]
    return '; '.join(reasons)


def unknown(names: Iterable[str], table: Any) -> list[str]:
    """One warning for each name that is not a parameter's, with what is probably meant."""
    known = types_of(table)
    return [_ignored(n, known) for n in names if n not in known and n not in _BUILT_IN]


def _ignored(name: str, known: Iterable[str]) -> str:
    if name in REMOVED:
        return f'`{name}` was removed and is ignored: {REMOVED[name]}'
    close = get_close_matches(name, known, n=1)
    hint = f'; did you mean `{close[0]}`?' if close else ''
    return f'`{name}` is not a parameter of this node and is ignored{hint}'


def _as_declared(given: Mapping[str, Any], table: Any) -> dict[str, Any]:
    """The values of the table's parameters; lists as tuples."""
    found = {name: given[name] for name in types_of(table) if name in given}
    for name, value in found.items():
        if isinstance(value, list):  # ROS cannot read an empty one from a file
            found[name] = () if value == [''] else tuple(value)
    return found
