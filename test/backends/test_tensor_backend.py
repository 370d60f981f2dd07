"""What is asked of features and logits that are tensors."""

from __future__ import annotations

import numpy as np
import pytest
from small_net import make_images, make_net
import torch
import torch.nn.functional as F

from dcfm_ros.backends.torch_backend import TorchBackend
from dcfm_ros.models.backbone import Independent


@pytest.fixture(scope='module')
def backend() -> TorchBackend:
    return TorchBackend(make_net(), 'cpu')


@pytest.mark.parametrize('size', [(10, 13), (120, 160), (1, 8)])
@pytest.mark.parametrize('stored', [torch.contiguous_format, torch.channels_last])
def test_digest_is_what_pooling_and_normalising_give(
    backend: TorchBackend, size: tuple[int, int], stored: torch.memory_format
) -> None:
    feature = torch.randn(1, 7, *size).to(memory_format=stored)
    expected = F.normalize(F.avg_pool2d(feature, 8, ceil_mode=True), dim=1)
    found = backend.digest(Independent(feature, feature))
    np.testing.assert_allclose(found, expected[0].permute(1, 2, 0), atol=1e-6)


def test_grid_and_array_of_what_a_frame_leaves(backend: TorchBackend) -> None:
    independent = backend.encode_independent(backend.to_input(make_images(1, (64, 96))[0]))
    common = backend.encode_common(independent)
    logits = backend.decode([common], independent)
    assert backend.grid(common) == backend.grid(logits) == (16, 24)
    assert backend.to_array(logits).shape == (1, 11, 16, 24)
    np.testing.assert_array_equal(backend.to_array(logits), logits)


@pytest.mark.parametrize(
    ('dtype', 'expected'),
    [
        (torch.float32, np.float32),
        (torch.float64, np.float64),
        (torch.bfloat16, np.float32),
        (torch.float16, np.float32),
    ],
)
def test_array_of_logits_has_their_precision(
    backend: TorchBackend, dtype: torch.dtype, expected: type
) -> None:
    logits = torch.randn(1, 3, 4, 5).to(dtype)
    array = backend.to_array(logits)
    assert array.dtype == expected
    np.testing.assert_array_equal(array, logits.double())
