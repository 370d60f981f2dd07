import re

import huggingface_hub.constants
import pytest
from safetensors.torch import save_file
import timm
import torch
from torch import nn
from torchvision.models import resnet18

from dcfm_ros.models.checkpoint import save_checkpoint
from dcfm_ros.models.checkpoint_header import CheckpointError
from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.training.initial_weights import load_initial_weights

NORM = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')


def network(backbone='mit_b0', num_classes=3, **values):
    torch.manual_seed(0)
    return DCFM(DCFMConfig(backbone=backbone, num_classes=num_classes, fuse_channels=16, **values))


def randomised(net):
    """Other values everywhere, also where a network starts with zeros and ones."""
    torch.manual_seed(1)
    for value in net.state_dict().values():
        if value.is_floating_point():
            nn.init.uniform_(value, 0.5, 1)
    return net


def random_state(shapes):
    torch.manual_seed(2)
    return {key: torch.rand(shape) for key, shape in shapes.items()}


def segformer_shapes(dims=(32, 64, 160, 256), depth=2, ratios=(8, 4, 2, 1)):
    """SegFormer's mit_b0.pth, key by key."""
    shapes = {'head.weight': (1000, dims[-1]), 'head.bias': (1000,)}
    for s, (d, before, ratio) in enumerate(zip(dims, (3, *dims), ratios, strict=False), 1):
        kernel = 7 if s == 1 else 3
        weights = {f'patch_embed{s}.proj': (d, before, kernel, kernel)}
        weights |= {f'patch_embed{s}.norm': (d,), f'norm{s}': (d,)}
        for i in range(depth):
            block = {'norm1': (d,), 'attn.q': (d, d), 'attn.kv': (2 * d, d), 'attn.proj': (d, d)}
            block |= {'norm2': (d,), 'mlp.fc1': (4 * d, d), 'mlp.dwconv.dwconv': (4 * d, 1, 3, 3)}
            block |= {'mlp.fc2': (d, 4 * d)}
            if ratio > 1:
                block |= {'attn.sr': (d, d, ratio, ratio), 'attn.norm': (d,)}
            weights |= {f'block{s}.{i}.{name}': shape for name, shape in block.items()}
        shapes |= {f'{name}.weight': shape for name, shape in weights.items()}
        shapes |= {f'{name}.bias': shape[:1] for name, shape in weights.items()}
    return shapes


def deep_stem_resnet50_shapes():
    """The paper's resnet50_v2.pth, key by key; it counts no batches."""
    weights = {'conv1': (64, 3, 3, 3), 'conv2': (64, 64, 3, 3), 'conv3': (128, 64, 3, 3)}
    norms = {'bn1': 64, 'bn2': 64, 'bn3': 128}
    before = 128
    for layer, (depth, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), 1):
        for i in range(depth):
            block = f'layer{layer}.{i}'
            weights[f'{block}.conv1'] = (width, before, 1, 1)
            weights[f'{block}.conv2'] = (width, width, 3, 3)
            weights[f'{block}.conv3'] = (4 * width, width, 1, 1)
            norms |= {f'{block}.bn1': width, f'{block}.bn2': width, f'{block}.bn3': 4 * width}
            if i == 0:
                weights[f'{block}.downsample.0'] = (4 * width, before, 1, 1)
                norms[f'{block}.downsample.1'] = 4 * width
            before = 4 * width
    shapes = {f'{name}.weight': shape for name, shape in weights.items()}
    shapes |= {f'{name}.{value}': (c,) for name, c in norms.items() for value in NORM[:4]}
    return shapes | {'fc.weight': (1000, 2048), 'fc.bias': (1000,)}


def matches(net, given, ours_to_theirs):
    """Every given tensor is somewhere in the backbone, and these are where they belong."""
    state = net.state_dict()
    loaded = sorted(float(v.double().sum()) for k, v in state.items() if is_backbone(k))
    expected = (v for k, v in given.items() if not re.match(r'(head|fc)\.', k))
    assert loaded == pytest.approx(sorted(float(v.double().sum()) for v in expected), abs=1e-9)
    for ours, theirs in ours_to_theirs.items():
        assert torch.equal(state[ours], given[theirs].reshape(state[ours].shape)), ours
    return True


def is_backbone(key):
    others = r'encoder\.(?!fuse|pyramid_pooling)'
    return bool(re.match(others, key)) and not key.endswith('num_batches_tracked')


def test_no_source_leaves_the_network_as_it_is():
    net, same = network(), network()
    assert load_initial_weights(net, None) == 'random weights'
    assert all(torch.equal(v, same.state_dict()[k]) for k, v in net.state_dict().items())


