from __future__ import annotations

import pytest
from source_networks import make_segformer, make_smp, make_torchvision, save_folder
import torch
from torch import nn
from torch.nn import functional as F

from dcfm_ros.backends.folding import fold_batch_norms
from dcfm_ros.deploy.convert import convert_network
from dcfm_ros.models.backbone import run_steps
from dcfm_ros.models.checkpoint import load_checkpoint, save_checkpoint
from dcfm_ros.models.checkpoint_header import CheckpointError, read_metadata
from dcfm_ros.models.image_networks.config import ImageNetworkConfig, network_config
from dcfm_ros.models.image_networks.image_network import ImageNetwork
from dcfm_ros.models.image_networks.torchvision_network import TORCHVISION_NAMES

SIZE = (128, 160)
B0 = {
    'depths': [2, 2, 2, 2],
    'hidden_sizes': [32, 64, 160, 256],
    'num_attention_heads': [1, 2, 5, 8],
    'sr_ratios': [8, 4, 2, 1],
    'mlp_ratios': [4, 4, 4, 4],
    'decoder_hidden_size': 256,
}


def assert_equal_to(library, converted, size, run):
    """As a whole and in its stages, the network gives the logits of the library."""
    net = converted.net
    assert net.decoder.problem == ''
    assert next(net.parameters()).dtype == torch.float64
    image = torch.rand(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        expected = run(library, (image - net.mean) / net.std)
        whole = net(image)
        independent = net.encode_independent(image)
        deep = run_steps(net.deep_steps(), net.start(independent))
        staged = net.decode(net.to_cached(deep), independent)
    assert staged.shape == whole.shape
    for logits in (whole, staged):
        if logits.shape != expected.shape:
            grid = expected.shape[-2:]
            logits = F.interpolate(logits, grid, mode='bilinear', align_corners=False)
        scale = float(expected.abs().max())
        torch.testing.assert_close(logits / scale, expected / scale, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ('sizes', 'size', 'cut'),
    [
        ({}, (64, 96), 1),
        ({}, (67, 93), 2),
        ({}, (67, 93), 3),
        (B0, (64, 96), 2),
        (B0, (67, 93), 1),
    ],
)
def test_segformer_is_that_of_hugging_face(tmp_path, sizes, size, cut):
    net = make_segformer(**sizes)
    save_folder(net, tmp_path)
    done = convert_network('segformer', tmp_path, cut=cut)
    assert_equal_to(net, done, size, lambda net, image: net(image).logits)
    logits = done.net(torch.rand(1, 3, *size, dtype=torch.float64))
    assert logits.shape == (1, 5, -(-size[0] // 4), -(-size[1] // 4))


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'encoder', 'options', 'cut'),
    [
        ('Unet', 'resnet18', {}, 2),
        ('Unet', 'resnet18', {'encoder_depth': 4, 'decoder_channels': [32, 16, 8, 8]}, 2),
        ('Unet', 'mit_b0', {'activation': None}, 2),
        ('UnetPlusPlus', 'tu-mobilenetv3_small_050', {}, 1),
        ('MAnet', 'tu-mobilenetv3_small_050', {}, 2),
        ('Linknet', 'resnet18', {}, 3),
        ('FPN', 'tu-mobilenetv3_small_050', {'decoder_merge_policy': 'cat'}, 1),
        ('FPN', 'tu-convnext_atto', {}, 2),
        ('FPN', 'efficientnet-b0', {}, 3),
        ('FPN', 'timm-efficientnet-b0', {}, 1),
        ('FPN', 'timm-skresnet18', {}, 2),
        ('FPN', 'mobilenet_v2', {}, 3),
        ('FPN', 'se_resnet50', {}, 1),
        ('FPN', 'mobileone_s0', {}, 1),
        ('DeepLabV3Plus', 'tu-mobilenetv3_small_050', {}, 2),
        ('DeepLabV3', 'resnet18', {}, 3),
        ('PAN', 'resnet18', {}, 1),
        ('UPerNet', 'tu-mobilenetv3_small_050', {}, 2),
        ('Segformer', 'mit_b0', {}, 3),
        ('Segformer', 'resnet18', {}, 1),
    ],
)
def test_smp_network_is_that_of_the_library(tmp_path, name, encoder, options, cut):
    net = make_smp(name, encoder, **options)
    save_folder(net, tmp_path)
    done = convert_network('smp', tmp_path, cut=cut)
    assert_equal_to(net, done, SIZE, lambda net, image: net(image))


def test_psp_net_has_one_cut(tmp_path):
    net = make_smp('PSPNet', 'resnet18')
    save_folder(net, tmp_path)
    done = convert_network('smp', tmp_path)
    assert done.net.config.size_multiple == 8
    assert_equal_to(net, done, (72, 104), lambda net, image: net(image))
    with pytest.raises(CheckpointError, match=r'at most 1, got 2'):
        convert_network('smp', tmp_path, cut=2)


@pytest.mark.parametrize(
    ('name', 'encoder', 'size', 'multiple'),
    [
        ('Unet', 'resnet18', (118, 146), 2),
        ('Unet', 'mit_b0', (68, 92), 4),
        ('FPN', 'resnet18', (96, 128), 32),
        ('DeepLabV3Plus', 'resnet18', (80, 112), 16),
    ],
)
def test_smp_network_takes_multiples(tmp_path, name, encoder, size, multiple):
    net = make_smp(name, encoder)
    save_folder(net, tmp_path)
    done = convert_network('smp', tmp_path)
    assert done.net.config.size_multiple == multiple
    assert_equal_to(net, done, size, lambda net, image: net(image))


@pytest.mark.parametrize(
    ('name', 'cut'),
    [
        (TORCHVISION_NAMES[0], 1),
        (TORCHVISION_NAMES[0], 2),
        (TORCHVISION_NAMES[0], 4),
        (TORCHVISION_NAMES[1], 3),
    ],
)
def test_mobile_network_is_that_of_torchvision(tmp_path, name, cut):
    net = make_torchvision(name)
    torch.save(net.state_dict(), tmp_path / 'net.pth')
    done = convert_network('torchvision', tmp_path / 'net.pth', architecture=name, cut=cut)
    assert_equal_to(net, done, (67, 93), lambda net, image: net(image)['out'])


@pytest.mark.slow
def test_resnet_is_that_of_torchvision_without_its_auxiliary(tmp_path):
    name = 'fcn_resnet50'
    net = make_torchvision(name, has_auxiliary=True)
    torch.save(net.state_dict(), tmp_path / 'net.pth')
    done = convert_network('torchvision', tmp_path / 'net.pth', architecture=name, cut=2)
    assert any('auxiliary classifier' in note for note in done.notes)
    assert_equal_to(net, done, (67, 93), lambda net, image: net(image)['out'])


def test_deep_part_is_many_short_steps(tmp_path):
    save_folder(make_segformer(**B0), tmp_path)
    steps = [len(convert_network('segformer', tmp_path, cut=c).net.deep_steps()) for c in (1, 2)]
    assert steps == [12, 8]


def test_decoder_gets_no_feature_that_it_does_not_read(tmp_path):
    save_folder(make_smp('FPN', 'resnet18'), tmp_path)
    net = convert_network('smp', tmp_path, cut=2).net
    image = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    found = net.encode_independent(image)
    assert [skip.shape[-1] for skip in found.skips] == [16]
    assert found.feature.shape[-1] == 8


@pytest.mark.parametrize('encoder', ['resnet18', 'tu-mobilenetv3_small_050'])
def test_folding_batch_norms_changes_nothing(tmp_path, encoder):
    save_folder(make_smp('FPN', encoder), tmp_path)
    net = convert_network('smp', tmp_path).net
    image = torch.rand(1, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        before = net(image)
        fold_batch_norms(net, lambda: net(image))
        assert not any(isinstance(module, nn.BatchNorm2d) for module in net.encoder.modules())
        torch.testing.assert_close(net(image), before)


def test_checkpoint_rebuilds_the_network(tmp_path):
    save_folder(make_segformer(), tmp_path / 'source')
    done = convert_network('segformer', tmp_path / 'source', cut=2)
    net = done.net.float()
    save_checkpoint(tmp_path / 'net.safetensors', net, done.training)
    metadata = read_metadata(tmp_path / 'net.safetensors')
    assert isinstance(metadata.config, ImageNetworkConfig)
    assert metadata.config.title == 'segformer'
    assert metadata.config == net.config
    loaded = load_checkpoint(tmp_path / 'net.safetensors')
    assert isinstance(loaded, ImageNetwork)
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(loaded(image), net(image))


def test_network_starts_in_training_mode_with_random_weights():
    config = ImageNetworkConfig(library='segformer', architecture=B0, num_classes=3)
    torch.manual_seed(0)
    net = ImageNetwork(config)
    assert net.training
    net(torch.rand(2, 3, 64, 64)).mean().backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'library': 'mmseg'}, '`library` must be one of segformer, smp, torchvision'),
        ({'cut': 0}, '`cut` must be from 1 to 4, got 0'),
        ({'cut': 5}, '`cut` must be from 1 to 4, got 5'),
        ({'cut': True}, '`cut` must be from 1 to 4, got True'),
        ({'architecture': {'depths': {1}}}, '`architecture` must hold plain values'),
        ({'backbone': 'mit_b0'}, r"unknown keys \['backbone'\]"),
    ],
)
def test_wrong_configuration_is_refused(change, message):
    values = {'library': 'segformer', 'architecture': B0, 'num_classes': 3}
    with pytest.raises(ValueError, match=message):
        network_config({**values, **change})


