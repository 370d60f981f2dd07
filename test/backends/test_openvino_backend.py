from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import subprocess
import sys
import time

from backend_equality import NETS, SLOW, assert_same, assert_same_stream, make_engine, run
import cv2
import numpy as np
import pytest
from repository import CAMVID
from small_net import assert_same_mask, make_images, make_net, plain_logits
import torch

from dcfm_ros.backends import graph_backend, openvino_backend
from dcfm_ros.backends.choice import make_backend
from dcfm_ros.models.checkpoint import find_checkpoint, load_checkpoint

pytest.importorskip('openvino')
pytest.importorskip('onnx')
CPU = torch.device('cpu')
CAMVID_VAL = CAMVID / 'val'


@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    return tmp_path


def make_small():
    return make_net(fuse_channels=32)


def compiled_of(stage):
    return stage.model._request.get_compiled_model()


@pytest.mark.parametrize(('backbone', 'options'), NETS)
def test_masks_are_those_of_pytorch(backbone, options):
    net = make_net(backbone, fuse_channels=32, **options)
    assert_same_stream(net, 'openvino', count=4, schedule=2)


def test_it_is_what_auto_takes_on_the_cpu():
    engine = make_engine(make_small(), 'auto')
    assert engine.backend == 'openvino'


def test_clip_in_both_directions_is_that_of_pytorch():
    net, images = make_small(), make_images(5)
    engine = make_engine(net, 'openvino', schedule=4)
    results = list(engine.segment_clip(images))
    assert engine.backend == 'openvino'
    expected = list(make_engine(net, 'torch', schedule=4).segment_clip(images))
    assert_same(results, expected, engine.precision)


def test_amortised_masks_and_ages_are_those_of_pytorch():
    net = make_net('mit_b0', fuse_channels=32)
    assert_same_stream(net, 'openvino', execution='amortised')


def test_a_network_whose_blocks_are_channels_last_can_be_cut():
    net, images = make_net('timm:mambaout_femto', fuse_channels=32), make_images(3)
    options = {'schedule': 6, 'execution': 'amortised'}
    engine = make_engine(net, 'openvino', **options)
    results = run(engine, images * 4)  # the second keyframe is done in slices
    assert engine.backend_failure == ''
    assert_same(results, run(make_engine(net, 'torch', **options), images * 4))


def test_amortised_deep_encoder_is_as_many_graphs_as_slices():
    engine = make_engine(make_small(), 'openvino', schedule=5, execution='amortised', slices=3)
    results = run(engine, make_images(9))
    (size,) = engine._backend._sizes.values()
    assert len(size.deep) == 3
    assert [r.keyframe_age for r in results] == [0, 1, 2, 3, 4, 5, 6, 2, 3]


def test_masks_beside_a_thread_are_of_their_keyframes():
    net, images = make_small(), make_images(10) * 100
    engine = make_engine(net, 'openvino', schedule=2, execution='async')
    results = []
    while sum(result.is_keyframe for result in results) < 4:
        results += run(engine, images[len(results) : len(results) + 1], len(results))
        time.sleep(0.05)
    assert engine.backend == 'openvino'
    for index, result in enumerate(results):
        keyframe = images[index - result.keyframe_age]
        logits = plain_logits(net, keyframe, images[index], result.keyframe_age == 0)
        if engine.precision == 'fp32':
            assert_same_mask(result.mask, logits)


@pytest.mark.skipif(not CAMVID_VAL.is_dir(), reason='no CamVid in ../shared/data')
def test_packaged_masks_on_real_frames_are_those_of_pytorch():
    net = load_checkpoint(find_checkpoint())
    images = [cv2.imread(str(path))[:, :, ::-1] for path in sorted(CAMVID_VAL.glob('*.png'))[:4]]
    one, other = (make_engine(net, name) for name in ('openvino', 'torch'))
    assert_same(run(one, images), run(other, images), one.precision)
    assert one.backend == 'openvino'


def test_what_one_backend_began_another_can_end():
    net, image = make_small(), make_images(1)[0]
    one, other = (make_backend(name, net, CPU) for name in ('openvino', 'torch'))
    started = one.encode_independent(one.to_input(image))
    common = other.encode_common(started)
    logits = one.decode([common], started, is_keyframe=True)
    expected = plain_logits(net, image, image, True).argmax(0)
    upsampled = torch.nn.functional.interpolate(logits, image.shape[:2], mode='bilinear')
    assert (upsampled[0].argmax(0) == expected).float().mean() > 0.99


def test_later_frames_leave_earlier_features_alone():
    backend = make_backend('openvino', make_small(), CPU)
    first, second = make_images(2)
    independent = backend.encode_independent(backend.to_input(first))
    common = backend.encode_common(independent)
    logits = backend.decode([common], independent, is_keyframe=True)
    kept = [x.clone() for x in (independent.feature, common, logits)]
    later = backend.encode_independent(backend.to_input(second))
    backend.decode([backend.encode_common(later)], later, is_keyframe=True)
    for tensor, copy in zip((independent.feature, common, logits), kept, strict=True):
        assert torch.equal(tensor, copy)
        assert tensor.abs().max() > 0