def test_checkpoint_is_taken_whole(tmp_path):
    trained = randomised(network(dropout=0.3))
    save_checkpoint(tmp_path / 'a.safetensors', trained)
    net = network()
    path = str(tmp_path / 'a.safetensors')
    count = len(net.state_dict())
    assert load_initial_weights(net, path) == f'{path}: {count} of {count} tensors'
    assert all(torch.equal(v, trained.state_dict()[k]) for k, v in net.state_dict().items())


def test_checkpoint_of_another_network_is_refused(tmp_path):
    path = str(tmp_path / 'a.safetensors')
    save_checkpoint(path, network(independent_stage='stage'))
    with pytest.raises(
        ValueError, match=r"must fit .* has .*independent_stage: 'stage', not 'block'"
    ):
        load_initial_weights(network(), path)
    with pytest.raises(ValueError, match=r'independent_stage'):
        load_initial_weights(network(), f'features:{path}')


def test_other_classes_are_refused_with_a_hint(tmp_path):
    path = str(tmp_path / 'a.safetensors')
    save_checkpoint(path, network(num_classes=5))
    with pytest.raises(ValueError, match=r'num_classes: 5, not 3.*; features:.*but the head'):
        load_initial_weights(network(), path)


def test_features_are_everything_but_the_head(tmp_path):
    path = str(tmp_path / 'a.safetensors')
    trained = randomised(network(num_classes=5, head='mlp')).state_dict()
    save_checkpoint(path, randomised(network(num_classes=5, head='mlp')))
    net, before = network(), network().state_dict()
    assert load_initial_weights(net, f'features:{path}').endswith('tensors; random: head')
    for key, value in net.state_dict().items():
        assert torch.equal(value, (before if key.startswith('head.') else trained)[key]), key


@pytest.mark.parametrize('name', ['mit_b0.pth', 'mit_b0.safetensors'])
def test_segformer_file_fills_the_transformer(tmp_path, name):
    given = random_state(segformer_shapes())
    if name.endswith('pth'):
        torch.save(given, tmp_path / name)
    else:
        save_file(given, tmp_path / name)
    net = network()
    sentence = load_initial_weights(net, str(tmp_path / name))
    parts = 'encoder.fuse, fusion, head'
    assert sentence == f'{tmp_path / name}: 176 of 198 tensors; random: {parts}'
    assert matches(net, given, {
        'encoder.patch_embed.proj.weight': 'patch_embed1.proj.weight',
        'encoder.stages.0.norm.bias': 'norm1.bias',
        'encoder.stages.0.blocks.1.norm2.weight': 'block1.1.norm2.weight',
        'encoder.stages.1.downsample.norm.weight': 'patch_embed2.norm.weight',
        'encoder.stages.1.blocks.0.attn.kv.weight': 'block2.0.attn.kv.weight',
        'encoder.stages.2.blocks.0.mlp.dwconv.weight': 'block3.0.mlp.dwconv.dwconv.weight',
    })  # fmt: skip


def test_deep_stem_file_fills_the_resnet(tmp_path):
    given = random_state(deep_stem_resnet50_shapes())
    torch.save(given, tmp_path / 'resnet50_v2.pth')
    net = network('resnet50')
    sentence = load_initial_weights(net, str(tmp_path / 'resnet50_v2.pth'))
    parts = 'common_projection, encoder.pyramid_pooling, fusion, head'
    assert sentence.endswith(f'tensors; random: {parts}')
    assert matches(net, given, {
        'encoder.stem.0.weight': 'conv1.weight',
        'encoder.stem.4.running_var': 'bn2.running_var',
        'encoder.stem.6.weight': 'conv3.weight',
        'encoder.layers.0.0.downsample.1.weight': 'layer1.0.downsample.1.weight',
        'encoder.layers.3.2.bn1.bias': 'layer4.2.bn1.bias',
    })  # fmt: skip


def test_torchvision_resnet18_gives_its_features(tmp_path):
    theirs = randomised(resnet18()).eval()
    torch.save(theirs.state_dict(), tmp_path / 'resnet18.pth')
    net = network('resnet18').eval()
    load_initial_weights(net, str(tmp_path / 'resnet18.pth'))
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(image))))
        expected = theirs.layer1(x)
        torch.testing.assert_close(net.encoder.shallow(image).feature, expected)
    last = net.state_dict()['encoder.layers.3.1.conv2.weight']
    assert torch.equal(last, theirs.state_dict()['layer4.1.conv2.weight'])


def features_of(name, given, image):
    """All stages, by timm's own way of loading."""
    overlay = {'state_dict': given}
    net = timm.create_model(
        name, features_only=True, pretrained=True, pretrained_cfg_overlay=overlay
    )
    return net.eval()(image)


