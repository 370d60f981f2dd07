"""OpenVINO, in fp32 wherever it is compared with PyTorch: `auto` may compute in bf16."""

from __future__ import annotations

import subprocess
import sys
import time

from backend_equality import NETS, assert_same, assert_same_stream
import cv2
from engines import FRAME_NS, make_engine, run
import numpy as np
import pytest
from repository import CAMVID
from small_net import assert_masks_are_of_their_keyframes, make_images, make_net, plain_logits
import torch

from dcfm_ros.backends.choice import make_backend
from dcfm_ros.models.checkpoint import load_checkpoint
from dcfm_ros.models.checkpoint_header import find_checkpoint

pytestmark = pytest.mark.slow

openvino = pytest.importorskip('openvino')
pytest.importorskip('onnx')
EXACT = {'backend': 'openvino', 'precision': 'fp32'}
CAMVID_VAL = CAMVID / 'val'


@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    return tmp_path


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


def test_amortised_deep_encoder_is_as_many_graphs_as_slices(compiled):
    options = {'keyframe_interval': 5, 'execution': 'amortised', 'execution_slices': 3}
    results = run(make_engine(make_small(), backend='openvino', **options), make_images(9))
    assert len(compiled) == 1 + 3 + 1  # shallow, slices, decoder
    assert [r.keyframe_age for r in results] == [0, 1, 2, 3, 4, 5, 6, 2, 3]


@pytest.mark.skipif(not CAMVID_VAL.is_dir(), reason='no CamVid in ../shared/data')
def test_packaged_masks_on_real_frames_are_those_of_pytorch():
    net = load_checkpoint(find_checkpoint())
    images = [cv2.imread(str(path))[:, :, ::-1] for path in sorted(CAMVID_VAL.glob('*.png'))[:4]]
    one, other = make_engine(net, **EXACT), make_engine(net)
    assert_same(run(one, images), run(other, images))
    assert one.backend.name == 'openvino'


def test_what_one_backend_began_another_can_end():
    net, image = make_small(), make_images(1)[0]
    one, other = (make_backend(net, 'cpu', name, 'fp32') for name in ('openvino', 'torch'))
    started = one.encode_independent(one.to_input(image))
    common = other.encode_common(started)
    logits = one.decode([common], started)
    expected = plain_logits(net, image, image).argmax(0)
    upsampled = torch.nn.functional.interpolate(logits, image.shape[:2], mode='bilinear')
    assert (upsampled[0].argmax(0) == expected).float().mean() > 0.99


def test_later_frames_leave_earlier_features_alone():
    backend = make_backend(make_small(), 'cpu', 'openvino')
    first, second = make_images(2)
    independent = backend.encode_independent(backend.to_input(first))
    common = backend.encode_common(independent)
    logits = backend.decode([common], independent)
    kept = [x.clone() for x in (independent.feature, common, logits)]
    later = backend.encode_independent(backend.to_input(second))
    backend.decode([backend.encode_common(later)], later)
    for tensor, copy in zip((independent.feature, common, logits), kept, strict=True):
        assert torch.equal(tensor, copy)
        assert tensor.abs().max() > 0


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
    assert [model.get_property('INFERENCE_NUM_THREADS') for model in compiled] == [2, 2]


def test_compiled_models_are_kept_for_the_next_start(cache_home, compiled):
    blobs = []
    for _ in range(2):
        backend = make_backend(make_small(), 'cpu', 'openvino')
        backend.encode_independent(backend.to_input(make_images(1)[0]))
        blobs.append(sorted(cache_home.rglob('*.blob')))
    loaded = [model.get_property('LOADED_FROM_CACHE') for model in compiled]
    assert loaded == [False, False, True, True]  # shallow and deep, twice
    assert len(blobs[0]) == 2
    assert blobs[0] == blobs[1]
    assert blobs[0][0].parent == cache_home / 'dcfm_ros' / 'openvino'


def test_a_broken_compiled_model_is_made_again(cache_home):
    images = make_images(2)
    run(make_engine(make_small(), **EXACT), images)
    for blob in cache_home.rglob('*.blob'):
        blob.chmod(0o600)
        blob.write_bytes(blob.read_bytes()[: blob.stat().st_size // 2])
    assert_same_stream(make_small(), 'openvino', count=2)


def test_the_oldest_compiled_models_are_removed(cache_home):
    folder = cache_home / 'dcfm_ros' / 'openvino'
    folder.mkdir(parents=True)
    for number in range(3):
        with (folder / f'{number}.blob').open('wb') as blob:
            blob.truncate(400 << 20)  # without contents; 1 GiB are kept
        time.sleep(0.02)
    make_backend(make_small(), 'cpu', 'openvino')
    assert {path.name for path in folder.iterdir()} == {'1.blob', '2.blob'}


def test_without_a_cache_folder_it_works_and_says_so(cache_home, monkeypatch):
    (cache_home / 'file').write_text('')
    monkeypatch.setenv('XDG_CACHE_HOME', str(cache_home / 'file'))
    with pytest.warns(UserWarning, match='compiled at every start'):
        engine = make_engine(make_small(), backend='openvino')
    engine.step(make_images(1)[0], FRAME_NS)
    assert engine.backend.name == 'openvino'


def test_nothing_is_reported_to_anybody():
    pytest.importorskip('openvino_telemetry')
    code = (
        'from dcfm_ros.backends.openvino_runner import import_openvino as f; f();'
        'from openvino.tools.ovc import telemetry_utils as t; print(t.tm.__name__)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ['openvino.tools.ovc.telemetry_stub']


def test_a_network_in_float64_is_refused_and_auto_leaves_it_to_pytorch():
    net = make_small().double()
    with pytest.raises(ValueError, match=r'must be float32 for backend openvino, got .*float64'):
        make_engine(net, backend='openvino')
    assert make_engine(net, backend='auto').backend.name == 'torch'


@pytest.mark.parametrize('module', ['openvino', 'onnx'])
def test_where_it_is_not_installed_auto_takes_pytorch(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    net = make_small()
    with pytest.raises(ImportError, match=r'`backend` openvino needs: pip install .*\[speed\]'):
        make_engine(net, backend='openvino')
    assert make_engine(net, backend='auto').backend.name == 'torch'


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
def test_it_is_refused_on_a_gpu():
    with pytest.raises(ValueError, match='`backend` must be auto or torch on cuda:0'):
        make_backend(make_small(), 'cuda', 'openvino')


def test_no_image_is_copied_on_its_way_in():
    backend, image = make_backend(make_small(), 'cpu', 'openvino'), make_images(1)[0]
    assert np.shares_memory(backend.to_input(image).numpy(), image)
