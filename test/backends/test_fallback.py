from __future__ import annotations

from dataclasses import replace
import time
import warnings

from backend_equality import assert_same, make_engine, run
import pytest
from small_net import assert_same_mask, make_images, make_net, plain_logits
import torch
from torch import nn

from dcfm_ros.backends.choice import make_backend

BACKENDS = ['openvino', 'onnxruntime']
for library in (*BACKENDS, 'onnx'):
    pytest.importorskip(library)
pytestmark = pytest.mark.filterwarnings('ignore:.* failed, PyTorch goes on')


@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))


def graphs_of_another_size(net, backend):
    """Compiled for real, and refused for real when they are given images of the first size."""
    other = make_backend(backend, net, torch.device('cpu'))
    independent = other.encode_independent(other.to_input(make_images(1, (128, 128))[0]))
    other.decode([other.encode_common(independent)], independent, is_keyframe=True)
    (size,) = other._sizes.values()
    return size


def break_stage(engine, net, stage):
    """From now on that stage is given to graphs that cannot take it."""
    sizes = engine._backend._sizes
    wrong = graphs_of_another_size(net, engine.backend)
    for shape, size in sizes.items():
        broken = getattr(wrong, stage)
        if stage == 'deep':  # a slice in the middle: those after it find the work done
            broken = [*size.deep]
            broken[len(broken) // 2] = wrong.deep[0]
        sizes[shape] = replace(size, **{stage: broken})


@pytest.mark.parametrize('stage', ['shallow', 'deep', 'decoders'])
@pytest.mark.parametrize('execution', ['sync', 'amortised'])
@pytest.mark.parametrize('backend', BACKENDS)
def test_no_frame_is_lost_and_none_is_worse(backend, execution, stage):
    net, images = make_net(fuse_channels=32), make_images(9)
    options = {'schedule': 3, 'execution': execution}
    engine = make_engine(net, backend, **options)
    results = run(engine, images[:4])
    assert engine.backend == backend
    break_stage(engine, net, stage)
    encode, encoded = engine._backend._torch.encode_common, []
    engine._backend._torch.encode_common = lambda x: encoded.append(x) or encode(x)
    results += run(engine, images[4:], 4)
    assert engine.backend == 'torch'
    assert len(encoded) <= 1  # what was under way is done once, not once per slice
    assert engine.backend_failure.startswith(f'{backend} failed, PyTorch goes on: ')
    assert_same(results, run(make_engine(net, 'torch', **options), images))


@pytest.mark.parametrize('stage', ['shallow', 'deep'])
def test_nor_beside_a_thread(stage):
    net, images = make_net(fuse_channels=32), make_images(10) * 100
    engine = make_engine(net, 'openvino', schedule=2, execution='async')
    results = run(engine, images[:2])
    break_stage(engine, net, stage)
    while sum(result.is_keyframe for result in results) < 4:
        results += run(engine, images[len(results) : len(results) + 1], len(results))
        time.sleep(0.05)
    assert engine.backend == 'torch'
    for index, result in enumerate(results):
        keyframe = images[index - result.keyframe_age]
        logits = plain_logits(net, keyframe, images[index], result.keyframe_age == 0)
        assert_same_mask(result.mask, logits)


def test_nor_in_a_clip():
    net, images = make_net(fuse_channels=32), make_images(7)
    engine = make_engine(net, 'openvino', schedule=3)
    clip = engine.segment_clip(images)
    results = [next(clip), next(clip)]
    break_stage(engine, net, 'shallow')
    results += clip
    assert engine.backend == 'torch'
    assert_same(results, list(make_engine(net, 'torch', schedule=3).segment_clip(images)))


def test_it_is_told_once_and_nothing_is_tried_again():
    net, images = make_net(fuse_channels=32), make_images(6)
    engine = make_engine(net, 'openvino', schedule=2)
    run(engine, images[:1])
    break_stage(engine, net, 'shallow')
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        run(engine, images[1:], 1)
    told = [str(w.message) for w in told if 'PyTorch goes on' in str(w.message)]
    assert told == [engine.backend_failure]
    assert engine._backend._sizes == {}


class Untranslatable(nn.Module):
    """An operator that ONNX does not know."""

    def forward(self, x):
        return x + torch.erfinv(x.clamp(-0.5, 0.5))


@pytest.mark.parametrize('backend', BACKENDS)
def test_a_network_that_cannot_be_translated_is_left_to_pytorch(backend):
    net, images = make_net(fuse_channels=32), make_images(3)
    net.head[0] = Untranslatable()
    engine = make_engine(net, backend)
    results = run(engine, images)
    assert engine.backend == 'torch'
    assert 'erfinv' in engine.backend_failure
    assert_same(results, run(make_engine(net, 'torch'), images))


def test_what_is_wrong_for_pytorch_too_is_no_failure_of_the_library():
    backend = make_backend('openvino', make_net(fuse_channels=32), torch.device('cpu'))
    independent = backend.encode_independent(backend.to_input(make_images(1)[0]))
    with pytest.raises(RuntimeError):
        backend.decode([torch.zeros(1, 3, 2, 2)], independent, is_keyframe=True)
    assert backend.failure == ''
    assert backend.name == 'openvino'
