"""When a library fails, PyTorch goes on: nothing is lost, and the failure is reported."""

from __future__ import annotations

from dataclasses import replace
import sys
import warnings

from backend_equality import assert_same
from engines import make_engine, reproducible_openvino, run
import numpy as np
import pytest
from small_net import make_images, make_net
import torch
from torch import nn

from dcfm_ros.backends.choice import make_backend
from dcfm_ros.backends.openvino_backend import OpenVinoNetwork
from dcfm_ros.backends.torch_on_arrays import TorchOnArrays

for library in ('openvino', 'onnx'):
    pytest.importorskip(library)
pytestmark = [pytest.mark.filterwarnings('ignore:.* failed, PyTorch goes on'), pytest.mark.slow]


class Breakable:
    """Breaks compiled stages: they are then given arrays that OpenVINO must refuse.

    Kinds of stages are 'shallow', 'deep' (its middle slice) and 'decode'.
    """

    def __init__(self, monkeypatch):
        self.broken, self.compiled = set(), 0
        compile_stages = OpenVinoNetwork.compile

        def compile_breakable(network, size):
            self.compiled += 1
            stages = compile_stages(network, size)
            deep = list(stages.deep)
            deep[len(deep) // 2] = self._breakable('deep', deep[len(deep) // 2])
            return replace(
                stages,
                shallow=self._breakable('shallow', stages.shallow),
                deep=deep,
                decoders={
                    count: self._breakable('decode', ready)
                    for count, ready in stages.decoders.items()
                },
            )

        monkeypatch.setattr(OpenVinoNetwork, 'compile', compile_breakable)

    def _breakable(self, kind, ready):
        def run_stage(arrays):
            if kind in self.broken:
                arrays = {name: array[:, :, :-1] for name, array in arrays.items()}
            return ready(arrays)

        return run_stage


@pytest.fixture
def stages(monkeypatch):
    return Breakable(monkeypatch)


def make_on_openvino(net, num_slices=1, **options):
    """An engine on OpenVINO."""
    return make_engine(net, backend=reproducible_openvino(net, num_slices), **options)


@pytest.mark.parametrize('stage', ['shallow', 'deep', 'decode'])
@pytest.mark.parametrize(('execution', 'num_slices'), [('sync', 1), ('amortised', 3)])
def test_no_frame_is_lost_and_none_is_worse(execution, num_slices, stage, stages, monkeypatch):
    net, images = make_net(fuse_channels=32), make_images(9)
    engine = make_on_openvino(net, num_slices, execution=execution)
    results = run(engine, images[:4])
    assert engine.backend.name == 'openvino'
    stages.broken = {stage}
    encode, encoded = TorchOnArrays.encode_common, []
    monkeypatch.setattr(
        TorchOnArrays, 'encode_common', lambda *given: encoded.append(1) or encode(*given)
    )
    results += run(engine, images[4:], 4)
    assert engine.backend.name == 'torch'
    assert len(encoded) <= 1  # an unfinished keyframe is done once, not once per slice
    assert engine.backend.failure.startswith('openvino failed, PyTorch goes on: ')
    assert_same(results, run(make_engine(net, execution=execution), images))


def test_nor_in_a_clip(stages):
    net, images = make_net(fuse_channels=32), make_images(7)
    engine = make_on_openvino(net)
    clip = engine.segment_clip(images)
    results = [next(clip), next(clip)]
    stages.broken = {'shallow'}
    results += clip
    assert engine.backend.name == 'torch'
    assert_same(results, list(make_engine(net).segment_clip(images)))


def test_it_is_reported_once_and_not_tried_again(stages):
    net, images = make_net(fuse_channels=32), make_images(6)
    engine = make_on_openvino(net, keyframe_interval=2)
    run(engine, images[:1])
    compiled = stages.compiled
    stages.broken = {'shallow'}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        run(engine, images[1:], 1)
        run(engine, make_images(2, (40, 56)), 6)
    texts = [str(w.message) for w in caught if 'PyTorch goes on' in str(w.message)]
    assert texts == [engine.backend.failure]
    assert stages.compiled == compiled


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


def test_where_pytorch_is_missing_the_error_is_openvinos(stages, monkeypatch):
    engine = make_on_openvino(make_net(fuse_channels=32))
    monkeypatch.setitem(sys.modules, 'dcfm_ros.backends.torch_on_arrays', None)
    stages.broken = {'shallow'}
    with pytest.raises(RuntimeError, match='shape') as caught:
        engine.step(make_images(1)[0], 0)
    assert 'torch' not in str(caught.value)
    stages.broken = set()
    assert engine.step(make_images(1)[0], 1).is_keyframe


def test_what_is_wrong_for_pytorch_too_is_no_failure_of_the_library():
    backend = make_backend(make_net(fuse_channels=32), 'cpu', 'openvino')
    independent = backend.encode_independent(backend.to_input(make_images(1)[0]))
    with pytest.raises(RuntimeError):
        backend.decode([np.zeros((1, 2, 2, 3), np.float32)], independent)
    assert backend.failure == ''
    assert backend.name == 'openvino'
