"""Tables II, VIII and IX in the paper's form: its figures beside those of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dcfm_ros.benchmark.published import CAMERA_HZ, Cost, Published, published

Row = dict[str, Any]
"""A row of a table by column; `*_printed` is the paper's, None where the paper has nothing."""


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
        self._paper = published(network['backbone'], network['num_classes'])

    def costs(self, intervals: Sequence[int]) -> list[Row]:
        """Table II without its accuracies: parameters, multiply-adds, frames per second.

        Videos are in B mode, as in the paper. `gmacs` is what the engine does, `gmacs_plain` the
        plain order. The paper counts fusion and head of a keyframe twice; `gmacs_plain_twice` does
        so too, and `gmacs_printed_once` is the paper's figure without that.
        """
        paper, params, counts = self._paper, self._network['params_m'], self._network['gmacs']
        plain, engine = counts['plain'], counts['engine']
        decode = plain['fusion'] + plain['head']
        image_plain = plain['shallow'] + plain['deep'] + plain['head']
        rows = [
            self._cost(
                'image baseline',
                params['image_network'],
                gmacs=engine['image_baseline'],
                gmacs_plain=image_plain,
                gmacs_plain_twice=image_plain,
                ms=self._ms('image_baseline'),
                printed=paper.image if paper else None,
                once=paper.image.gmacs if paper else None,
            )
        ]
        for interval in sorted({1, *intervals}):
            rows.append(
                self._cost(
                    f'DCFM K={interval}',
                    params['total'],
                    gmacs=_mean_of(engine['key'], engine['nonkey_both'], interval),
                    gmacs_plain=_mean_of(plain['key'], plain['nonkey_both'], interval),
                    gmacs_plain_twice=_mean_of(
                        plain['key'] + decode, plain['nonkey_both'], interval
                    ),
                    ms=_mean_of(self._ms('key'), self._ms('nonkey_both'), interval),
                    printed=paper.video.get(interval) if paper else None,
                    once=paper.gmacs.get(interval) if paper else None,
                )
            )
        return rows

    def stages(self) -> list[Row]:
        """Table VIII: ms of every stage of a keyframe and a non-key frame in B mode.

        Its head resizes the logits, and the argmax is left out. The engine fuses in its decoder
        and resizes in its mask, so that only their sum can be compared.
        """
        return [
            {
                **self._names,
                'stage': stage,
                'image_baseline': self._stage('image_baseline', parts),
                'paper_key': self._stage('paper_key', parts),
                'key': self._stage('key', parts),
                'paper_nonkey_both': self._stage('paper_nonkey_both', parts),
                'nonkey_both': self._stage('nonkey_both', parts),
                **_printed(self._paper, stage),
            }
            for stage, parts in _STAGES.items()
        ]

    def modes(self) -> list[Row]:
        """Table IX: mean time per frame and worst latency at interval 2, B and P mode, ms."""
        key, wait = self._ms('key'), 1e3 / CAMERA_HZ
        frame_ms = {
            'both': _mean_of(key, self._ms('nonkey_both'), 2),
            'past': _mean_of(key, self._ms('nonkey_past'), 2),
        }
        latency_ms = {'both': wait + key if key else None, 'past': key}
        paper = self._paper
        return [
            {
                **self._names,
                'mode': mode,
                'frame_ms': frame_ms[mode],
                'frame_ms_printed': paper.frame_ms[mode] if paper else None,
                'latency_ms': latency_ms[mode],
                'latency_ms_printed': paper.latency_ms[mode] if paper else None,
            }
            for mode in ('both', 'past')
        ]

    def _cost(
        self,
        method: str,
        params_m: float,
        *,
        ms: float | None,
        printed: Cost | None,
        once: float | None,
        **gmacs: float | None,
    ) -> Row:
        return {
            **self._names,
            'backbone': self._network['backbone'],
            'method': method,
            'params_m': params_m,
            'params_m_printed': printed.params_m if printed else None,
            **gmacs,
            'gmacs_printed': printed.gmacs if printed else None,
            'gmacs_printed_once': once,
            'fps': 1e3 / ms if ms else None,
            'fps_printed': printed.fps if printed else None,
        }

    def _ms(self, what: str) -> float | None:
        return self._rows[what]['ms_p50'] if what in self._rows else None

    def _stage(self, what: str, parts: Sequence[str]) -> float | None:
        stage_ms = self._rows[what]['stage_ms'] if what in self._rows else {}
        values = [stage_ms[part] for part in parts if part in stage_ms]
        return sum(values) if values else None


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


def _printed(paper: Published | None, stage: str) -> Row:
    names = ('segformer_printed', 'key_printed', 'nonkey_printed')
    nothing = (None, None, None)
    return dict(zip(names, paper.stages.get(stage, nothing) if paper else nothing, strict=True))


def _mean_of(key: float | None, nonkey: float | None, interval: int) -> float | None:
    """Mean per frame of one keyframe and `interval` - 1 others."""
    if key is None or (nonkey is None and interval > 1):
        return None
    return (key + (interval - 1) * (nonkey or 0.0)) / interval
