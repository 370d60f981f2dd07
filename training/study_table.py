"""The table of a study: figures over seeds, beside those that the paper prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import math
from statistics import mean, stdev
from typing import Any

from dcfm_ros.training.studies import Study


def summary(rows: Sequence[Mapping[str, Any]], study: Study) -> dict[str, Any]:
    """Mean, standard deviation and values of every column, over the runs of a variant."""
    figures = {}
    for column in study.columns:
        values = [math.nan if row.get(column) is None else float(row[column]) for row in rows]
        known = not any(map(math.isnan, values))
        figures[column] = {
            'mean': mean(values) if known else None,
            'std': stdev(values) if known and len(values) > 1 else 0.0 if known else None,
            'values': values if known else [row.get(column) for row in rows],
        }
    return figures


def as_markdown(figures: Mapping[str, Any]) -> str:
    """A table to read: mean and standard deviation over seeds, and what the paper prints."""
    columns, names = figures['columns'], list(figures['data'])
    head = ['variant', *(f'{column} ({name})' for name in names for column in columns)]
    head += [f'{column} (paper)' for column in columns]
    lines = [' | '.join(head), ' | '.join('---' for _ in head)]
    for row in figures['rows']:
        cells = [row['variant']]
        cells += [_cell(row[name][column]) for name in names for column in columns]
        cells += [f'{row["published"][c]:.3f}' if c in row['published'] else '' for c in columns]
        lines.append(' | '.join(cells))
    return '\n'.join(f'| {line} |' for line in lines)


def _cell(value: Mapping[str, Any]) -> str:
    if value['mean'] is None:
        return '-'
    return f'{value["mean"]:.3f} +- {value["std"]:.3f}'
