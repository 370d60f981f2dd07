"""The numbers that the paper prints; `published.yaml` beside this file holds and explains them.

Accuracies (miou, wiou, mvc) are fractions in [0, 1] here, as everywhere in code.
"""

from __future__ import annotations

from collections import namedtuple
from functools import cache
from importlib import resources
from typing import Any

import yaml

_FILE = resources.files('dcfm_ros.training.studies').joinpath('published.yaml')
_TABLES: dict[str, dict[str, Any]] = yaml.safe_load(_FILE.read_text(encoding='utf-8'))
TABLES = tuple(_TABLES)
"""Names that `published` knows."""


@cache
def published(name: str) -> tuple[Any, ...]:
    """The rows of a published table, in the paper's order; a column is an attribute.

    Raises:
        ValueError: If there is no such table; the message lists all.
    """
    if name not in _TABLES:
        raise ValueError(f'`name` must be one of {", ".join(TABLES)}, got {name!r}')
    columns = _TABLES[name]['columns']
    row_type = namedtuple('Row', columns)  # type: ignore[misc]
    return tuple(row_type(*map(_in_code, columns, row)) for row in _TABLES[name]['rows'])


def title(name: str) -> str:
    """What a published table is about, and its number in the paper."""
    return str(_TABLES[name]['title'])


def _in_code(column: str, value: Any) -> Any:
    """Per cent, as printed, to a fraction; rounded, so that 44.8 % is 0.448 and not 0.4479..9."""
    return round(value / 100, 6) if column.startswith(('miou', 'wiou', 'mvc')) else value
