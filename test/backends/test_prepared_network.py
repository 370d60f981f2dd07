"""Networks that run without PyTorch: from the package, a file beside the weights, or the cache."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
import subprocess
import sys

from checkpoint_files import rewrite
from engines import make_engine, run
import numpy as np
import pytest
from small_net import make_images, make_net
import torch

from dcfm_ros.backends.graphs import Graphs, GraphsError, graph_key, weights_key
from dcfm_ros.backends.prepared_network import find_graphs, load_prepared, prepare
from dcfm_ros.engine import EngineOptions, SegmentationEngine, load_network
from dcfm_ros.models.checkpoint import load_checkpoint, save_checkpoint
from dcfm_ros.models.checkpoint_header import CheckpointError, find_checkpoint, read_metadata

for library in ('openvino', 'onnx'):
    pytest.importorskip(library)
pytestmark = pytest.mark.slow
EXACT = EngineOptions(device='cpu', precision='fp32')
WITHOUT_TORCH = """
import sys
sys.modules['torch'] = None  # whoever imports it fails
import numpy as np
from dcfm_ros.engine import EngineOptions, SegmentationEngine, load_network
engine = SegmentationEngine(load_network(sys.argv[1]), EngineOptions(precision='fp32'))
images = np.load(sys.argv[2])
masks = [engine.step(image, number * 33_000_000).mask for number, image in enumerate(images)]
assert engine.backend.name == 'openvino', engine.backend.name
np.save(sys.argv[3], np.array(masks))
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'dcfm_ros'


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / 'net.safetensors', make_net(fuse_channels=32))
    return tmp_path / 'net.safetensors'


def masks_without_torch(checkpoint: Path | str, images: list[np.ndarray], folder: Path) -> object:
    """In a process that has none; its standard error where it ends with an error."""
    np.save(folder / 'images.npy', np.array(images))
    command = [sys.executable, '-c', WITHOUT_TORCH, str(checkpoint)]
    command += [str(folder / 'images.npy'), str(folder / 'masks.npy')]
    done = subprocess.run(command, capture_output=True, text=True)
    return np.load(folder / 'masks.npy') if done.returncode == 0 else done.stderr


def test_packaged_weights_need_no_torch(tmp_path: Path) -> None:
    images = make_images(3, (96, 128))
    expected = run(make_engine(load_checkpoint(find_checkpoint())), images)
    masks = masks_without_torch('default', images, tmp_path)
    assert isinstance(masks, np.ndarray), masks
    assert np.mean(masks == np.array([result.mask for result in expected])) > 0.995


def test_packaged_graphs_are_those_that_would_be_made_now() -> None:
    path = find_checkpoint()
    packaged, net = find_graphs(path, read_metadata(path).config), load_checkpoint(path)
    made = prepare(net).graphs
    assert packaged is not None
    assert (packaged.shapes, packaged.steps) == (made.shapes, made.steps)
    images = make_images(3, (96, 128))
    streams = [
        run(SegmentationEngine(network, EXACT), images)
        for network in (load_prepared(path), prepare(net))
    ]
    for one, other in zip(*streams, strict=True):
        np.testing.assert_array_equal(one.logits, other.logits)


def test_graphs_fit_other_weights_of_the_architecture_with_other_classes(tmp_path: Path) -> None:
    config = read_metadata(find_checkpoint()).config
    net = make_net(config.backbone, num_classes=5, fuse_channels=config.fuse_channels)
    save_checkpoint(tmp_path / 'mine.safetensors', net)
    images = make_images(3, (96, 128))
    masks = masks_without_torch(tmp_path / 'mine.safetensors', images, tmp_path)
    assert isinstance(masks, np.ndarray), masks
    expected = [result.mask for result in run(make_engine(net), images)]
    assert np.mean(masks == np.array(expected)) > 0.995


def test_first_start_with_torch_makes_what_later_ones_need(
    checkpoint: Path, cache: Path, tmp_path: Path
) -> None:
    images = make_images(3)
    error = masks_without_torch(checkpoint, images, tmp_path)
    assert isinstance(error, str)
    wanted = f'{checkpoint} has no net.graphs beside it: `dcfm prepare` makes it, where PyTorch'
    assert wanted in error
    load_network(checkpoint)
    (kept,) = cache.glob('*.graphs')
    assert isinstance(masks_without_torch(checkpoint, images, tmp_path), np.ndarray)
    kept.unlink()
    prepare(load_checkpoint(checkpoint)).graphs.save(checkpoint.with_suffix('.graphs'))
    assert isinstance(masks_without_torch(checkpoint, images, tmp_path), np.ndarray)
    assert not list(cache.glob('*.graphs'))


