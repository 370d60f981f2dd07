"""Streams segmented by a backend and by PyTorch, and how much they may differ."""

from __future__ import annotations

from engines import make_engine, run
import numpy as np
from small_net import GatedDCFM, make_images

NETS = [
    ('mit_b0', {'head': 'mlp', 'independent_stage': 'patch'}),
    ('resnet18', {'head': 'conv', 'head_channels': 32}),
    ('timm:mobilenetv4_conv_small', {'head': 'linear'}),
    ('timm:resnet10t', {'head': 'mlp'}),
    # Normalised by .5 instead of ImageNet's values.
    ('timm:tf_efficientnet_lite0', {'head': 'linear'}),
    # Not a chain: its state is the image. And one whose fusion cannot be split.
    ('timm:regnety_002', {'head': 'linear'}),
    ('timm:mobilenetv4_conv_small', {'kind': GatedDCFM}),
]


def assert_same_stream(net, backend, count=7, **options):
    """The backend answers every frame itself, and as PyTorch does in fp32."""
    images = make_images(count)
    engine = make_engine(net, backend=backend, precision='fp32', **options)
    results = run(engine, images)
    assert engine.backend.failure == ''
    assert engine.backend.name == backend
    assert_same(results, run(make_engine(net, **options), images))


def assert_same(results, expected):
    """Equal streams, but for rounding in fp32."""
    assert len(results) == len(expected)
    for one, other in zip(results, expected, strict=True):
        assert one.reason == other.reason
        assert one.keyframe_age == other.keyframe_age
        assert np.abs(one.logits - other.logits).max() < 1e-4 * np.abs(other.logits).max()
        assert np.mean(one.mask == other.mask) >= 0.995
