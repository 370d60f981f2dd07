"""Golden parity data (measured on the official code): the recipe of its weights and frames."""

from __future__ import annotations

import json
import zlib

import numpy as np
import pytest
from repository import ROOT
import torch

from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.models.official import from_official, official_key

PATH = ROOT / 'test' / 'fixtures' / 'dcfm_golden.json'
needs_golden = pytest.mark.skipif(not PATH.exists(), reason=f'golden data absent: {PATH}')
PRESETS = {
    'vspw_b0_s16': 'vspw_mit_b0',
    'vspw_b2': 'vspw_mit_b2',
    'camvid_r50': 'camvid_resnet50',
}


def load():
    return json.loads(PATH.read_text())


def synthetic_value(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The golden weight of an official key (without 'module.')."""
    random = np.random.RandomState(zlib.crc32(key.encode()))
    if key.endswith('num_batches_tracked'):
        return torch.zeros(shape, dtype=torch.int64)
    if key.endswith('running_mean'):
        value = 0.1 * random.standard_normal(shape)
    elif key.endswith('running_var'):
        value = 0.5 + random.random_sample(shape)
    elif key.endswith('bias'):
        value = 0.05 * random.standard_normal(shape)
    elif len(shape) == 1:
        value = 1 + 0.1 * random.standard_normal(shape)
    else:
        value = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(value))


def official_state_dicts(config: DCFMConfig) -> tuple[dict, dict]:
    """Official encoder and decoder state dicts with golden weights, keys as in released files."""
    states = {'encoder': {}, 'decoder': {}}
    for key, own in DCFM(config).state_dict().items():
        part, official = official_key(key, config)
        shape = tuple(own.shape)
        if '.linear_c' in official and official.endswith('weight'):
            shape = shape[:2]  # a Linear there, a 1x1 convolution here
        states[part][f'module.{official}'] = synthetic_value(official, shape)
    if config.backbone.startswith('mit'):
        for name, shape in (('weight', (19, 128, 1, 1)), ('bias', (19,))):
            key = f'backbone.decoder.conv_seg.{name}'
            states['encoder'][f'module.{key}'] = synthetic_value(key, shape)
    return states['encoder'], states['decoder']


def golden_net(config: DCFMConfig) -> DCFM:
    """The network with golden weights, float64, eval."""
    return from_official(*official_state_dicts(config), config)


def golden_frames(net: DCFM, size: tuple[int, int], count: int = 5) -> list[torch.Tensor]:
    """Golden frames as the network expects them (it normalises; the recipe's are normalised)."""
    base = np.random.RandomState(100).standard_normal((1, 3, *size))
    frames = []
    for index in range(count):
        noise = np.random.RandomState(index).standard_normal((1, 3, *size))
        frame = torch.from_numpy(0.8 * base + 0.2 * noise)
        frames.append(frame * net.std + net.mean)
    return frames


def check_summary(tensor: torch.Tensor, golden: dict) -> None:
    """Compare shape, mean, absmean, std and samples to 1e-8 relative."""
    values = tensor.detach().numpy()
    assert list(values.shape) == golden['shape']
    figures = [values.mean(), np.abs(values).mean(), values.std()]
    expected = [golden['mean'], golden['absmean'], golden['std']]
    np.testing.assert_allclose(figures, expected, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(values.ravel()[golden['idx']], golden['val'], rtol=1e-8, atol=1e-12)


def check_argmax(logits: torch.Tensor, golden: dict) -> None:
    """Compare the checksum of the class map of (1, K, H, W) logits."""
    mask = logits.argmax(dim=1)[0].numpy().astype(np.uint8)
    assert zlib.crc32(np.ascontiguousarray(mask).tobytes()) == golden['crc']
