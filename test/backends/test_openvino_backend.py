"""OpenVINO, in fp32 wherever it is compared with PyTorch: `auto` may compute in bf16."""

from __future__ import annotations

import subprocess
import sys

from backend_equality import NETS, assert_same, assert_same_stream
import cv2
from engines import make_engine, run
import numpy as np
import pytest
from repository import CAMVID
from small_net import assert_masks_are_of_their_keyframes, make_images, make_net
import torch

from dcfm_ros.backends.choice import make_backend
from dcfm_ros.backends.torch_on_arrays import TorchOnArrays
from dcfm_ros.models.checkpoint import load_checkpoint
from dcfm_ros.models.checkpoint_header import find_checkpoint

pytestmark = pytest.mark.slow

openvino = pytest.importorskip('openvino')
pytest.importorskip('onnx')
EXACT = {'backend': 'openvino', 'precision': 'fp32'}
CAMVID_VAL = CAMVID / 'val'


def make_small():
    return make_net(fuse_channels=32)


@pytest.fixture
def compiled(monkeypatch):
    """The models that OpenVINO compiles."""
    models, compile_model = [], openvino.Core.compile_model

    def spy(core, *arguments, **options):
        models.append(compile_model(core, *arguments, **options))
        return models[-1]

    monkeypatch.setattr(openvino.Core, 'compile_model', spy)
    return models


@pytest.mark.parametrize(('backbone', 'options'), NETS)
def test_masks_are_those_of_pytorch(backbone, options):
    net = make_net(backbone, fuse_channels=32, **options)
    assert_same_stream(net, 'openvino', count=4, keyframe_interval=2)


@pytest.mark.parametrize('backend', ['torch', 'openvino'])
def test_images_are_normalised_as_the_network_does(backend):
    net, images = make_net('timm:tf_efficientnet_lite0', fuse_channels=32), make_images(4)
    assert net.config.image_mean == (0.5, 0.5, 0.5)
    engine = make_engine(net, backend=backend, precision='fp32', keyframe_interval=2)
    results = run(engine, images)
    assert engine.backend.name == backend
    assert_masks_are_of_their_keyframes(net, images, results)


def test_it_is_what_auto_takes_on_the_cpu():
    assert make_engine(make_small(), backend='auto').backend.name == 'openvino'


def test_clip_in_both_directions_is_that_of_pytorch():
    net, images = make_small(), make_images(5)
    engine = make_engine(net, keyframe_interval=4, **EXACT)
    results = list(engine.segment_clip(images))
    assert engine.backend.name == 'openvino'
    assert_same(results, list(make_engine(net, keyframe_interval=4).segment_clip(images)))


def test_amortised_masks_and_ages_are_those_of_pytorch():
    net = make_net('mit_b0', fuse_channels=32)
    assert_same_stream(net, 'openvino', execution='amortised')


def test_a_network_whose_blocks_are_channels_last_can_be_cut():
    net, images = make_net('timm:mambaout_femto', fuse_channels=32), make_images(3)
    options = {'keyframe_interval': 6, 'execution': 'amortised'}
    engine = make_engine(net, **EXACT, **options)
    results = run(engine, images * 4)  # the second keyframe is done in slices
    assert engine.backend.failure == ''
    assert_same(results, run(make_engine(net, **options), images * 4))


def test_amortised_deep_encoder_is_as_many_models_as_slices():
    options = {'keyframe_interval': 5, 'execution': 'amortised', 'execution_slices': 3}
    engine = make_engine(make_small(), backend='openvino', **options)
    results = run(engine, make_images(9))
    given = engine.backend.encode_independent(make_images(1)[0][None])
    assert len(given.stages.deep) == 3
    assert [r.keyframe_age for r in results] == [0, 1, 2, 3, 4, 5, 6, 2, 3]


@pytest.mark.skipif(not CAMVID_VAL.is_dir(), reason='no CamVid in ../shared/data')
def test_packaged_masks_on_real_frames_are_those_of_pytorch():
    net = load_checkpoint(find_checkpoint())
    images = [cv2.imread(str(path))[:, :, ::-1] for path in sorted(CAMVID_VAL.glob('*.jpg'))[:4]]
    one, other = make_engine(net, **EXACT), make_engine(net)
    assert_same(run(one, images), run(other, images))
    assert one.backend.name == 'openvino'


