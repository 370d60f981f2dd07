"""Streams segmented by a backend and by PyTorch, and by how much they differ."""

from __future__ import annotations

import numpy as np
from small_net import make_images

from dcfm_ros.engine import SegmentationEngine

NETS = [
    ('mit_b0', {'head': 'mlp', 'independent_stage': 'patch'}),
    ('resnet18', {'head': 'conv', 'head_channels': 32}),
    ('timm:mobilenetv4_conv_small', {'head': 'linear'}),
    ('timm:resnet10t', {'head': 'mlp'}),
    # Not a chain: its state is the image. And the switches off, whose fusion does not split.
    ('timm:regnety_002', {'head': 'linear'}),
    ('timm:mobilenetv4_conv_small', {'nonkey_uses_common': False}),
]
SLOW = 33_000_000


def make_engine(net, backend, schedule=3, **options):
    return SegmentationEngine(net, device='cpu', backend=backend, schedule=schedule, **options)


def run(engine, images, start=0):
    return [engine.step(image, (start + i) * SLOW) for i, image in enumerate(images)]


def assert_same_stream(net, backend, count=7, **options):
    """The backend answers every frame by itself, and as PyTorch does."""
    images = make_images(count)
    engine = make_engine(net, backend, **options)
    results = run(engine, images)
    assert engine.backend_failure == ''
    assert engine.backend == backend
    assert_same(results, run(make_engine(net, 'torch', **options), images), engine.precision)


def assert_same(results, expected, precision='fp32'):
    assert len(results) == len(expected)
    for one, other in zip(results, expected, strict=True):
        assert one.keyframe_age == other.keyframe_age
        difference = (one.logits - other.logits).abs().max() / other.logits.abs().max()
        assert difference < (1e-4 if precision == 'fp32' else 0.1)
        assert np.mean(one.mask == other.mask) >= (0.995 if precision == 'fp32' else 0.9)