def test_two_threads_may_run_the_same_deep_encoder():
    backend = make_backend('openvino', make_small(), CPU)
    independents = [backend.encode_independent(backend.to_input(i)) for i in make_images(6)]
    expected = [backend.encode_common(independent) for independent in independents]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(backend.encode_common, independents * 3))
    assert backend.failure == ''
    assert all(torch.equal(a, b) for a, b in zip(found, expected * 3, strict=True))


def test_an_image_that_may_not_be_written_to_is_taken():
    engine, image = make_engine(make_small(), 'openvino'), make_images(1)[0]
    image.flags.writeable = False
    assert engine.step(image, 0).mask.shape == image.shape[:2]
    assert engine.backend == 'openvino'


def test_two_sizes_have_graphs_and_a_third_earns_them(monkeypatch):
    monkeypatch.setattr(graph_backend, '_PATIENCE', 3)
    net = make_small()
    engine, other = make_engine(net, 'openvino'), make_engine(net, 'torch')
    made = []
    compile_graph = engine._backend.compile
    engine._backend.compile = lambda *given: made.append(given) or compile_graph(*given)
    a, b, c = (make_images(1, size)[0] for size in ((40, 56), (56, 40), (48, 48)))
    counts = []
    for index, image in enumerate([a, b, a, c, b, c, c, c, a, b]):
        assert_same([engine.step(image, index)], [other.step(image, index)], engine.precision)
        counts.append(len(made))
    assert counts == [3, 6, 6, 6, 6, 6, 6, 9, 9, 9]
    assert engine.backend == 'openvino'


def test_threads_are_as_many_as_those_of_pytorch():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        backend = make_backend('openvino', make_small(), CPU, is_beside=True)
        backend.encode_independent(backend.to_input(make_images(1)[0]))
    finally:
        torch.set_num_threads(before)
    (size,) = backend._sizes.values()
    threads = [
        compiled_of(stage).get_property('INFERENCE_NUM_THREADS')
        for stage in (size.shallow, size.deep[0])
    ]
    assert threads == [2, 1]


def test_compiled_models_are_kept_for_the_next_start(cache_home):
    blobs = []
    for _ in range(2):
        backend = make_backend('openvino', make_small(), CPU)
        backend.encode_independent(backend.to_input(make_images(1)[0]))
        blobs.append(sorted(cache_home.rglob('*.blob')))
        (size,) = backend._sizes.values()
        loaded = [compiled_of(stage).get_property('LOADED_FROM_CACHE') for stage in size.deep]
        assert loaded == [len(blobs) == 2]
    assert len(blobs[0]) == 2  # shallow and deep
    assert blobs[0] == blobs[1]
    assert blobs[0][0].parent == cache_home / 'dcfm_ros' / 'openvino'


def test_a_broken_compiled_model_is_made_again(cache_home):
    images = make_images(2)
    run(make_engine(make_small(), 'openvino'), images)
    for blob in cache_home.rglob('*.blob'):
        blob.chmod(0o600)
        blob.write_bytes(blob.read_bytes()[: blob.stat().st_size // 2])
    assert_same_stream(make_small(), 'openvino', count=2)


def test_the_oldest_compiled_models_are_removed(cache_home, monkeypatch):
    folder = cache_home / 'dcfm_ros' / 'openvino'
    folder.mkdir(parents=True)
    for number in range(3):
        (folder / f'{number}.blob').write_bytes(bytes(100))
        time.sleep(0.02)
    monkeypatch.setattr(openvino_backend, '_CACHE_BYTES', 250)
    make_backend('openvino', make_small(), CPU)
    assert {path.name for path in folder.iterdir()} == {'1.blob', '2.blob'}


def test_without_a_cache_folder_it_works_and_says_so(cache_home, monkeypatch):
    (cache_home / 'file').write_text('')
    monkeypatch.setenv('XDG_CACHE_HOME', str(cache_home / 'file'))
    with pytest.warns(UserWarning, match='compiled at every start'):
        engine = make_engine(make_small(), 'openvino')
    engine.step(make_images(1)[0], SLOW)
    assert engine.backend == 'openvino'


def test_nothing_is_reported_to_anybody():
    pytest.importorskip('openvino_telemetry')
    code = (
        'from dcfm_ros.backends.openvino_backend import import_openvino as f; f();'
        'from openvino.tools.ovc import telemetry_utils as t; print(t.tm.__name__)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ['openvino.tools.ovc.telemetry_stub']


def test_a_network_in_float64_is_refused_and_auto_leaves_it_to_pytorch():
    net = make_small().double()
    with pytest.raises(ValueError, match=r'must be float32 for backend openvino, got .*float64'):
        make_engine(net, 'openvino')
    assert make_engine(net, 'auto').backend == 'torch'


@pytest.mark.parametrize('module', ['openvino', 'onnx'])
def test_where_it_is_not_installed_auto_takes_pytorch(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    net = make_small()
    with pytest.raises(ImportError, match=r'`backend` openvino needs: pip install .*\[speed\]'):
        make_engine(net, 'openvino')
    assert make_engine(net, 'auto').backend == 'torch'


def test_it_is_refused_on_a_gpu():
    with pytest.raises(ValueError, match='`backend` must be auto or torch on cuda:0'):
        make_backend('openvino', make_small(), torch.device('cuda:0'))


def test_no_image_is_copied_on_its_way_in():
    backend, image = make_backend('openvino', make_small(), CPU), make_images(1)[0]
    assert np.shares_memory(backend.to_input(image).numpy(), image)
