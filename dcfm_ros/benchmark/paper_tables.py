"""Tables II, VIII and IX in the paper's form: one run beside the figures that the paper prints.

Columns `*_printed` are the paper's (VSPW, 480x853, one V100, batch 1); None where it has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dcfm_ros.training.studies.published import published

Row = dict[str, Any]
"""A row of a table by column."""

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


class PaperTables:
    """Fills the paper's tables for one network in one backend."""

    def __init__(
        self, network: Mapping[str, Any], backend: str, rows: Sequence[Mapping[str, Any]]
    ) -> None:
        """Take what was measured.

        Args:
            network: 'model', 'backbone', 'num_classes', 'params_m' and 'gmacs'.
            backend: Whose rows are meant.
            rows: Of the network in this backend, and those of the plain order.
        """
        self._network = network
        self._names = {'model': network['model'], 'backend': backend}
        self._rows = {row['what']: row for row in rows}
        name = (
            network['backbone'].replace('mit_b', 'MiT-B') if network['num_classes'] == 124 else ''
        )
        self._costs = {r.method: r for r in published('table2_vspw') if r.backbone == name}
        stages = published('table8_time_ms_b5_vspw_v100') if name == 'MiT-B5' else ()
        self._stages = {row.stage: row for row in stages}
        model = name.replace('MiT', 'DCFM')
        self._modes = {r.mode: r for r in published('table9_modes_vspw_k2') if r.model == model}

    def costs(self, intervals: Sequence[int]) -> list[Row]:
        """Table II without its accuracies: parameters, multiply-adds, frames per second.

        Videos are in B mode, as in the paper. `gmacs` is what the engine does, `gmacs_plain` the
        plain order. The paper counts fusion and head of a keyframe twice; so does
        `gmacs_plain_twice`.
        """
        params, counts = self._network['params_m'], self._network['gmacs']
        plain, engine = counts['plain'], counts['engine']
        decode = plain['fusion'] + plain['head']
        image_plain = plain['shallow'] + plain['deep'] + plain['head']
        rows = [
            self._cost(
                'SegFormer',
                params['image_network'],
                self._ms('image_baseline'),
                gmacs=engine['image_baseline'],
                gmacs_plain=image_plain,
                gmacs_plain_twice=image_plain,
            )
        ]
        for interval in sorted({1, *intervals}):
            twice = _mean_of(plain['key'] + decode, plain['nonkey_both'], interval)
            rows.append(
                self._cost(
                    f'DCFM K={interval}',
                    params['total'],
                    _mean_of(self._ms('key'), self._ms('nonkey_both'), interval),
                    gmacs=_mean_of(engine['key'], engine['nonkey_both'], interval),
                    gmacs_plain=_mean_of(plain['key'], plain['nonkey_both'], interval),
                    gmacs_plain_twice=twice,
                )
            )
        return rows

    def stages(self) -> list[Row]:
        """Table VIII: ms of every stage of a keyframe and a non-key frame in B mode.

        The paper's head resizes the logits and leaves the argmax out. The engine fuses in its
        decoder and resizes in its mask, so that only their sum can be compared.
        """
        timed = ('image_baseline', 'paper_key', 'key', 'paper_nonkey_both', 'nonkey_both')
        return [
            {
                **self._names,
                'stage': stage,
                **{what: self._stage(what, parts) for what in timed},
                **{
                    f'{kind}_printed': getattr(self._stages.get(stage), f'{kind}_ms', None)
                    for kind in ('segformer', 'key', 'nonkey')
                },
            }
            for stage, parts in _STAGES.items()
        ]

    def modes(self) -> list[Row]:
        """Table IX: mean time per frame and worst latency at interval 2, B and P mode, ms."""
        key = self._ms('key')
        latency_ms = {'both': 1e3 / _CAMERA_HZ + key if key else None, 'past': key}
        return [
            {
                **self._names,
                'mode': mode,
                'frame_ms': _mean_of(key, self._ms(f'nonkey_{mode}'), 2),
                'frame_ms_printed': getattr(self._modes.get(mode), 'frame_ms', None),
                'latency_ms': latency_ms[mode],
                'latency_ms_printed': getattr(self._modes.get(mode), 'latency_ms', None),
            }
            for mode in ('both', 'past')
        ]

    def _cost(self, method: str, params_m: float, ms: float | None, **gmacs: float | None) -> Row:
        printed = self._costs.get(method)
        return {
            **self._names,
            'backbone': self._network['backbone'],
            'method': method,
            'params_m': params_m,
            'params_m_printed': getattr(printed, 'params_m', None),
            **gmacs,
            'gmacs_printed': getattr(printed, 'gflops', None),
            'fps': 1e3 / ms if ms else None,
            'fps_printed': getattr(printed, 'fps', None),
        }

    def _ms(self, what: str) -> float | None:
        return self._rows[what]['ms_p50'] if what in self._rows else None

    def _stage(self, what: str, parts: Sequence[str]) -> float | None:
        stage_ms = self._rows[what]['stage_ms'] if what in self._rows else {}
        values = [stage_ms[part] for part in parts if part in stage_ms]
        return sum(values) if values else None


def _mean_of(key: float | None, nonkey: float | None, interval: int) -> float | None:
    """Mean per frame of one keyframe and `interval` - 1 others."""
    if key is None or (nonkey is None and interval > 1):
        return None
    return (key + (interval - 1) * (nonkey or 0.0)) / interval