@pytest.mark.parametrize(
    ('library', 'architecture', 'message'),
    [
        ('segformer', {}, "lacks \\['depths'"),
        ('segformer', {**B0, 'depths': [1]}, '`depths` must hold a number for each of 4 stages'),
        ('torchvision', {'name': 'resnet18'}, TORCHVISION_NAMES[0]),
    ],
)
def test_wrong_architecture_is_refused(library, architecture, message):
    config = ImageNetworkConfig(library=library, architecture=architecture, num_classes=3)
    with pytest.raises(ValueError, match=message):
        ImageNetwork(config)


@pytest.mark.parametrize(
    ('encoder', 'message'),
    [
        ('densenet121', '`encoder_name` must be of a family .* got DenseNet'),
        ('dpn68', '`encoder_name` must be of a family .* got DPN'),
        ('tu-swin_tiny_patch4_window7_224', 'does not take images of every size'),
    ],
)
def test_encoder_that_is_no_chain_is_refused(tmp_path, encoder, message):
    save_folder(make_smp('FPN', encoder), tmp_path)
    with pytest.raises((ValueError, CheckpointError), match=message):
        convert_network('smp', tmp_path)


def test_configuration_travels_as_plain_values():
    config = ImageNetworkConfig(
        library='segformer', architecture={**B0, 'depths': (2, 2, 2, 2)}, num_classes=3, cut=2
    )
    assert config.motion == 'flow'
    assert network_config(config.to_dict()) == config
