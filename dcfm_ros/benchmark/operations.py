"""Parameters and multiply-adds of a network: in the plain order, and as the engine runs it.

Counted by `torch.utils.flop_counter`, which calls a multiply-add two operations; here it is one,
as in the paper. Convolutions and linear maps count, as in the paper; products of attention are
listed separately; normalisation, resizing and activation do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import copy
import math
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from dcfm_ros.benchmark.image_network import ImageNetwork
from dcfm_ros.benchmark.plain_order import plain_network
from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.keyframes.options import EngineOptions, ScheduleOptions
from dcfm_ros.models.dcfm import DCFM

T = TypeVar('T')

_LINEAR = ('convolution', 'addmm', 'mm')


def count_parameters(net: DCFM) -> dict[str, float]:
    """Millions of parameters by part; 'shallow' is all that the independent feature needs."""
    encoder = copy.deepcopy(net.encoder).eval().requires_grad_(True)
    weights = list(encoder.parameters())
    image = torch.zeros(1, 3, 64, 64, dtype=weights[0].dtype, device=weights[0].device)
    feature = encoder.shallow(image).feature
    gradients = torch.autograd.grad(feature.sum(), weights, allow_unused=True)
    shallow = sum(
        weight.numel()
        for weight, gradient in zip(weights, gradients, strict=True)
        if gradient is not None
    )
    sizes = {
        'shallow': shallow,
        'deep': _size(net.encoder) + _size(net.common_projection) - shallow,
        'fusion': _size(net.fusion),
        'head': _size(net.head),
        'total': _size(net),
        'image_network': _size(net) - _size(net.fusion),
    }
    return {name: size / 1e6 for name, size in sizes.items()}


def count_plain(net: DCFM, size: tuple[int, int]) -> dict[str, float]:
    """1e9 multiply-adds of the parts in the plain order, at one image of `size` = (H, W).

    Returns:
        'shallow', 'deep', 'fusion', 'head' (one pass each), 'key', 'nonkey_past', 'nonkey_both',
        and 'attention': the products of attention in shallow and deep, in none of the others.
    """
    plain = plain_network(net).cpu()
    dtype = next(plain.parameters()).dtype
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):  # shapes are enough
        image = torch.zeros(1, 3, *size, dtype=dtype)
        independent, shallow = _count(lambda: plain.encode_independent(image))
        common, deep = _count(lambda: plain.encode_common(independent))
        fused, fusion = _count(lambda: plain.fuse(common, independent))
        _, head = _count(lambda: plain.classify(fused))
    decode = fusion.linear + head.linear
    return {
        'shallow': shallow.linear,
        'deep': deep.linear,
        'fusion': fusion.linear,
        'head': head.linear,
        'key': shallow.linear + deep.linear + decode,
        'nonkey_past': shallow.linear + decode,
        'nonkey_both': shallow.linear + 2 * decode,
        'attention': shallow.attention + deep.attention,
    }


def count_engine(net: DCFM, size: tuple[int, int]) -> dict[str, float]:
    """1e9 multiply-adds of a frame as the engine runs it, without attention.

    Returns:
        'image_baseline', 'key', 'nonkey_past' and 'nonkey_both'.
    """
    image = np.zeros((*size, 3), np.uint8)
    options = EngineOptions(device='cpu', backend='torch', motion='none')
    every_frame = ScheduleOptions(keyframe_interval=1)
    engine = SegmentationEngine(net, options, ScheduleOptions(keyframe_interval=3))
    baseline = SegmentationEngine(ImageNetwork(net).cpu(), options, every_frame)
    clip = engine.segment_clip([image] * 4)
    counts = {
        'image_baseline': _count(lambda: baseline.step(image, 0))[1].linear,
        'key': _count(lambda: engine.step(image, 0))[1].linear,
        'nonkey_past': _count(lambda: engine.step(image, 1))[1].linear,
    }
    next(clip), next(clip)  # the first keyframe; a non-key frame, and the keyframe after it
    counts['nonkey_both'] = _count(lambda: next(clip))[1].linear
    return counts


class _Operations(NamedTuple):
    """1e9 multiply-adds."""

    linear: float
    """Of convolutions and linear maps."""
    attention: float
    """Of all else that PyTorch counts: batched products."""


def _count(run: Callable[[], T]) -> tuple[T, _Operations]:
    """The result of a function, and its operations."""
    fused = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
    with FlopCounterMode(display=False, custom_mapping=fused) as counter:
        result = run()
    counts = counter.get_flop_counts()['Global']
    linear = sum(
        flops
        for operator, flops in counts.items()
        if str(operator).removeprefix('aten.').partition('.')[0] in _LINEAR
    )
    return result, _Operations(linear / 2e9, (sum(counts.values()) - linear) / 2e9)


def _attention_flops(
    query: Sequence[int], key: Sequence[int], value: Sequence[int], *rest: object, **named: object
) -> int:
    """Of the CPU operator, which PyTorch does not count; shapes (B, heads, tokens, C)."""
    return 2 * math.prod(query[:3]) * key[2] * (query[3] + value[3])


def _size(module: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())
