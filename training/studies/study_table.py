"""The table of a study: figures over seeds, beside those that the paper prints.

`fold` is what a training validates on at its end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import math
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from dcfm_ros.training.ablated_network import read_network_metadata

FOLD = {'val_miou_key': 'fold key', 'val_miou_nonkey': 'fold non-key'}
"""Columns of the last validation, by its metrics."""
RECORDED = ('steps', 'hours', *FOLD)
"""What the table says of a training."""


def training_record(weights: Path) -> dict[str, Any]:
    """What a checkpoint says of its training, `RECORDED`; None where it does not."""
    record: dict[str, Any] = read_network_metadata(weights).training
    record = record | record.get('metrics', {})
    return {name: record.get(name) for name in RECORDED}


def summary(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> dict[str, Any]:
    """Mean, standard deviation and values of every column, over the runs of a variant."""
    figures: dict[str, Any] = {}
    for column in columns:
        values = [row.get(column) for row in rows]
        known = [float(value) for value in values if value is not None]
        if len(known) < len(values) or any(map(math.isnan, known)):
            figures[column] = {'mean': None, 'std': None, 'values': values}
        else:
            std = stdev(known) if len(known) > 1 else 0.0
            figures[column] = {'mean': mean(known), 'std': std, 'values': known}
    return figures


def as_markdown(figures: Mapping[str, Any]) -> str:
    """A table to read: mean and standard deviation over seeds, and what the paper prints."""
    columns, names, rows = figures['columns'], list(figures['data']), figures['rows']
    fold = [
        name for name in FOLD if all(row['training'][name]['mean'] is not None for row in rows)
    ]
    published = [column for column in columns if any(column in row['published'] for row in rows)]
    head = ['variant', *(f'{column} ({name})' for name in names for column in columns)]
    head += [FOLD[name] for name in fold] + [f'{column} (paper)' for column in published]
    lines = [' | '.join(head), ' | '.join('---' for _ in head)]
    for row in rows:
        cells = [row['variant']]
        cells += [_cell(row[name][column]) for name in names for column in columns]
        cells += [_cell(row['training'][name]) for name in fold]
        cells += [f'{row["published"][c]:.3f}' if c in row['published'] else '' for c in published]
        lines.append(' | '.join(cells))
    return '\n'.join(f'| {line} |' for line in lines)


def _cell(value: Mapping[str, Any]) -> str:
    if value['mean'] is None:
        return '-'
    return f'{value["mean"]:.3f} +- {value["std"]:.3f}'
