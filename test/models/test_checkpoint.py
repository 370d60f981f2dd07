from __future__ import annotations

import json
from pathlib import Path
import resource
import shutil

from checkpoint_files import as_version_1, rewrite
import pytest
from safetensors import safe_open
from safetensors.torch import save_file
import torch

from dcfm_ros.models import checkpoint_header
from dcfm_ros.models.checkpoint import load_checkpoint, save_checkpoint
from dcfm_ros.models.checkpoint_header import (
    CheckpointError,
    find_checkpoint,
    packaged_checkpoints,
    read_metadata,
)
from dcfm_ros.models.config import IMAGENET_MEAN, IMAGENET_STD, DCFMConfig
from dcfm_ros.models.dcfm import DCFM


@pytest.fixture(scope='module')
def net():
    torch.manual_seed(0)
    names = tuple(f'name {i}' for i in range(5))
    config = DCFMConfig(
        backbone='timm:mobilenetv4_conv_small', num_classes=5, fuse_channels=32, class_names=names
    )
    return DCFM(config).eval()


@pytest.fixture
def saved(net, tmp_path):
    path = tmp_path / 'net.safetensors'
    save_checkpoint(path, net, {'image_height': 360, 'steps': 7})
    return path


def test_round_trip_gives_the_same_logits_and_config(net, saved):
    loaded = load_checkpoint(saved)
    image = torch.rand(1, 3, 64, 96)
    assert loaded.config == net.config
    assert loaded.class_names == net.class_names
    assert not loaded.training
    with torch.no_grad():
        assert torch.equal(loaded(image, image), net(image, image))


@pytest.mark.parametrize('normalisation', [{}, {'image_mean': (0.1, 0.2, 0.3)}])
def test_normalisation_travels_with_the_weights(tmp_path, normalisation):
    config = DCFMConfig(backbone='timm:tf_efficientnet_lite0', num_classes=5, **normalisation)
    net = DCFM(config)
    save_checkpoint(tmp_path / 'net.safetensors', net)
    with safe_open(tmp_path / 'net.safetensors', framework='pt') as file:
        written = json.loads(file.metadata()['config'])
    assert written['image_mean'] == list(normalisation.get('image_mean', (0.5, 0.5, 0.5)))
    assert written['image_std'] == [0.5, 0.5, 0.5]
    loaded = load_checkpoint(tmp_path / 'net.safetensors')
    assert loaded.config == net.config
    assert torch.equal(loaded.mean, net.mean)


@pytest.mark.parametrize(
    ('backbone', 'meant'),
    [
        ('timm:tf_efficientnet_lite0', 'stage'),
        ('timm:mobilenetv4_conv_small', 'stage'),
        ('timm:regnety_002', 'stage'),
        ('mit_b0', 'block'),
        ('resnet18', 'block'),
    ],
)
def test_file_of_version_1_is_what_it_was(tmp_path, backbone, meant):
    path = tmp_path / 'net.safetensors'
    config = {'backbone': backbone, 'num_classes': 5, 'independent_stage': meant}
    torch.manual_seed(0)
    net = DCFM(DCFMConfig(**config, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD)).eval()
    save_checkpoint(path, net)
    as_version_1(path)
    assert read_metadata(path).format_version == 1
    loaded = load_checkpoint(path)
    assert loaded.config == net.config
    image = torch.rand(2, 1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(loaded(*image), net(*image))
    save_checkpoint(path, loaded)
    assert read_metadata(path).format_version == 2
    assert load_checkpoint(path).config == net.config


def test_metadata_is_read_without_the_weights(net, saved):
    metadata = read_metadata(saved)
    assert metadata.training == {'image_height': 360, 'steps': 7}
    assert metadata.format_version == 2
    assert metadata.config == net.config


def test_half_precision_file_is_half_the_size_and_loads_as_float32(net, saved, tmp_path):
    half = tmp_path / 'half.safetensors'
    save_checkpoint(half, net, dtype=torch.float16)
    assert half.stat().st_size < 0.6 * saved.stat().st_size
    assert next(load_checkpoint(half).parameters()).dtype == torch.float32


def test_saving_leaves_no_other_file_and_replaces_the_old_one(net, saved):
    save_checkpoint(saved, net, {'steps': 8})
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]
    assert read_metadata(saved).training == {'steps': 8}


def test_failed_save_keeps_the_old_file(net, saved):
    before = saved.read_bytes()
    with pytest.raises(TypeError):
        save_checkpoint(saved, net, {'bad': object()})
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_missing_file_is_a_file_not_found_error(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        load_checkpoint(tmp_path / 'nowhere.safetensors')


def test_truncated_file_is_named(saved):
    saved.write_bytes(saved.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=r'net\.safetensors is not a whole safetensors'):
        load_checkpoint(saved)


@pytest.mark.parametrize('content', [b'', b'not a checkpoint at all', b'\x80\x04pickle' * 50])
def test_foreign_bytes_are_refused(tmp_path, content):
    path = tmp_path / 'foreign.safetensors'
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match='not a whole safetensors file'):
        load_checkpoint(path)


