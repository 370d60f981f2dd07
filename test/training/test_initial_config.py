import json

from checkpoint_files import as_version_1, rewrite
import pytest
import torch

from dcfm_ros.models.checkpoint import save_checkpoint
from dcfm_ros.models.checkpoint_header import CheckpointError
from dcfm_ros.models.config import IMAGENET_MEAN, IMAGENET_STD, DCFMConfig
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.training.ablated_network import AblatedConfig
from dcfm_ros.training.initial_config import completed
from dcfm_ros.training.module import SymmetricTraining

HALF = (0.5, 0.5, 0.5)
IMAGENET = (IMAGENET_MEAN, IMAGENET_STD)
OWN = {'image_mean': (0.1, 0.2, 0.3), 'image_std': (0.4, 0.5, 0.6)}


def config(backbone='', **values):
    return AblatedConfig(backbone=backbone, **{'num_classes': 3, **values})


def saved(path, **values):
    """A checkpoint; the network that it holds."""
    torch.manual_seed(0)
    net = DCFM(DCFMConfig(**{'backbone': 'mit_b0', 'num_classes': 3, **values})).eval()
    save_checkpoint(path, net)
    return net


def normalisation(config):
    return config.image_mean, config.image_std


@pytest.mark.parametrize(('backbone', 'source', 'expected'), [
    ('timm:resnet18d', 'timm:ra4_e3600_r224_in1k', (HALF, HALF)),
    ('timm:resnet18d', 'timm:ra2_in1k', IMAGENET),
    ('timm:resnet18d.ra2_in1k', 'timm:ra4_e3600_r224_in1k', (HALF, HALF)),
    # The tag that timm prefers, not that of the backbone.
    ('timm:resnet18d.ra4_e3600_r224_in1k', 'timm:default', IMAGENET),
    ('timm:mobilenetv4_conv_small', 'timm:e3600_r256_in1k', (HALF, HALF)),
    ('timm:tf_efficientnet_lite0', 'timm:default', (HALF, HALF)),
    ('timm:tf_efficientnet_lite0', 'package:efficientnet-lite0', (HALF, HALF)),
    ('resnet18', 'timm:a1_in1k', IMAGENET),
])  # fmt: skip
def test_normalisation_is_that_of_the_weights(backbone, source, expected):
    assert normalisation(completed(config(backbone), source)) == expected


def test_normalisation_of_random_weights_is_left_to_the_network():
    for backbone in ('mit_b0', 'timm:tf_efficientnet_lite0'):
        assert completed(config(backbone), None) == config(backbone)


@pytest.mark.parametrize('source', ['timm:ra4_e3600_r224_in1k', 'timm:default', None])
def test_normalisation_that_is_given_stays(source):
    given = config('timm:resnet18d', **OWN)
    assert completed(given, source) == given


def test_normalisation_of_which_half_is_given_is_completed():
    given = config('timm:resnet18d', image_mean=(0.1, 0.2, 0.3))
    found = completed(given, 'timm:ra4_e3600_r224_in1k')
    assert normalisation(found) == ((0.1, 0.2, 0.3), HALF)


@pytest.mark.parametrize('prefix', ['', 'features:'])
@torch.no_grad()
def test_normalisation_of_a_checkpoint_is_taken_over(tmp_path, prefix):
    path = tmp_path / 'a.safetensors'
    net = saved(path, **OWN)
    training = SymmetricTraining(config('mit_b0'), initial_weights=f'{prefix}{path}')
    assert normalisation(training.net.config) == (OWN['image_mean'], OWN['image_std'])
    image = torch.rand(1, 3, 64, 64)
    found, expected = (n.eval().encode_independent(image) for n in (training.net, net))
    torch.testing.assert_close(found.feature, expected.feature)


@pytest.mark.parametrize('field', OWN)
def test_normalisation_other_than_that_of_the_checkpoint_is_refused(tmp_path, field):
    path = tmp_path / 'a.safetensors'
    saved(path)
    with pytest.raises(ValueError, match=rf'must fit the model, .*has .*{field}: .*, not \(0'):
        SymmetricTraining(config('mit_b0', **{field: OWN[field]}), initial_weights=str(path))


def test_log_says_how_images_are_normalised(caplog):
    with caplog.at_level('INFO'):
        SymmetricTraining(config('timm:tf_efficientnet_lite0', fuse_channels=16))
    said = 'network: timm:tf_efficientnet_lite0, images normalised by mean (0.5, 0.5, 0.5), std'
    assert said in caplog.text


# All that is not free, and the head of a network that is taken whole, at other than the default.
ARCHITECTURE = {
    'fuse_channels': 16, 'common_channels': 24, 'independent_stage': 'patch',
    'pyramid_pooling': False, 'align_before_norm': True, 'motion': 'flow', **OWN,
}  # fmt: skip
HEAD = {'head': 'conv', 'head_channels': 8}


def test_without_a_backbone_the_network_is_that_of_the_checkpoint(tmp_path):
    path = tmp_path / 'a.safetensors'
    net = saved(path, **ARCHITECTURE, **HEAD)
    training = SymmetricTraining(config(), initial_weights=str(path))
    assert training.net.config == net.config
    for key, value in training.net.state_dict().items():
        assert torch.equal(value, net.state_dict()[key]), key


