"""Tables II, VIII and IX in the paper's form: one run beside the figures that the paper prints.

Columns `*_printed` are the paper's (VSPW, 480x853, one V100, batch 1); None where it has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dcfm_ros.training.studies.published import published

Row = Mapping[str, Any]

_CAMERA_HZ = 15.0
"""Rate of VSPW: a B-mode frame waits for the next keyframe."""
_DECODING = ('fusion', 'head', 'decode', 'mask')
_STAGES = {
    'encoder_low': ('independent',),
    'encoder_high': ('common',),
    'fusion': ('fusion',),
    'head': ('head',),
    'fusion to mask': _DECODING,
    'total': ('independent', 'common', *_DECODING),
}
"""Stages of Table VIII by those that are timed here."""


def paper_tables(
    network: Row, backend: str, rows: Sequence[Row], intervals: Sequence[int]
) -> dict[str, list[dict[str, Any]]]:
    """The rows of Tables 'II', 'VIII' and 'IX' for one network in one backend.

    Args:
        network: 'model', 'backbone', 'num_classes', 'params_m' and 'gmacs'.
        backend: Whose rows are meant.
        rows: Of the network in this backend, and those of the plain order.
        intervals: Keyframe intervals of Table II; 1 is added.
    """
    name = network['backbone'].replace('mit_b', 'MiT-B') if network['num_classes'] == 124 else ''
    ms = {row['what']: row['ms_p50'] for row in rows}
    stage_ms = {row['what']: row['stage_ms'] for row in rows}
    tables = {
        'II': _costs(network, name, ms, sorted({1, *intervals})),
        'VIII': _stages(name, stage_ms),
        'IX': _modes(name, ms),
    }
    names = {'model': network['model'], 'backend': backend}
    return {number: [names | row for row in table] for number, table in tables.items()}


def _costs(
    network: Row, name: str, ms: Mapping[str, float], intervals: Sequence[int]
) -> list[dict[str, Any]]:
    """Parameters, multiply-adds and frames per second; videos are in B mode, as in the paper."""
    params, counts = network['params_m'], network['gmacs']
    plain, engine = counts['plain'], counts['engine']
    decode = plain['fusion'] + plain['head']
    image = plain['shallow'] + plain['deep'] + plain['head']
    image_ms = ms.get('image_baseline')
    costs = {
        'SegFormer': (params['image_network'], engine['image_baseline'], image, image, image_ms)
    }
    for interval in intervals:
        costs[f'DCFM K={interval}'] = (
            params['total'],
            _mean(engine['key'], engine['nonkey_both'], interval),
            _mean(plain['key'], plain['nonkey_both'], interval),
            _mean(plain['key'] + decode, plain['nonkey_both'], interval),
            _mean(ms.get('key'), ms.get('nonkey_both'), interval),
        )
    printed = {row.method: row for row in published('table2_vspw') if row.backbone == name}
    return [
        {
            'backbone': network['backbone'],
            'method': method,
            'params_m': params_m,
            'params_m_printed': getattr(printed.get(method), 'params_m', None),
            'gmacs': gmacs,
            'gmacs_plain': gmacs_plain,
            'gmacs_plain_twice': gmacs_plain_twice,
            'gmacs_printed': getattr(printed.get(method), 'gflops', None),
            'fps': 1e3 / frame_ms if frame_ms else None,
            'fps_printed': getattr(printed.get(method), 'fps', None),
        }
        for method, (params_m, gmacs, gmacs_plain, gmacs_plain_twice, frame_ms) in costs.items()
    ]


def _stages(name: str, stage_ms: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """Ms of every stage of a keyframe and a non-key frame in B mode."""

    def total(what: str, parts: Sequence[str]) -> float | None:
        values = [stage_ms[what][part] for part in parts if part in stage_ms.get(what, ())]
        return sum(values) if values else None

    timed = ('image_baseline', 'paper_key', 'key', 'paper_nonkey_both', 'nonkey_both')
    rows = published('table8_time_ms_b5_vspw_v100') if name == 'MiT-B5' else ()
    printed = {row.stage: row for row in rows}
    return [
        {
            'stage': stage,
            **{what: total(what, parts) for what in timed},
            **{
                f'{kind}_printed': getattr(printed.get(stage), f'{kind}_ms', None)
                for kind in ('segformer', 'key', 'nonkey')
            },
        }
        for stage, parts in _STAGES.items()
    ]


def _modes(name: str, ms: Mapping[str, float]) -> list[dict[str, Any]]:
    """Mean time per frame and worst latency at interval 2, B and P mode, ms."""
    key = ms.get('key')
    latency_ms = {'both': 1e3 / _CAMERA_HZ + key if key else None, 'past': key}
    model = name.replace('MiT', 'DCFM')
    printed = {row.mode: row for row in published('table9_modes_vspw_k2') if row.model == model}
    return [
        {
            'mode': mode,
            'frame_ms': _mean(key, ms.get(f'nonkey_{mode}'), 2),
            'frame_ms_printed': getattr(printed.get(mode), 'frame_ms', None),
            'latency_ms': latency_ms[mode],
            'latency_ms_printed': getattr(printed.get(mode), 'latency_ms', None),
        }
        for mode in ('both', 'past')
    ]


def _mean(key: float | None, nonkey: float | None, interval: int) -> float | None:
    """Mean per frame of one keyframe and `interval` - 1 others."""
    if key is None or (nonkey is None and interval > 1):
        return None
    return (key + (interval - 1) * (nonkey or 0.0)) / interval