def stages_of(net, image):
    """What the all-MLP fuse is given."""
    progress = net.encoder.start(net.encoder.shallow(image).state)
    gathered = progress.stages
    with torch.no_grad():
        for step in net.encoder.deep_steps():
            progress = step(progress)
            gathered = progress.stages or gathered
    return list(gathered)


# A chain of modules, a list of stages, and one that is asked for its stages.
@pytest.mark.parametrize('name', ['mobilenetv3_small_050', 'resnet10t', 'test_vit'])
@torch.no_grad()
def test_timm_file_gives_the_stages_that_timm_computes(tmp_path, name):
    given = timm.create_model(name).state_dict()
    torch.save(given, tmp_path / 'weights.pth')
    net = network(f'timm:{name}').eval()
    sentence = load_initial_weights(net, str(tmp_path / 'weights.pth'))
    assert sentence.endswith('tensors; random: encoder.fuse, fusion, head')
    size = getattr(timm.create_model(name), 'pretrained_cfg', {})['input_size'][1:]
    image = torch.rand(1, 3, *size)
    stages = stages_of(net, image)
    expected = features_of(name, given, image)[-len(stages) :]
    for found, wanted in zip(stages, expected, strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    ('backbone', 'tag', 'suffix'),
    [
        ('timm:resnet10t', 'default', ''),
        ('timm:resnet10t', 'c3_in1k', '.c3_in1k'),
        ('resnet18', 'default', ''),
        ('resnet18', 'gluon_in1k', '.gluon_in1k'),
    ],
)
def test_timm_tag_is_what_timm_is_asked_for(monkeypatch, backbone, tag, suffix):
    asked, given, create = [], {}, timm.create_model

    def offer(name, pretrained=False, **options):
        """As timm does, with a network made here in place of the one in the hub."""
        if not pretrained:
            return create(name, **options)
        asked.append(name)
        net = create(name.partition('.')[0], **options)
        given.update(net.state_dict())
        return net

    monkeypatch.setattr(timm, 'create_model', offer)
    net = network(backbone)
    assert load_initial_weights(net, f'timm:{tag}').startswith(f'timm:{tag}: ')
    assert asked == [backbone.removeprefix('timm:') + suffix]
    last = [value for key, value in net.state_dict().items() if key.endswith('conv2.weight')][-1]
    assert torch.equal(last, given['layer4.0.conv2.weight' if 'timm' in backbone else
                                   'layer4.1.conv2.weight'])  # fmt: skip


def test_timm_without_network_and_cache_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path))
    with pytest.raises(CheckpointError, match=r'timm cannot offer resnet10t\.c3_in1k: '):
        load_initial_weights(network('timm:resnet10t'), 'timm:c3_in1k')


def test_unknown_timm_tag_is_an_error():
    with pytest.raises(CheckpointError, match=r'timm cannot offer resnet10t\.nosuch: .*tag'):
        load_initial_weights(network('timm:resnet10t'), 'timm:nosuch')


def test_timm_has_nothing_for_the_transformers():
    with pytest.raises(ValueError, match='timm has no weights for mit_b0'):
        load_initial_weights(network(), 'timm:default')


def test_missing_file_is_named(tmp_path):
    for source in (f'{tmp_path}/no.pth', f'features:{tmp_path}/no.pth'):
        with pytest.raises(FileNotFoundError, match=f'initial weights: {tmp_path}/no.pth'):
            load_initial_weights(network(), source)


@pytest.mark.parametrize('name', ['a.pth', 'a.safetensors'])
def test_damaged_file_is_an_error(tmp_path, name):
    (tmp_path / name).write_bytes(b'no weights at all')
    with pytest.raises(CheckpointError, match=name):
        load_initial_weights(network(), str(tmp_path / name))


def test_nothing_but_tensors_is_unpickled(tmp_path):
    torch.save({'weight': re.compile('a')}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='cannot be read as weights'):
        load_initial_weights(network(), str(tmp_path / 'a.pth'))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda state: state.clear(), r'missing: patch_embed1.proj.weight'),
        (lambda state: state.pop('norm3.bias'), r'must fit mit_b0, .*\n  missing: norm3.bias$'),
        (lambda state: state.update(norm1=torch.ones(1)), r'unexpected: norm1$'),
        (
            lambda state: state.update({'norm2.bias': torch.ones(3)}),
            r'shape of norm2.bias: \(3,\), expected \(64,\)$',
        ),
    ],
    ids=['nothing', 'too few', 'too many', 'other shape'],
)
def test_weights_that_do_not_fit_are_listed_and_none_is_taken(tmp_path, change, message):
    given = random_state(segformer_shapes())
    change(given)
    torch.save(given, tmp_path / 'a.pth')
    net, before = network(), network().state_dict()
    with pytest.raises(ValueError, match=message):
        load_initial_weights(net, str(tmp_path / 'a.pth'))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
