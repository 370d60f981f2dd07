"""CUDA graphs; needs a GPU."""

from __future__ import annotations

import gc

from backend_equality import NETS
from engines import make_engine, run
import numpy as np
import pytest
from small_net import make_images, make_net
import torch

from dcfm_ros.backends.choice import make_backend
from dcfm_ros.backends.torch_backend import DTYPES, TorchBackend

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device'),
]


def test_graphs_hold_what_they_read():
    engine = make_engine(make_net(), device='cuda', backend='torch')
    images = [make_images(1)[0]] * 4
    before = run(engine, images)[-1].logits
    gc.collect()
    taken = [torch.full((size,), torch.nan, device='cuda') for size in (3, 64, 128, 4096) * 500]
    after = run(engine, images, 4)[-1].logits
    np.testing.assert_array_equal(before, after)
    assert len(taken) == 2000


def test_steps_are_timed_on_the_gpu():
    from dcfm_ros.backends.cuda_runner import CudaGraphRunner

    plain = TorchBackend(make_net('mit_b0'), torch.device('cuda:0'))
    backend = make_backend(make_net('mit_b0'), 'cuda', 'torch')
    independent = backend.encode_independent(backend.to_input(make_images(1)[0]))
    times = CudaGraphRunner(plain).time_steps(plain, independent)
    assert len(times) == len(plain.deep_task(independent).steps)
    assert all(0 < time < 50 for time in times)


@pytest.mark.parametrize('precision', DTYPES)
@pytest.mark.parametrize('execution', ['sync', 'amortised'])
@pytest.mark.parametrize(('backbone', 'options'), NETS)
def test_cuda_graphs_give_the_masks_of_the_cpu(backbone, options, execution, precision):
    net = make_net(backbone, **options)
    images = [*make_images(7), *make_images(5, (96, 64))]
    common = {'execution': execution, 'motion': 'flow'}
    engine = make_engine(net, device='cuda', precision=precision, **common)
    results = run(engine, images)
    assert engine.backend.failure == ''
    expected = run(make_engine(net, **common), images)
    equal = [np.mean(a.mask == b.mask) for a, b in zip(results, expected, strict=True)]
    assert np.mean(equal) > {'fp32': 0.99, 'fp16': 0.98, 'bf16': 0.9}[precision]
