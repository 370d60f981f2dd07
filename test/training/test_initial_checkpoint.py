"""What a training takes from a checkpoint of another library's network, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from source_networks import convert_small, make_torchvision
import torch

from dcfm_ros.deploy.convert import convert_network
from dcfm_ros.models.checkpoint import copy_checkpoint, load_checkpoint, save_checkpoint
from dcfm_ros.models.checkpoint_header import read_metadata
from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.training.ablated_network import AblatedConfig
from dcfm_ros.training.initial_config import completed
from dcfm_ros.training.initial_weights import load_initial_weights
from dcfm_ros.training.module import SymmetricTraining

HALF = (0.5, 0.5, 0.5)


def config(backbone: str = '', num_classes: int = 5, **values: object) -> AblatedConfig:
    return AblatedConfig(backbone=backbone, num_classes=num_classes, **values)


@pytest.fixture(scope='module')
def segformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert_small(tmp_path_factory.mktemp('networks'), 'segformer')


def deeplab(folder: Path) -> Path:
    source = folder / 'deeplab.pth'
    name = 'deeplabv3_mobilenet_v3_large'
    torch.save(make_torchvision(name).float().state_dict(), source)
    done = convert_network('torchvision', source, architecture=name)
    save_checkpoint(folder / 'deeplab.safetensors', done.net)
    return folder / 'deeplab.safetensors'


@pytest.mark.parametrize(
    ('name', 'num_classes', 'layers'),
    [
        ('segformer', 3, ['classifier']),
        ('segformer', 5, ['classifier']),
        ('FPN', 3, ['segmentation_head.0']),
        ('lraspp', 7, ['classifier.high_classifier', 'classifier.low_classifier']),
        ('deeplab', 3, ['classifier.4']),
    ],
)
def test_features_are_all_but_the_layers_of_the_classes(
    tmp_path: Path, name: str, num_classes: int, layers: list[str]
) -> None:
    path = deeplab(tmp_path) if name == 'deeplab' else convert_small(tmp_path, name)
    given = load_checkpoint(path).state_dict()
    names = tuple(f'thing {i}' for i in range(num_classes))
    torch.manual_seed(1)
    module = SymmetricTraining(
        config(num_classes=num_classes, class_names=names), initial_weights=f'features:{path}'
    )
    assert module.net.config.class_names == names
    new = [f'decoder.decoder.{layer}' for layer in layers]
    assert module.start.endswith(f'; random: {", ".join(new)}')
    for key, value in module.net.state_dict().items():
        is_new = key.rpartition('.')[0] in new
        assert is_new or torch.equal(value, given[key]), key
        if is_new:
            assert value.shape[0] == num_classes
            assert not (value.ndim > 1 and torch.equal(value[:1], given[key][:1])), key
    save_checkpoint(tmp_path / 'again.safetensors', module.net)
    again = load_checkpoint(tmp_path / 'again.safetensors').eval()
    with torch.no_grad():
        assert again(torch.rand(1, 3, 128, 128)).shape[1] == num_classes


def test_checkpoint_settles_all_but_colours(segformer: Path) -> None:
    known = read_metadata(segformer).config
    palette = tuple((i, i, i) for i in range(5))
    found = completed(config(palette=palette), str(segformer))
    assert found.palette == palette
    assert {**found.to_dict(), 'palette': known.palette} == known.to_dict()


def test_a_training_begins_with_logits_as_they_are(segformer: Path, tmp_path: Path) -> None:
    dcfm = DCFM(DCFMConfig(backbone='mit_b0', num_classes=5, fuse_channels=16))
    save_checkpoint(tmp_path / 'dcfm.safetensors', dcfm)
    for path in (segformer, tmp_path / 'dcfm.safetensors'):
        metadata = read_metadata(path)
        calibrated = tmp_path / f'{path.stem}_calibrated.safetensors'
        warm = replace(metadata.config, confidence_temperature=1.7)
        copy_checkpoint(path, calibrated, warm, metadata.training)
        module = SymmetricTraining(config(), initial_weights=str(calibrated))
        assert module.net.config == metadata.config


def test_classes_must_be_those_of_the_checkpoint(segformer: Path) -> None:
    names = ('a', 'b', 'c', 'd', 'e')
    match = r"must fit .* has .*class_names: \('class 0'.*; features:.* but the head, .*--labels"
    with pytest.raises(ValueError, match=match):
        SymmetricTraining(config(class_names=names), initial_weights=str(segformer))
    with pytest.raises(ValueError, match='num_classes: 5, not 3') as raised:
        SymmetricTraining(config(num_classes=3), initial_weights=str(segformer))
    assert 'architecture' not in str(raised.value)


def test_normalisation_must_be_that_of_the_checkpoint(segformer: Path) -> None:
    with pytest.raises(ValueError, match=r'has .*image_mean: .*, not \(0.5'):
        SymmetricTraining(config(image_mean=HALF), initial_weights=f'features:{segformer}')


@pytest.mark.parametrize('prefix', ['', 'features:'])
def test_a_dcfm_cannot_be_described_beside_it(segformer: Path, prefix: str) -> None:
    start = f'{prefix}{segformer}'
    match = (
        rf"initial_weights` is '{start}', .*\(segformer\): got `backbone` 'mit_b0', `head` 'mlp'"
    )
    with pytest.raises(ValueError, match=match):
        SymmetricTraining(config('mit_b0', head='mlp'), initial_weights=start)
    with pytest.raises(ValueError, match=r'got `nonkey_uses_common` False'):
        SymmetricTraining(config(nonkey_uses_common=False), initial_weights=start)


def test_two_kinds_of_networks_do_not_fit(segformer: Path, tmp_path: Path) -> None:
    dcfm = DCFM(DCFMConfig(backbone='mit_b0', num_classes=5, fuse_channels=16))
    with pytest.raises(ValueError, match=r"has .*a network 'segformer', not 'mit_b0'"):
        load_initial_weights(dcfm, str(segformer))
    save_checkpoint(tmp_path / 'dcfm.safetensors', dcfm)
    net = load_checkpoint(segformer)
    with pytest.raises(ValueError, match=r"has .*a network 'mit_b0', not 'segformer'"):
        load_initial_weights(net, f'features:{tmp_path}/dcfm.safetensors')
    (tmp_path / 'backbone.pth').write_bytes(b'')
    for source in ('timm:default', 'package:efficientnet-lite0', f'{tmp_path}/backbone.pth'):
        with pytest.raises(ValueError, match=r'a checkpoint for a network of another .*segformer'):
            load_initial_weights(net, source)


def test_another_architecture_does_not_fit(segformer: Path, tmp_path: Path) -> None:
    other = convert_small(tmp_path, 'segformer', depths=[2, 1, 1, 1])
    with pytest.raises(ValueError, match=r"has .*architecture: .*'depths': \[2, 1, 1, 1\]"):
        load_initial_weights(load_checkpoint(segformer), f'features:{other}')
