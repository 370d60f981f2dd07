"""What a report shows of the way between player and node, and of the rates that were played."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dcfm_ros.replay.pages.parts import note, number, rows_table, table

_MEASURED = ('timeline', 'rates', 'peak')
_SPREADS = {
    'node_latency_ms': 'in the node, callback to published mask',
    'share_ms': 'of it without the engine',
    'wait_ms': 'of it until the worker is free',
    'transport_ms': 'outside the node: image sent, mask received',
}
_RATES = (
    'Runs of some seconds each. sent and answered: Hz, as ros2_benchmark takes them together (of '
    'all runs the best and the worst are dropped). Latencies: of all frames of all runs, ms. cpu: '
    '100 % is one core.'
)


def transport_html(transport: Mapping[str, Any] | None) -> list[str]:
    """Tables for `ReplayRun.transport`; none without one."""
    if transport is None:
        return []
    facts = {name: value for name, value in transport.items() if name not in _MEASURED}
    timeline = transport['timeline']
    counts = ('dropped_by_cause', 'never_arrived', 'lost_masks', 'unexpected_masks', 'process')
    facts |= {name: timeline[name] for name in counts if name in timeline}
    parts = [table(facts)]
    spreads = [
        {'ms': text} | {name: number(value, digits=2) for name, value in timeline[key].items()}
        for key, text in _SPREADS.items()
        if key in timeline
    ]
    if spreads:
        parts.append(rows_table(spreads))
    rows = [_row(figures) for figures in transport.get('rates', [])]
    if peak := transport.get('peak'):
        is_bound = f' (the {peak["at_limit"]} limit)' if peak['at_limit'] else ''
        rows.append(_row(peak) | {'asked for': f'peak: {peak["rate_hz"]:g} Hz{is_bound}'})
    if rows:
        parts += [note(_RATES), rows_table(rows)]
    return parts


def _row(figures: Mapping[str, Any]) -> dict[str, str]:
    named = {name.rpartition('.')[2]: value for name, value in figures['benchmark'].items()}
    frames, process = figures['frames'], figures.get('process', {})
    share = frames['frames_dropped'] / frames['frames_sent']
    return {
        'asked for': f'{figures["rate_hz"]:g} Hz',
        'sent': number(named['MEAN_PLAYBACK_FRAME_RATE']),
        'answered': number(named['MEAN_FRAME_RATE']),
        'missing': number(share, ' %', 100),
        'p50': number(frames['latency_ms']['p50']),
        'p95': number(frames['latency_ms']['p95']),
        'p99': number(frames['latency_ms']['p99']),
        'max': number(frames['latency_ms']['max']),
        'jitter': number(named['MEAN_JITTER']),
        'cpu': number(process.get('cpu_percent'), ' %'),
        'memory': number(process.get('memory_mb_max'), ' MB', digits=0),
    }
