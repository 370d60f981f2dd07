"""When a library fails, PyTorch goes on: nothing is lost, and the failure is reported."""

from __future__ import annotations

import warnings

from backend_equality import assert_same
from engines import CPU, BreakableRunner, make_engine, run
import pytest
from small_net import make_images, make_net
import torch
from torch import nn

from dcfm_ros.backends.choice import make_backend
from dcfm_ros.backends.graph_backend import GraphBackend
from dcfm_ros.backends.torch_backend import TorchBackend

for library in ('openvino', 'onnx'):
    pytest.importorskip(library)
pytestmark = pytest.mark.filterwarnings('ignore:.* failed, PyTorch goes on')


@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))


def make_breakable(net, num_slices=1, **options):
    """An engine on OpenVINO whose stages can be broken, and what breaks them."""
    from dcfm_ros.backends.openvino_runner import OpenVinoRunner

    plain = TorchBackend(net, CPU)
    runner = BreakableRunner(OpenVinoRunner(plain.net, is_exact=True), num_slices)
    backend = GraphBackend(plain, runner, num_slices=num_slices)
    return make_engine(net, backend=backend, **options), runner, plain


@pytest.mark.slow
@pytest.mark.parametrize('stage', ['shallow', 'deep', 'decode'])
@pytest.mark.parametrize(('execution', 'num_slices'), [('sync', 1), ('amortised', 3)])
def test_no_frame_is_lost_and_none_is_worse(execution, num_slices, stage):
    net, images = make_net(fuse_channels=32), make_images(9)
    engine, runner, plain = make_breakable(net, num_slices, execution=execution)
    results = run(engine, images[:4])
    assert engine.backend.name == 'openvino'
    runner.broken = {stage}
    encode, encoded = plain.encode_common, []
    plain.encode_common = lambda independent: encoded.append(1) or encode(independent)
    results += run(engine, images[4:], 4)
    assert engine.backend.name == 'torch'
    assert len(encoded) <= 1  # an unfinished keyframe is done once, not once per slice
    assert engine.backend.failure.startswith('openvino failed, PyTorch goes on: ')
    assert_same(results, run(make_engine(net, execution=execution), images))


def test_nor_in_a_clip():
    net, images = make_net(fuse_channels=32), make_images(7)
    engine, runner, _ = make_breakable(net)
    clip = engine.segment_clip(images)
    results = [next(clip), next(clip)]
    runner.broken = {'shallow'}
    results += clip
    assert engine.backend.name == 'torch'
    assert_same(results, list(make_engine(net).segment_clip(images)))


def test_it_is_reported_once_and_not_tried_again():
    net, images = make_net(fuse_channels=32), make_images(6)
    engine, runner, _ = make_breakable(net, keyframe_interval=2)
    run(engine, images[:1])
    prepared = len(runner.prepared)
    runner.broken = {'shallow'}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        run(engine, images[1:], 1)
        run(engine, make_images(2, (40, 56)), 6)
    texts = [str(w.message) for w in caught if 'PyTorch goes on' in str(w.message)]
    assert texts == [engine.backend.failure]
    assert len(runner.prepared) == prepared


class Untranslatable(nn.Module):
    """An operator that ONNX does not know."""

    def forward(self, x):
        return x + torch.erfinv(x.clamp(-0.5, 0.5))


def test_a_network_that_cannot_be_translated_is_left_to_pytorch():
    net, images = make_net(fuse_channels=32), make_images(3)
    net.head[0] = Untranslatable()
    engine = make_engine(net, backend='openvino', precision='fp32')
    results = run(engine, images)
    assert engine.backend.name == 'torch'
    assert 'erfinv' in engine.backend.failure
    assert_same(results, run(make_engine(net), images))


def test_what_is_wrong_for_pytorch_too_is_no_failure_of_the_library():
    backend = make_backend(make_net(fuse_channels=32), 'cpu', 'openvino')
    independent = backend.encode_independent(backend.to_input(make_images(1)[0]))
    with pytest.raises(RuntimeError):
        backend.decode([torch.zeros(1, 3, 2, 2)], independent)
    assert backend.failure == ''
    assert backend.name == 'openvino'
