"""When the parameters of a node may change.

A table of parameters is a frozen dataclass with an `option` per parameter. Declaration,
descriptors, checks, `config/*.yaml` and the tables of the manuals all follow it.
"""

from __future__ import annotations

from typing import Any

from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.option_spec import specs_of

LIVE = 'any time'
UNCONFIGURED = 'while unconfigured'
START = 'at start only'
_SCHEDULE = specs_of(ScheduleOptions)


def when_changeable(name: str, table: Any) -> str:
    """`LIVE`, `UNCONFIGURED` or `START`; the engine's options do not say, those of nodes may."""
    return specs_of(table)[name].changeable or (LIVE if name in _SCHEDULE else UNCONFIGURED)