def test_packaged_int8_is_of_the_packaged_weights_and_gives_their_masks() -> None:
    net = load_prepared(find_checkpoint())
    assert net.int8 is not None, net.no_int8
    assert net.int8.is_for_auto
    images = make_images(3, (96, 128))
    engines = [SegmentationEngine(net, EngineOptions(precision=p)) for p in ('fp32', 'int8')]
    exact, rounded = ([result.mask for result in run(engine, images)] for engine in engines)
    assert engines[1].backend.precision == 'int8'
    assert 0.9 < np.mean(np.array(exact) == np.array(rounded)) < 1


def test_int8_that_is_not_there_is_told(checkpoint: Path) -> None:
    net = load_network(checkpoint, EngineOptions(precision='int8'))
    with pytest.raises(GraphsError, match=r'has no net\.int8\.graphs beside it: `dcfm q'):
        SegmentationEngine(net, EngineOptions(precision='int8'))


@pytest.mark.parametrize('damage', ['of other weights', 'broken', 'fp32'])
def test_int8_that_does_not_fit_is_left_aside_and_told(checkpoint: Path, damage: str) -> None:
    beside = checkpoint.with_suffix('.int8.graphs')
    graphs = prepare(load_checkpoint(checkpoint)).graphs
    belongs_to = weights_key(checkpoint)
    if damage == 'of other weights':
        replace(graphs, precision='int8', belongs_to='others', is_for_auto=True).save(beside)
    elif damage == 'fp32':
        replace(graphs, belongs_to=belongs_to, is_for_auto=True).save(beside)
    else:
        beside.write_bytes(b'no graphs')
    with pytest.warns(UserWarning, match=r'int8 is not used: .*net\.int8\.graphs'):
        net = load_prepared(checkpoint)
    assert SegmentationEngine(net).backend.precision != 'int8'
    with pytest.raises(GraphsError, match=r'`precision` int8 cannot be had: .*make it anew with'):
        SegmentationEngine(net, EngineOptions(precision='int8'))


def test_graphs_of_another_architecture_are_refused(checkpoint: Path) -> None:
    prepare(make_net(fuse_channels=16)).graphs.save(checkpoint.with_suffix('.graphs'))
    with pytest.raises(GraphsError, match=r'net.graphs must be of the architecture of net.safe'):
        load_prepared(checkpoint)


@pytest.mark.parametrize('damage', ['cut', 'foreign', 'version'])
def test_broken_graphs_are_refused_beside_the_weights_and_made_anew_in_the_cache(
    checkpoint: Path, cache: Path, damage: str
) -> None:
    load_prepared(checkpoint)
    (kept,) = cache.glob('*.graphs')
    whole = kept.read_bytes()
    broken = {
        'cut': whole[: len(whole) // 2],
        'foreign': checkpoint.read_bytes(),
        'version': whole.replace(b'dcfm_ros graphs 2', b'dcfm_ros graphs 9'),
    }[damage]
    kept.write_bytes(broken)
    with pytest.warns(UserWarning, match='graphs are made anew: '):
        load_prepared(checkpoint)
    assert Graphs.load(kept).belongs_to == graph_key(read_metadata(checkpoint).config)
    checkpoint.with_suffix('.graphs').write_bytes(broken)
    with pytest.raises(GraphsError, match=r'net\.graphs'):
        load_prepared(checkpoint)


def test_model_that_openvino_cannot_read_is_told(checkpoint: Path) -> None:
    graphs = prepare(load_checkpoint(checkpoint)).graphs
    spoilt = replace(graphs, deep=graphs.deep._replace(structure=b'no model'))
    spoilt.save(checkpoint.with_suffix('.graphs'))
    with pytest.raises(GraphsError, match='OpenVINO cannot read a model'):
        SegmentationEngine(load_network(checkpoint))


def test_weights_that_do_not_fit_are_all_told(checkpoint: Path) -> None:
    load_prepared(checkpoint)

    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors['fusion.conv.bias'] = tensors['fusion.conv.bias'][:-1].clone()
        tensors['spare'] = tensors.pop('fusion.conv.weight')

    rewrite(checkpoint, change)
    with pytest.raises(CheckpointError) as caught:
        load_prepared(checkpoint)
    assert str(caught.value).splitlines() == [
        f'{checkpoint} does not fit its configuration:',
        '  missing: fusion.conv.weight',
        '  shape of fusion.conv.bias: (31,), expected (32,)',
        '  unexpected: spare',
    ]


def test_where_the_cache_cannot_be_written_it_works_and_says_so(
    checkpoint: Path, cache: Path
) -> None:
    cache.parent.write_text('no folder')
    with pytest.warns(UserWarning, match='graphs are made at every start'):
        network = load_network(checkpoint)
    assert SegmentationEngine(network).step(make_images(1)[0], 0).is_keyframe


def test_graphs_are_kept_in_the_home_folder(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    load_prepared(checkpoint)
    assert len(list(tmp_path.glob('home/.cache/dcfm_ros/*.graphs'))) == 1