def test_pytorch_takes_what_openvino_began_and_gives_the_same():
    net, image = make_small(), make_images(1)[0]
    one, other = make_backend(net, 'cpu', 'openvino', 'fp32'), TorchOnArrays(net)
    given = one.encode_independent(one.to_input(image))
    found = other.encode_independent(image[None])
    assert found.keys() == given.found.keys()
    for name, array in found.items():
        np.testing.assert_allclose(array, given.found[name], atol=1e-4)
    (common,) = one.encode_common(given)
    np.testing.assert_allclose(other.encode_common(given.found)[0], common, atol=1e-4)
    for cached in ([(common,)], [(common,), (common[:, ::-1].copy(),)]):
        expected = one.decode(cached, given)
        np.testing.assert_allclose(other.decode(cached, given.found), expected, atol=1e-4)


def test_later_frames_leave_earlier_features_alone():
    backend = make_backend(make_small(), 'cpu', 'openvino')
    first, second = make_images(2)
    independent = backend.encode_independent(backend.to_input(first))
    (common,) = backend.encode_common(independent)
    logits = backend.decode([(common,)], independent)
    kept = [array.copy() for array in (independent.feature, common, logits)]
    later = backend.encode_independent(backend.to_input(second))
    backend.decode([backend.encode_common(later)], later)
    for array, copy in zip((independent.feature, common, logits), kept, strict=True):
        np.testing.assert_array_equal(array, copy)
        assert np.abs(array).max() > 0


def test_an_image_that_may_not_be_written_to_is_taken():
    engine, image = make_engine(make_small(), backend='openvino'), make_images(1)[0]
    image.flags.writeable = False
    assert engine.step(image, 0).mask.shape == image.shape[:2]
    assert engine.backend.name == 'openvino'


def test_threads_are_as_many_as_those_of_pytorch(compiled):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        backend = make_backend(make_small(), 'cpu', 'openvino')
        backend.encode_independent(backend.to_input(make_images(1)[0]))
    finally:
        torch.set_num_threads(before)
    assert {model.get_property('INFERENCE_NUM_THREADS') for model in compiled} == {2}


def test_nothing_is_reported_to_anybody():
    pytest.importorskip('openvino_telemetry')
    code = (
        'from dcfm_ros.backends.openvino_models import import_openvino as f; f();'
        'from openvino.tools.ovc import telemetry_utils as t; print(t.tm.__name__)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ['openvino.tools.ovc.telemetry_stub']


def test_a_network_in_float64_is_refused_and_auto_leaves_it_to_pytorch():
    net = make_small().double()
    with pytest.raises(ValueError, match=r'must be float32 for backend openvino, got .*float64'):
        make_engine(net, backend='openvino')
    assert make_engine(net, backend='auto').backend.name == 'torch'


@pytest.mark.parametrize(
    ('module', 'package'), [('openvino', 'openvino'), ('onnx', r"'dcfm_ros\[torch\]'")]
)
def test_where_it_is_not_installed_auto_takes_pytorch(module, package, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    net = make_small()
    with pytest.raises(ImportError, match=f'`backend` openvino needs: pip install {package} '):
        make_engine(net, backend='openvino')
    assert make_engine(net, backend='auto').backend.name == 'torch'


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
def test_it_is_refused_on_a_gpu():
    with pytest.raises(ValueError, match='`backend` must be auto or torch on cuda:0'):
        make_backend(make_small(), 'cuda', 'openvino')


def test_no_image_is_copied_on_its_way_in():
    backend, image = make_backend(make_small(), 'cpu', 'openvino'), make_images(1)[0]
    assert np.shares_memory(backend.to_input(image), image)


def test_a_third_size_runs_at_once_and_has_models_of_its_own_once_it_stays(compiled):
    engine, other = make_engine(make_small(), **EXACT), make_engine(make_small())
    a, b, c = (make_images(1, size)[0] for size in ((40, 56), (56, 40), (45, 51)))
    counts = []
    for index, image in enumerate([a, b, c, a, *[c] * 30]):
        assert_same([engine.step(image, index)], [other.step(image, index)])
        counts.append(len(compiled))
    stages = counts[0]  # shallow, deep and the decoders
    assert counts == [stages, 2 * stages, *[3 * stages] * 31, 4 * stages]
    assert engine.backend.failure == ''


SIZES = """
import numpy as np, psutil
from dcfm_ros.engine import SegmentationEngine, load_network
from dcfm_ros.engine_options import EngineOptions

options = EngineOptions(device='cpu', backend='openvino', inference_height=360)
engine = SegmentationEngine(load_network(None, options), options)
memory = []
for number in range(200):
    image = np.zeros((1 + number % 50, 8 + number // 50, 3), np.uint8)
    engine.step(image, number + 1)
    memory.append(psutil.Process().memory_info().rss / 1e6)
print(memory[-1] - memory[40])
"""


def test_sizes_that_come_and_go_leave_no_memory_behind() -> None:
    done = subprocess.run(
        [sys.executable, '-c', SIZES], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 60
