"""The figures of `dcfm bench` as tables, and the tables as files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from dcfm_ros.files import into_folder, write_json, write_text

Row = Mapping[str, Any]


class Section(NamedTuple):
    """A table with a heading."""

    title: str
    rows: Sequence[Row]
    """Cells by column; a column that a row lacks is empty."""
    note: str = ''


def sections(figures: Mapping[str, Any]) -> Iterator[Section]:
    """The tables of a run, without those that it did not fill."""
    yield machine_section({**figures['machine'], **figures['frames']})
    rows = figures['rows']
    left_out = ('stage_ms', 'size', 'frames')
    yield Section('Times', [_without(row, left_out) for row in rows], _TIMES)
    names = ('model', 'backend', 'what')
    stages = [{**{name: row[name] for name in names}, **row['stage_ms']} for row in rows]
    if notes := figures.get('notes'):
        yield Section('Left out', [{'row': note} for note in notes])
    yield Section('Stages', stages, 'Medians of the frames that have the stage, ms.')
    yield Section('Ratios', figures['checks'], _RATIOS)
    if memory := figures.get('memory'):
        yield Section('Memory of the engine', [_without(run, ('rss_mb',)) for run in memory])
    if share := figures.get('node_share'):
        yield Section('What the node adds to the engine', list(_spread(share)), _SHARE)


def machine_section(facts: Row) -> Section:
    """The machine, and what was run on it."""
    return Section('Machine', [{'fact': name, 'value': value} for name, value in facts.items()])


def write_figures(
    folder: Path, name: str, command: str, figures: Row, tables: Iterable[Section]
) -> list[Path]:
    """Write the tables as `name`.md, headed by command and date, and all figures as `name`.json.

    Returns:
        Both files; neither is new if one cannot be written.
    """
    date = datetime.now(timezone.utc).date().isoformat()
    with into_folder(folder) as part:
        heading = f'# {name}\n\n`{command}`, {date}\n\n'
        write_text(part / f'{name}.md', heading + to_markdown(tables))
        write_json(part / f'{name}.json', {'command': command, 'date': date, **figures})
    return [folder / f'{name}.md', folder / f'{name}.json']


def to_markdown(tables: Iterable[Section]) -> str:
    """Headings, notes and tables."""
    parts = []
    for title, rows, note in tables:
        parts.append(f'## {title}\n')
        if note:
            parts.append(f'{note}\n')
        columns = list(dict.fromkeys(key for row in rows for key in row))
        lines = [columns, ['---'] * len(columns)]
        lines += [[cell(row.get(column)) for column in columns] for row in rows]
        parts.append('\n'.join(f'| {" | ".join(line)} |' for line in lines) + '\n')
    return '\n'.join(parts)


def cell(value: Any) -> str:
    """A value as text: three or four digits of a number, '-' for nothing."""
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if isinstance(value, float):
        digits = 1 if abs(value) >= 100 else 2 if abs(value) >= 10 else 3
        return f'{value:.{digits}f}'
    if isinstance(value, (list, tuple)):
        return ', '.join(map(cell, value)) or '-'
    return '-' if value is None else str(value)


def _without(row: Row, names: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in names}


def _spread(share: Row) -> Iterator[dict[str, Any]]:
    facts = {name: share[name] for name in ('model', 'size', 'backend', 'device', 'frames')}
    for name in ('latency_ms', 'wait_ms', 'convert_ms', 'share_ms'):
        yield {**facts, 'time': name, **share[name]}
    yield {**facts, 'time': f'share_ms p95 {share["bar"]}', 'p95': share['holds']}
    yield {**facts, 'time': 'growth_mb', 'p50': share['growth_mb']}


_TIMES = (
    'From a camera image to its class mask on the host, ms. `equal_pixels`: share of the pixels '
    'that have the class of the plain order, which is always fp32: below that precision the share '
    'includes the rounding. Neither side moves the common feature; streams do as the weights ask.'
)
_RATIOS = (
    'Medians of the ratios frame by frame; of streams (`*_k<interval>`), ratios of means. '
    '`paper`: the same on its V100.'
)
_SHARE = (
    '`latency_ms`: from the callback to the published mask; `wait_ms`: for the worker; '
    '`share_ms`: latency without the engine. Each frame is sent when the last one is answered, '
    'over DDS on this host. `growth_mb`: memory of the whole process, last fifth minus second.'
)
