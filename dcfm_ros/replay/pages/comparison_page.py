"""The page of two replays side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import re
from typing import Any

from dcfm_ros.replay.pages.render import render, svg
from dcfm_ros.replay.pages.spread_plots import latency_of_two

_HASH = re.compile('[0-9a-f]{32,}')


def comparison_page(
    comparison: Mapping[str, Any],
    one: Mapping[str, Any],
    other: Mapping[str, Any],
    latencies: Sequence[Sequence[float]],
) -> str:
    """The page as HTML.

    Args:
        comparison: As in comparison.json.
        one: The first report.
        other: The second report.
        latencies: Of the frames of both, ms; empty if unknown.
    """
    losses = [f'first: {loss}' for loss in one['losses']]
    losses += [f'second: {loss}' for loss in other['losses']]
    if not comparison['same_recording']:
        losses.insert(0, 'These reports are not of the same recording.')
    return render(
        'comparison.html',
        title=f'{one["name"]}: two replays compared',
        comparison=comparison,
        losses=losses,
        settings=[{n: _short(value) for n, value in r.items()} for r in comparison['settings']],
        results=[_with_percent(row) for row in comparison['figures']],
        ious=[_with_percent(row) for row in comparison['iou']],
        plots={'latency': svg(latency_of_two(latencies))},
    )


def _with_percent(row: Mapping[str, Any]) -> dict[str, Any]:
    percent = None if row['percent'] is None else f'{row["percent"]:+.1f} %'
    named = {'value': row['figure'], **row, 'percent': percent}
    return {name: value for name, value in named.items() if name != 'figure'}


def _short(value: Any) -> Any:
    """The beginning of a hash, which is enough to see that two differ."""
    is_hash = isinstance(value, str) and _HASH.fullmatch(value)
    return f'{value[:12]}...' if is_hash else value
