"""`LibraryNetwork`: what `dcfm bench` measures a network of another library against."""

from __future__ import annotations

import json

from command import dcfm
import numpy as np
import pytest
from small_net import make_images
from source_networks import make_segformer, make_smp, save_folder
import torch
import torch.nn.functional as F

from dcfm_ros.benchmark.inputs import load_model, read_frames
from dcfm_ros.benchmark.interleave import LIBRARY, measure
from dcfm_ros.benchmark.library_network import LibraryNetwork
from dcfm_ros.benchmark.rivals import engine_rivals, plain_rivals
from dcfm_ros.deploy.convert import convert_network
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.models.checkpoint import save_checkpoint

SIZE = (64, 96)


@pytest.fixture(scope='module')
def segformer(tmp_path_factory):
    """One of the library, and the checkpoint of its folder."""
    theirs = make_segformer().float()
    return theirs, converted(theirs, 'segformer', tmp_path_factory.mktemp('segformer'))


def converted(theirs, library, folder):
    save_folder(theirs, folder / 'theirs')
    save_checkpoint(folder / 'ours.safetensors', convert_network(library, folder / 'theirs').net)
    return folder / 'ours.safetensors'


def library_mask(theirs, image):
    """What the library's users do: normalise, run, resize the logits, take the best class."""
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        logits = theirs((x - mean.view(3, 1, 1)) / std.view(3, 1, 1))
        logits = getattr(logits, 'logits', logits)
        logits = F.interpolate(logits, image.shape[:2], mode='bilinear', align_corners=False)
    return logits.argmax(1)[0].numpy()


def test_rows_are_those_of_the_library(segformer):
    theirs, path = segformer
    net = load_model(str(path))
    frames = read_frames(None, SIZE, 10)
    options = EngineOptions(device='cpu', backend='torch')
    rivals = plain_rivals(net, 'cpu', frames)
    rivals += engine_rivals(net, options, frames, (3,), net)
    whats = [rival.what for rival in rivals]
    assert whats == [
        *(LIBRARY, 'image_baseline', 'key', 'nonkey_past', 'nonkey_both', 'sync_k3'),
        'amortised_k3',
    ]
    expected = library_mask(theirs, frames[0].image)
    for rival in rivals[:3]:
        assert (rival.run(frames[0]).mask == expected).mean() > 0.999, rival.what


def test_head_of_the_baseline_is_not_merged(segformer):
    """Stages are resized before they are joined, which is what the merged head saves."""
    _, path = segformer
    net = load_model(str(path))
    whole = LibraryNetwork(net)
    seen = []
    whole.decoder.merged.linear_fuse.register_forward_hook(
        lambda module, given, result: seen.append(given[0].shape)
    )
    (image,) = make_images(1, size=SIZE)
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        independent = whole.encode_independent(x)
        logits = whole.decode((), independent)
        expected = net(x)
    assert seen == [(1, 4 * 20, 16, 24)]
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('backend', ['torch', 'openvino'])
def test_keyframes_have_the_masks_of_the_library(tmp_path, backend):
    if backend == 'openvino':
        pytest.importorskip('openvino')
    theirs = make_smp('FPN', 'resnet18').float()
    net = load_model(str(converted(theirs, 'smp', tmp_path)))
    options = EngineOptions(device='cpu', backend=backend, precision='fp32')
    frames = read_frames(None, (64, 96), 8)
    rivals = plain_rivals(net, 'cpu', frames)
    rivals += engine_rivals(net, options, frames, (2,), net)
    records = {r.rival.what: r for r in measure(rivals, frames[:-1], warm_up=2)}
    assert np.mean(records['key'].equal_pixels) > 0.999
    for frame in frames[:2]:
        mask = rivals[0].run(frame).mask
        assert (mask == library_mask(theirs, frame.image)).mean() > 0.999


@pytest.mark.slow
def test_images_of_other_sizes_are_resized_for_both(tmp_path):
    net = load_model(str(converted(make_smp('FPN', 'resnet18').float(), 'smp', tmp_path)))
    frames = read_frames(None, (70, 100), 8)
    options = EngineOptions(device='cpu', backend='torch')
    rivals = [*plain_rivals(net, 'cpu', frames), *engine_rivals(net, options, frames, (2,), net)]
    plain, baseline, key = (rival.run(frames[0]).mask for rival in rivals[:3])
    assert plain.shape == key.shape == (70, 100)
    assert min((plain == key).mean(), (plain == baseline).mean()) > 0.999


@pytest.mark.slow
def test_command_compares_with_the_library(segformer, tmp_path):
    _, path = segformer
    options = ('--model', path, '--size', '64x96', '--frames', 6, '--intervals', '3')
    run = dcfm('bench', *options, '--memory', 10, '--json', tmp_path / 'all.json')
    assert run.returncode == 0, run.stderr
    found = json.loads((tmp_path / 'all.json').read_text())
    (network,) = found['networks']
    assert network == {'model': str(path), 'title': 'segformer', 'num_classes': 5}
    (ratios,) = found['ratios'][str(path)].values()
    assert {'library/key', 'image_baseline/sync_k3', 'nonkey_past/key'} <= ratios.keys()
    assert found['memory'][0]['loaded_mb'] > 0
