"""Masks of the engine beside those of the plain order, and of low precision beside fp32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from dcfm_ros.benchmark.gpu.case import Case
from dcfm_ros.benchmark.inputs import Model, read_frames
from dcfm_ros.benchmark.interleave import Rival, measure
from dcfm_ros.benchmark.rivals import engine_rivals, plain_rivals
from dcfm_ros.benchmark.run import BenchOptions, without_failures
from dcfm_ros.recordings.sources import SourceFrame

LEAST_EQUAL = 0.995
"""Share of the pixels to which the engine must give the class of the plain order, both in fp32."""
_INTERVAL = 6
"""Of the streams, frames."""


def compare_masks(net: Model, case: Case) -> dict[str, Any]:
    """Compare masks: fp32 with the plain order, other precisions with fp32.

    On a GPU fp32 is without TF32 here: its 10 bits would hide an error in the order of operations.

    Returns:
        'masks' (a row per comparison), and 'wrong': rows in fp32 that differ from the plain order,
        or that another backend had to finish.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    bench = BenchOptions(frames=case.compared, intervals=(_INTERVAL,))
    frames = read_frames(None, case.size, bench.warm_up + bench.measured + 1)
    rivals = [*plain_rivals(net, case.device, frames), *_engines(net, case, frames)]
    records, wrong = without_failures(measure(rivals, frames[:-1], bench.warm_up))
    rows = []
    for record in records:
        if not record.equal_pixels:
            continue
        rival, equal = record.rival, float(np.mean(record.equal_pixels))
        is_exact = rival.precision == 'fp32'
        row: dict[str, Any] = {
            'model': case.model,
            'what': rival.what.partition(' ')[0],
            'precision': rival.precision,
            'compared_with': 'plain order' if is_exact else 'fp32',
            'frames': len(record.equal_pixels),
            'equal_pixels': equal,
            'least_of_a_frame': min(record.equal_pixels),
            'holds': equal >= LEAST_EQUAL if is_exact else None,
        }
        rows.append(row)
        if row['holds'] is False:
            wrong.append(f'{rival.what}: {equal:.4f} of the pixels equal the plain order')
    return {'masks': rows, 'wrong': wrong}


def _engines(net: Model, case: Case, frames: Sequence[SourceFrame]) -> Iterator[Rival]:
    """Single frames and streams, those below fp32 named '<what> <precision>'."""
    for precision in case.precisions:
        for rival in engine_rivals(net, case.options(precision), frames, (_INTERVAL,), net):
            if rival.what == 'image_baseline':
                continue
            if precision == 'fp32':
                yield rival
            else:
                yield replace(rival, what=f'{rival.what} {precision}', same_as=rival.what)
