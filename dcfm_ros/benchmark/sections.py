"""The figures of `dcfm bench` as tables, and those as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Row = Mapping[str, Any]


class Section(NamedTuple):
    """A table with a heading."""

    title: str
    rows: Sequence[Row]
    """Cells by column; a column that a row lacks is empty."""
    note: str = ''


def sections(figures: Mapping[str, Any]) -> Iterator[Section]:
    """The tables of a run, without those that it did not fill."""
    facts = {**figures['machine'], **figures.get('frames', {})}
    yield Section('Machine', [{'fact': name, 'value': value} for name, value in facts.items()])
    rows = figures['rows']
    left_out = ('stage_ms', 'size', 'frames')
    yield Section('Times', [_without(row, left_out) for row in rows], _TIMES)
    stages = [{**_named(row), **row['stage_ms']} for row in rows]
    if notes := figures.get('notes'):
        yield Section('Left out', [{'row': note} for note in notes])
    yield Section('Stages', stages, 'Medians of the frames that have the stage, ms.')
    yield Section('Ratios', figures['checks'], _RATIOS)
    tables = figures['tables']
    yield Section('Parameters, speed and multiply-adds (Table II)', tables['II'], _COSTS)
    yield Section('Time per stage, ms (Table VIII)', tables['VIII'], _STAGES)
    yield Section('B mode and P mode, K=2 (Table IX)', tables['IX'], _MODES)
    counts = [
        {'model': network['model'], 'count': count, **values}
        for network in figures['networks']
        for count, values in (('parameters, millions', network['params_m']), *_gmacs(network))
    ]
    yield Section('Parameters and multiply-adds', counts, _OPERATIONS)
    if memory := figures.get('memory'):
        yield Section('Memory of the engine', [_without(run, ('rss_mb',)) for run in memory])
    if node := figures.get('node_memory'):
        yield Section('Memory of the node', [_without(node, ('rss_mb',))])
    if share := figures.get('node_share'):
        yield Section('What the node adds to the engine', list(_spread(share)), _SHARE)


def to_markdown(tables: Iterator[Section]) -> str:
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
    """A value of a table in words: three or four digits of a number, '-' for nothing."""
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if isinstance(value, float):
        digits = 1 if abs(value) >= 100 else 2 if abs(value) >= 10 else 3
        return f'{value:.{digits}f}'
    if isinstance(value, (list, tuple)):
        return ', '.join(map(cell, value)) or '-'
    return '-' if value is None else str(value)


def _named(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in ('model', 'backend', 'what')}


def _without(row: Row, names: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in names}


def _gmacs(network: Row) -> Iterator[tuple[str, Row]]:
    yield 'multiply-adds in the plain order, 1e9', network['gmacs']['plain']
    yield 'multiply-adds as run, 1e9', network['gmacs']['engine']


def _spread(share: Row) -> Iterator[dict[str, Any]]:
    facts = {name: share[name] for name in ('model', 'size', 'backend', 'device', 'frames')}
    for name in ('latency_ms', 'wait_ms', 'convert_ms', 'share_ms'):
        yield {**facts, 'time': name, **share[name]}
    yield {**facts, 'time': f'share_ms p95 {share["bar"]}', 'p95': share['holds']}


_TIMES = (
    'From a camera image to its class mask on the host, ms. `equal_pixels`: share of the pixels '
    'that have the class of the plain order.'
)
_RATIOS = (
    'Medians of the ratios frame by frame; of streams (`*_k<interval>`), ratios of means. '
    '`paper`: the same on its V100.'
)
_COSTS = (
    '`gmacs`: 1e9 multiply-adds as the engine runs them; `gmacs_plain`: in the plain order. The '
    'paper prints them as FLOPs and counts fusion and head of a keyframe twice, as of a frame '
    'between two keyframes; `gmacs_plain_twice` does the same, `gmacs_printed_once` corrects the '
    'printed ones. Videos in B mode: one keyframe and K-1 others. The image baseline is SegFormer '
    'in the paper, whose figures are of 480x853 and one V100; its counts include normalisations.'
)
_STAGES = (
    "The paper's head resizes the logits, and its total has no argmax. The engine fuses in its "
    'decoder and resizes in its mask: compare `fusion to mask`. Non-key frames in B mode.'
)
_MODES = (
    'Latency of B mode: the wait for the next keyframe of a camera at 15 Hz, and that keyframe; '
    'of P mode: a keyframe. The printed latencies of MiT-B5 do not agree with Table VIII.'
)
_OPERATIONS = (
    'Of convolutions and linear maps; `attention`: products of attention in both encoders, in '
    'none of the other figures.'
)
_SHARE = (
    '`latency_ms`: from the callback to the published mask; `wait_ms`: for the worker; '
    '`share_ms`: latency without the engine. Every frame is sent when the last is answered, over '
    'DDS on this host.'
)
