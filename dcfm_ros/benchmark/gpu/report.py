"""The figures of the GPU check as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dcfm_ros.benchmark.sections import Section, machine_section


def gpu_sections(figures: Mapping[str, Any]) -> Iterator[Section]:
    """The tables of a run so far; parts that did not run have none."""
    yield Section('Parts', figures['parts'], _PARTS)
    yield machine_section(figures['machine'])
    if tests := figures['tests']:
        rows = [{'outcome': name, 'tests': number} for name, number in tests['counts'].items()]
        rows += [{'outcome': 'failing', 'tests': name} for name in tests['failing']]
        yield Section('Tests', rows)
    notes = {'masks': _MASKS, 'times': _TIMES, 'ratios': _RATIOS, 'memory': _MEMORY}
    for name, note in notes.items():
        if figures[name]:
            rows = [{k: v for k, v in row.items() if k != 'stage_ms'} for row in figures[name]]
            yield Section(name.capitalize(), rows, note)
    if figures['notes']:
        yield Section('Left out', [{'what': note} for note in figures['notes']])


_PARTS = (
    'Each in a process of its own. `skipped`: it no longer fitted into the budget, or has nothing '
    'to do here; `failed`: it found something wrong, ended with an error or was cut off; '
    '`to come`: the run ended before it.'
)
_MASKS = (
    'Shares of equal pixels: of all frames, and of the frame with the fewest. fp32, without TF32, '
    'is compared with the plain order and must hold; other precisions are compared with fp32.'
)
_TIMES = (
    'From a camera image to its class mask on the host, ms. `paper_*` is the plain order, always '
    'fp32, with TF32 in convolutions as PyTorch has it; `equal_pixels` is compared with it. '
    'Backend `torch` replays CUDA graphs on a GPU, `eager` does not. `mask_*`: the mask alone, '
    'from logits on the GPU.'
)
_RATIOS = (
    'Of the rows above, measured side by side: medians of the ratios frame by frame; of streams '
    '(`*_k<interval>`), ratios of means. `paper`: the same on its V100.'
)
_MEMORY = (
    'A stream at keyframe interval 6, MB. `peak_gpu_mb`: the most that PyTorch reserved; growth: '
    'mean of the last fifth of the samples minus that of the second.'
)