def test_foreign_safetensors_file_is_refused(tmp_path):
    path = tmp_path / 'other.safetensors'
    save_file({'weight': torch.zeros(3)}, path, {'format': 'pt'})
    with pytest.raises(CheckpointError, match='not a dcfm_ros checkpoint'):
        load_checkpoint(path)


def test_newer_version_is_refused(saved):
    rewrite(saved, change_metadata=lambda m: m.update(format_version='3'))
    with pytest.raises(CheckpointError, match=r"format '3'; supported are versions 1 to 2"):
        load_checkpoint(saved)


def test_every_mismatch_is_listed(saved):
    def change(tensors):
        del tensors['fusion.conv.bias']
        tensors['extra.weight'] = torch.zeros(2)
        tensors['head.1.weight'] = torch.zeros(9, 32, 1, 1)

    rewrite(saved, change)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(saved)
    message = str(caught.value)
    assert 'missing: fusion.conv.bias' in message
    assert 'unexpected: extra.weight' in message
    assert 'shape of head.1.weight: (9, 32, 1, 1), expected (5, 32, 1, 1)' in message


def test_unknown_config_key_is_named(saved):
    def change(metadata):
        metadata['config'] = json.dumps({**json.loads(metadata['config']), 'colour': 1})

    rewrite(saved, change_metadata=change)
    with pytest.raises(CheckpointError, match='colour'):
        load_checkpoint(saved)


@pytest.fixture
def packaged(saved, tmp_path, monkeypatch):
    """A package with two tiers, and a working folder without a file."""
    weights, elsewhere = tmp_path / 'weights', tmp_path / 'elsewhere'
    weights.mkdir()
    elsewhere.mkdir()
    for name in ('default', 'accurate'):
        shutil.copy(saved, weights / f'{name}.safetensors')
    (weights / 'default.md').touch()
    monkeypatch.setattr(checkpoint_header, '_PACKAGED', weights)
    monkeypatch.chdir(elsewhere)
    return weights


def test_package_ships_default_weights():
    assert find_checkpoint() == packaged_checkpoints()['default']
    assert read_metadata(find_checkpoint()).config.num_classes == 11


@pytest.mark.parametrize(
    ('given', 'name'),
    [(None, 'default'), ('', 'default'), ('accurate', 'accurate'), (Path('default'), 'default')],
)
def test_names_are_those_of_the_packaged_files(packaged, given, name):
    assert find_checkpoint(given) == packaged / f'{name}.safetensors'


def test_file_wins_over_a_name(packaged, monkeypatch):
    shutil.copy(packaged / 'default.safetensors', 'accurate')
    assert find_checkpoint('accurate') == Path('accurate')
    shutil.copy('accurate', 'default')
    assert find_checkpoint(None) == packaged / 'default.safetensors', 'nothing was said'
    monkeypatch.setenv('HOME', str(Path.cwd()))
    assert find_checkpoint('~/accurate') == Path.cwd() / 'accurate'


def test_folder_is_no_checkpoint(packaged):
    Path('accurate').mkdir()
    assert find_checkpoint('accurate') == packaged / 'accurate.safetensors'


def test_unknown_name_is_told_the_packaged_ones(packaged):
    with pytest.raises(FileNotFoundError, match=r'file: best; packaged are accurate, default$'):
        find_checkpoint('best')
    (packaged / 'accurate.safetensors').unlink()
    with pytest.raises(FileNotFoundError, match=r'file: accurate; packaged are default$'):
        find_checkpoint('accurate')


SWITCHES = dict.fromkeys(
    ['key_uses_common', 'key_uses_independent', 'nonkey_uses_common', 'nonkey_uses_independent'],
    True,
)


def test_files_of_earlier_releases_load(net, saved):
    def change(metadata):
        metadata['config'] = json.dumps(json.loads(metadata['config']) | SWITCHES)

    rewrite(saved, change_metadata=change)
    assert load_checkpoint(saved).config == net.config


def test_networks_of_ablations_are_refused_with_the_reason(saved):
    def change(metadata):
        ablated = SWITCHES | {'nonkey_uses_common': False}
        metadata['config'] = json.dumps(json.loads(metadata['config']) | ablated)

    rewrite(saved, change_metadata=change)
    with pytest.raises(CheckpointError, match=r'`nonkey_uses_common` is off: .* for studies only'):
        load_checkpoint(saved)


def test_full_disk_is_told_with_the_name_and_the_old_file_stays(net, saved):
    before, limits = saved.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=r'net\.safetensors'):
            save_checkpoint(saved, net)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert saved.read_bytes() == before
    assert [found.name for found in saved.parent.iterdir()] == ['net.safetensors']
