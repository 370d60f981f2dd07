"""Ratios of the rows of one run, and the bars that they have to meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dcfm_ros.benchmark.interleave import LIBRARY, Record

_PAIRS = (
    ('paper_key', 'key'),
    (LIBRARY, 'key'),
    ('paper_nonkey_past', 'nonkey_past'),
    ('paper_nonkey_both', 'nonkey_both'),
    ('nonkey_past', 'key'),
    ('nonkey_both', 'key'),
    ('mask_in_chunks', 'mask_in_triton'),
)


def ratios_within(records: Sequence[Record]) -> dict[str, float]:
    """Ratios of the rows of one network in one backend, and of the plain order to them.

    For two kinds of frame, the median of the ratios frame by frame; for a stream, whose frames
    differ, the ratio of means over the same frames, or its p99 over its mean.
    """
    ms = {record.rival.what: np.array(record.ms) for record in records}
    streams = [record.rival.what for record in records if record.rival.is_stream]
    ratios = {
        f'{above}/{below}': float(np.median(ms[above] / ms[below]))
        for above, below in _PAIRS
        if above in ms and below in ms
    }
    for what in streams:
        mean = ms[what].mean()
        if 'image_baseline' in ms:
            ratios[f'image_baseline/{what}'] = float(ms['image_baseline'].mean() / mean)
        ratios[f'{what} p99/mean'] = float(np.percentile(ms[what], 99) / mean)
    for what in ('key', 'nonkey_past', 'nonkey_both'):
        if what in ms:
            ratios[f'{what} ms'] = float(np.median(ms[what]))
    return ratios


def ratios_between(above: Sequence[Record], below: Sequence[Record]) -> dict[str, float]:
    """Ratios of the rows of one network in two backends, by row, as in `ratios_within`.

    Also of the plain order, if `above` has it, to the rows of `below`.
    """
    others = {record.rival.what: np.array(record.ms) for record in below}
    plain = {record.rival.what: np.array(record.ms) for record in above if record.rival.is_plain}
    ratios = {
        f'{what}/{other}': float(np.median(plain[what] / others[other]))
        for what, other in _PAIRS
        if what in plain and other in others
    }
    for record in above:
        what, values = record.rival.what, np.array(record.ms)
        if what in others and record.rival.is_stream:
            ratios[what] = float(values.mean() / others[what].mean())
        elif what in others:
            ratios[what] = float(np.median(values / others[what]))
    return ratios


class Bar(NamedTuple):
    """The limit of a ratio, and for which network and device it holds."""

    ratio: str
    limit: float
    is_most: bool = False
    """Whether the limit is the most that is allowed, not the least."""
    backbone: str | None = None
    """Of a network with the 124 classes of VSPW at 480x853; None: the packaged default."""
    device: str | None = None
    """'cpu' or 'cuda', or a part of the GPU's name; None: any."""
    paper: float | None = None
    """The paper's value, on its V100."""

    def judge(self, value: float) -> dict[str, Any]:
        """The bar in words, whether the value meets it, and the paper's value."""
        return {
            'bar': f'{"<=" if self.is_most else ">="} {self.limit:g}',
            'holds': value <= self.limit if self.is_most else value >= self.limit,
            'paper': self.paper,
        }


BARS = (
    Bar('paper_nonkey_both/nonkey_both', 2.0, backbone='mit_b2'),
    Bar('paper_nonkey_past/nonkey_past', 1.3, backbone='mit_b2'),
    Bar('nonkey_past/key', 0.10, is_most=True, backbone='mit_b5', device='cpu'),
    Bar('nonkey_both/key', 0.10, is_most=True, backbone='mit_b5', device='cpu', paper=0.080),
    Bar('nonkey_past/key', 0.04, is_most=True, backbone='mit_b5', device='cuda'),
    Bar('nonkey_both/key', 0.04, is_most=True, backbone='mit_b5', device='cuda', paper=0.080),
    Bar('image_baseline/sync_k2', 1.5, backbone='mit_b2', device='cpu', paper=1.53),
    Bar('image_baseline/sync_k6', 2.6, backbone='mit_b2', device='cpu', paper=2.58),
    Bar('image_baseline/sync_k2', 1.85, backbone='mit_b5', device='cpu', paper=1.83),
    Bar('image_baseline/sync_k6', 4.2, backbone='mit_b5', device='cpu', paper=4.23),
    Bar('image_baseline/sync_k2', 1.8, backbone='mit_b2', device='cuda', paper=1.53),
    Bar('image_baseline/sync_k6', 4.0, backbone='mit_b2', device='cuda', paper=2.58),
    Bar('image_baseline/sync_k2', 1.9, backbone='mit_b5', device='cuda', paper=1.83),
    Bar('image_baseline/sync_k6', 5.0, backbone='mit_b5', device='cuda', paper=4.23),
    Bar('amortised_k6 p99/mean', 1.3, is_most=True, backbone='mit_b5', paper=4.3),
    Bar('nonkey_past ms', 0.6, is_most=True, backbone='mit_b5', device='H200'),
    Bar('key ms', 8.0, is_most=True, backbone='mit_b5', device='H200'),
    Bar('torch/openvino sync_k2', 2.0, device='cpu'),
    Bar('torch/openvino sync_k6', 2.0, device='cpu'),
)
"""What the project promises; ratios unless the name says ms."""


def bar_of(
    ratio: str, network: Mapping[str, Any], size: str, device: str, gpu: str | None
) -> Bar | None:
    """The bar of a ratio; None where nothing is promised.

    Args:
        ratio: Its name.
        network: 'model', 'title' and 'num_classes'.
        size: '480x853', for example.
        device: Where the engine ran, 'cpu' or 'cuda:<n>'.
        gpu: Its name.
    """
    is_vspw = network['num_classes'] == 124 and size == '480x853'
    for bar in BARS:
        if bar.backbone is None:
            is_meant = network['model'] == 'default'
        else:
            is_meant = is_vspw and network['title'] == bar.backbone
        is_there = (
            bar.device is None
            or device.startswith(bar.device)
            or (device != 'cpu' and bar.device in (gpu or ''))
        )
        if bar.ratio == ratio and is_meant and is_there:
            return bar
    return None