def test_without_a_backbone_the_head_is_ones_own_with_features(tmp_path):
    path = tmp_path / 'a.safetensors'
    net = saved(path, num_classes=5, **ARCHITECTURE, **HEAD)
    found = SymmetricTraining(config(head='mlp'), initial_weights=f'features:{path}').net
    for field, value in {**ARCHITECTURE, 'backbone': 'mit_b0', 'head': 'mlp'}.items():
        assert getattr(found.config, field) == value
    assert found.config.num_classes == 3
    assert torch.equal(found.fusion.conv.weight, net.fusion.conv.weight)


@pytest.mark.parametrize('prefix', ['', 'features:'])
@pytest.mark.parametrize('backbone', ['', 'mit_b0'])
def test_motion_is_that_of_the_checkpoint_unless_it_is_said(tmp_path, caplog, prefix, backbone):
    path = tmp_path / 'a.safetensors'
    saved(path, motion='flow')
    for given, expected in (({}, 'flow'), ({'motion': 'none'}, 'none')):
        caplog.clear()
        with caplog.at_level('INFO'):
            training = SymmetricTraining(
                config(backbone, **given), initial_weights=f'{prefix}{path}'
            )
        assert training.net.config.motion == expected
        assert f', motion {expected}\n' in caplog.text
        unlike = f"not as in {path}: motion 'none' ('flow' there)\n"
        assert (unlike in caplog.text) == (expected == 'none')


def without_motion(metadata):
    """As files were written before there was any."""
    config = json.loads(metadata['config'])
    del config['motion']
    metadata['config'] = json.dumps(config)


def test_motion_none_is_kept_where_the_checkpoint_has_none(tmp_path):
    path = tmp_path / 'a.safetensors'
    saved(path)
    rewrite(path, change_metadata=without_motion)
    assert completed(config(), str(path)).motion == 'none'
    assert completed(config(motion='flow'), str(path)).motion == 'flow'
    assert SymmetricTraining(config('mit_b0', fuse_channels=16)).net.config.motion == 'none'
    with pytest.raises(ValueError, match=r"`motion` must be one of auto, none, flow, got 'all'"):
        config(motion='all')


def test_log_says_what_a_training_does_otherwise_than_its_checkpoint(tmp_path, caplog):
    path = tmp_path / 'a.safetensors'
    saved(path, confidence_temperature=2.0)
    given = config('mit_b0', dropout=0.2, palette=((1, 1, 1),) * 3)
    with caplog.at_level('INFO'):
        SymmetricTraining(given, initial_weights=str(path))
    differs = 'dropout 0.2 (0.1 there), confidence_temperature 1.0 (2.0 there), palette'
    assert f'not as in {path}: {differs}\n' in caplog.text


def test_what_is_said_beside_a_checkpoint_must_fit_it(tmp_path):
    path = tmp_path / 'a.safetensors'
    saved(path)
    with pytest.raises(ValueError, match='fuse_channels: 256, not 16'):
        SymmetricTraining(config(fuse_channels=16), initial_weights=str(path))


def test_timm_network_of_a_version_1_file_stays_cut_behind_its_stage(tmp_path):
    path = tmp_path / 'a.safetensors'
    backbone = 'timm:mobilenetv4_conv_small'
    net = saved(path, backbone=backbone, independent_stage='stage', fuse_channels=16)
    as_version_1(path)
    start = f'features:{path}'
    match = r"independent_stage: 'stage', not 'block'.*; what `model.net` leaves out with its"
    with pytest.raises(ValueError, match=match):
        SymmetricTraining(config(backbone, fuse_channels=16), initial_weights=start)
    cut = {'fuse_channels': 16, 'independent_stage': 'stage'}
    for given in (config(backbone, **cut), config()):
        found = SymmetricTraining(given, initial_weights=start).net
        assert found.config.independent_stage == 'stage'
        assert torch.equal(found.fusion.conv.weight, net.fusion.conv.weight)


def test_without_a_backbone_it_is_that_of_the_package():
    found = completed(config(), 'package:efficientnet-lite1')
    assert found.backbone == 'timm:tf_efficientnet_lite1'
    assert normalisation(found) == (HALF, HALF)
    assert found.fuse_channels == DCFMConfig(backbone='mit_b0', num_classes=3).fuse_channels


@pytest.mark.parametrize('source', [None, 'timm:default', 'weights.pth'])
def test_a_backbone_must_be_named_somewhere(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    torch.save({}, 'weights.pth')
    with pytest.raises(
        ValueError, match=rf'`backbone` must be named, .*checkpoint, got .*{source}'
    ):
        completed(config(), source)
    with pytest.raises(ValueError, match=r"`backbone` must be one of .*, got ''"):
        DCFMConfig(backbone='', num_classes=3)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f'initial weights: {tmp_path}/no.safetensors'):
        completed(config(), f'features:{tmp_path}/no.safetensors')


def test_unknown_names_are_told_those_that_there_are():
    match = r'timm cannot offer resnet18d\.nosuch: resnet18d has the tags ra2_in1k, ra4_e3600'
    with pytest.raises(CheckpointError, match=match):
        completed(config('timm:resnet18d'), 'timm:nosuch')
    with pytest.raises(ValueError, match=r'one of efficientnet-lite0, .*-lite2 .*, got .nosuch'):
        completed(config('timm:resnet18d'), 'package:nosuch')
    with pytest.raises(ValueError, match='timm has no weights for mit_b0'):
        completed(config('mit_b0'), 'timm:default')
