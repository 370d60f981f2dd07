"""Times of a network in every precision, side by side on the same frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import torch

from dcfm_ros.backends.torch_backend import DTYPES
from dcfm_ros.benchmark.gpu.case import Case
from dcfm_ros.benchmark.inputs import Model, read_frames
from dcfm_ros.benchmark.interleave import Record, measure
from dcfm_ros.benchmark.ratios import bar_of, ratios_between, ratios_within
from dcfm_ros.benchmark.rivals import eager_rivals, engine_rivals, mask_rivals, plain_rivals
from dcfm_ros.benchmark.run import BenchOptions, without_failures
from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.recordings.sources import SourceFrame

Ratios = Mapping[str, float]


def measure_times(net: Model, case: Case) -> dict[str, Any]:
    """Time the rows of `dcfm bench`, in every precision, in one run.

    On a GPU also the engine without CUDA graphs (backend 'eager'), and the mask alone, from logits
    to the host, with Triton and without ('mask_in_triton', 'mask_in_chunks').

    Returns:
        'times' (rows), 'ratios' (with the bars of `dcfm bench`), 'notes' (what could not be timed
        and why), and 'wrong': rows that another backend had to finish.
    """
    bench = BenchOptions(frames=case.timed)
    frames = read_frames(None, case.size, bench.warm_up + bench.measured + 1)
    rivals = plain_rivals(net, case.device, frames)
    for precision in case.precisions:
        options = case.options(precision)
        rivals += engine_rivals(net, options, frames, bench.intervals, net)
        if case.is_on_gpu:
            rivals += eager_rivals(net, options, frames)
    records, wrong = without_failures(measure(rivals, frames[:-1], bench.warm_up))
    if case.is_on_gpu:
        masks, notes = _mask_records(net, case, frames, bench.warm_up)
        records += masks
    else:
        notes = ['fp16, rows without CUDA graphs, and masks with and without Triton: no GPU']
    return {
        'times': [{'model': case.model, **record.row()} for record in records],
        'ratios': [
            {'model': case.model, **row, **_judged(net, case, row)}
            for row in _ratios(records, case.precisions)
        ],
        'notes': [f'{case.model}: {note}' for note in notes],
        'wrong': wrong,
    }


def _mask_records(
    net: Model, case: Case, frames: Sequence[SourceFrame], warm_up: int
) -> tuple[list[Record], list[str]]:
    """Of the mask alone, in every precision; or none, and why."""
    records: list[Record] = []
    for precision in case.precisions:
        engine = SegmentationEngine(net, case.options(precision, motion='none'))
        logits = torch.tensor(engine.step(frames[0].image, 0).logits)
        logits = logits.to(case.device, DTYPES[precision])
        try:
            rivals = mask_rivals(logits, case.size, precision)
        except Exception as error:  # no Triton, no compiler, no folder to write to, ...
            return [], [f'masks with Triton: {error!r}']
        records += measure(rivals, frames, warm_up)
    return records, []


def _ratios(records: Sequence[Record], precisions: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Within each precision, of what an optimisation replaces to it, and between precisions."""

    def found(precision: str, backend: str = 'torch') -> list[Record]:
        wanted = precision, backend
        rivals = [record for record in records if not record.rival.is_plain]
        return [r for r in rivals if (r.rival.precision, r.rival.backend) == wanted]

    plain = [record for record in records if record.rival.is_plain]
    for precision in precisions:
        yield from _rows(precision, ratios_within([*plain, *found(precision)]))
        graphs = ratios_between(found(precision, 'eager'), found(precision))
        yield from _rows(precision, graphs, 'eager/graphs ')
    for above, below in combinations(precisions, 2):
        yield from _rows(f'{above}/{below}', ratios_between(found(above), found(below)))


def _rows(precision: str, ratios: Ratios, before: str = '') -> Iterator[dict[str, Any]]:
    for name, value in ratios.items():
        yield {'precision': precision, 'ratio': f'{before}{name}', 'value': value}


def _judged(net: Model, case: Case, row: Mapping[str, Any]) -> dict[str, Any]:
    """The bar of a ratio, if there is one for this network and GPU."""
    facts = {'model': case.model, 'title': net.config.title}
    network = {**facts, 'num_classes': net.config.num_classes}
    gpu = torch.cuda.get_device_name(case.device) if case.is_on_gpu else None
    if '/' in row['precision']:
        return {}
    bar = bar_of(row['ratio'], network, f'{case.size[0]}x{case.size[1]}', case.device, gpu)
    return bar.judge(row['value']) if bar else {}
