"""The numbers that the paper prints; `published.yaml` beside this file holds and explains them.

Accuracies (miou, wiou, mvc) are fractions in [0, 1] here, as everywhere in code.
"""

from __future__ import annotations

from collections import namedtuple
from functools import cache
from importlib import resources
from typing import Any

import yaml


@cache
def published(name: str) -> tuple[Any, ...]:
    """The rows of a published table, in the paper's order; a column is an attribute.

    Raises:
        ValueError: If there is no such table; the message lists all.
    """
    table = _table(name)
    columns = table['columns']
    row_type = namedtuple('Row', columns)  # type: ignore[misc]
    return tuple(row_type(*map(_in_code, columns, row)) for row in table['rows'])


def title(name: str) -> str:
    """What a published table is about, and its number in the paper.

    Raises:
        ValueError: If there is no such table.
    """
    return str(_table(name)['title'])


def _table(name: str) -> dict[str, Any]:
    tables = _tables()
    if name not in tables:
        raise ValueError(f'`name` must be one of {", ".join(tables)}, got {name!r}')
    return tables[name]


@cache
def _tables() -> dict[str, dict[str, Any]]:
    path = resources.files('dcfm_ros.training.studies').joinpath('published.yaml')
    loaded: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text(encoding='utf-8'))
    return loaded


def _in_code(column: str, value: Any) -> Any:
    """Per cent, as printed, to a fraction; rounded, so that 44.8 % is 0.448 and not 0.4479..9."""
    return round(value / 100, 6) if column.startswith(('miou', 'wiou', 'mvc')) else value


TABLES = tuple(_tables())
"""Names that `published` knows."""
