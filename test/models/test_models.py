from __future__ import annotations

import pytest
import timm
import torch

from dcfm_ros.models.checkpoint_header import CheckpointError
from dcfm_ros.models.config import IMAGENET_MEAN, IMAGENET_STD, PRESETS, DCFMConfig
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.models.official import from_official, load_official, official_key

# One of every way in which timm offers stage outputs: chain, EfficientNet, channels last, getter.
TIMM = [
    'regnety_002',
    'resnet18d',
    'tf_efficientnet_lite0',
    'mobilenetv4_conv_small',
    'efficientnet_b0',
    'pvt_v2_b0',
    'convnext_atto',
    'swin_s3_tiny_224',
    'vit_tiny_patch16_224',
]


def make(**options):
    torch.manual_seed(0)
    return DCFM(DCFMConfig(**{'num_classes': 7, 'fuse_channels': 32, **options})).eval()


@pytest.mark.parametrize('cut', ['block', 'stage'])
@pytest.mark.parametrize('name', TIMM)
@torch.no_grad()
def test_timm_network_cut_in_two_gives_its_own_features(name, cut):
    net = make(backbone=f'timm:{name}', independent_stage=cut)
    size = 224 if '224' in name else 96
    image = torch.rand(1, 3, size, size)
    independent = net.encoder.shallow(image)
    progress = net.encoder.start(independent.state)
    seen = progress.stages
    for step in net.encoder.deep_steps():
        progress = step(progress)
        seen = progress.stages or seen
    torch.manual_seed(0)
    whole = timm.create_model(name, pretrained=False, features_only=True).eval()
    first = len(whole.feature_info.channels()) - len(seen)
    own = net.encoder.net or torch.nn.ModuleList(
        [*net.encoder.modules_shallow, *net.encoder.modules_deep]
    )
    values = list(own.state_dict().values())
    state = whole.state_dict()
    if net.encoder.net is None:  # the same modules in the same order, under other names
        for key, value in zip(state, values, strict=False):
            state[key] = value
        state = {k: v for k, v in state.items() if k in list(whole.state_dict())[: len(values)]}
        whole.load_state_dict(state, strict=False)
    else:
        whole.load_state_dict(own.state_dict())
    expected = whole(image)[first:]
    if net.encoder.channels_last:
        expected = [x.permute(0, 3, 1, 2) for x in expected]
    assert len(expected) == len(seen)
    for found, wanted in zip(seen, expected, strict=True):
        torch.testing.assert_close(found, wanted)
    assert independent.feature.shape == expected[0].shape
    if cut == 'stage' or name not in FIRST_BLOCKS:
        torch.testing.assert_close(independent.feature, expected[0])


FIRST_BLOCKS = {
    'resnet18d': 'layer1.0',
    'tf_efficientnet_lite0': 'blocks.1.0',
    'mobilenetv4_conv_small': 'blocks.0.0',
    'efficientnet_b0': 'blocks.1.0',
}
"""Of the networks above whose first stage is a sequence of several."""


@pytest.mark.parametrize('name', FIRST_BLOCKS)
@torch.no_grad()
def test_independent_feature_of_a_timm_network_is_that_of_its_first_block(name):
    net = make(backbone=f'timm:{name}')
    whole = timm.create_model(name).eval()
    # The shallow part holds the first tensors of the whole network, in its order.
    shallow = net.encoder.modules_shallow.state_dict()
    state = whole.state_dict()
    whole.load_state_dict(state | dict(zip(state, shallow.values(), strict=False)))
    seen = []
    block = whole.get_submodule(FIRST_BLOCKS[name])
    block.register_forward_hook(lambda _module, _given, output: seen.append(output))
    image = torch.rand(1, 3, 64, 96)
    whole(image)
    independent = net.encoder.shallow(image)
    assert len(seen) == 1
    torch.testing.assert_close(independent.feature, seen[0])
    assert independent.feature.shape == (1, net.encoder.independent_channels, 16, 24)


@pytest.mark.parametrize(('mean', 'std', 'backbone'), [
    (0.5, 0.5, 'timm:tf_efficientnet_lite0'),
    (IMAGENET_MEAN, IMAGENET_STD, 'timm:mobilenetv4_conv_small'),
    (0.5, 0.5, 'timm:mobilenetv4_conv_small.e3600_r256_in1k'),
    (IMAGENET_MEAN, IMAGENET_STD, 'timm:resnet18d.ra2_in1k'),
    (0.5, 0.5, 'timm:resnet18d.ra4_e3600_r224_in1k'),
    (0, 1, 'timm:mobilevit_xxs'),
    (IMAGENET_MEAN, IMAGENET_STD, 'mit_b0'),
    (IMAGENET_MEAN, IMAGENET_STD, 'resnet50'),
])  # fmt: skip
@torch.no_grad()
def test_normalisation_is_that_of_the_weights_of_the_backbone(mean, std, backbone):
    net = make(backbone=backbone)
    mean, std = (torch.tensor(value, dtype=torch.float64).expand(3) for value in (mean, std))
    assert net.config.image_mean == tuple(mean.tolist())
    assert net.config.image_std == tuple(std.tolist())
    image = torch.rand(1, 3, 64, 96)
    normalised = ((image - mean.view(3, 1, 1)) / std.view(3, 1, 1)).float()
    found, expected = net.encode_independent(image), net.encoder.shallow(normalised)
    torch.testing.assert_close(found.feature, expected.feature)


def test_normalisation_that_is_given_counts():
    one = make(backbone='timm:tf_efficientnet_lite0', image_mean=(0.1, 0.2, 0.3))
    assert (one.config.image_mean, one.config.image_std) == ((0.1, 0.2, 0.3), (0.5,) * 3)
    both = make(backbone='mit_b0', image_mean=(0, 0, 0), image_std=[1, 2, 3])
    assert (both.config.image_mean, both.config.image_std) == ((0.0,) * 3, (1.0, 2.0, 3.0))
    assert torch.equal(both.std.flatten(), torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))


@pytest.mark.parametrize('name', TIMM)
def test_timm_network_is_trainable_end_to_end(name):
    net = make(backbone=f'timm:{name}').train()
    size = 224 if '224' in name else 64
    net(torch.rand(2, 3, size, size), torch.rand(2, 3, size, size)).mean().backward()
    for part in ('encoder', 'fusion', 'head'):
        gradients = [p.grad for p in getattr(net, part).parameters() if p.grad is not None]
        assert any(g.abs().sum() > 0 for g in gradients)


@pytest.mark.parametrize('backbone', ['mit_b0', 'resnet18', 'timm:mobilenetv4_conv_small'])
@pytest.mark.parametrize('size', [(65, 97), (64, 64), (33, 130)])
@torch.no_grad()
def test_odd_sizes_give_logits_of_that_size(backbone, size):
    net = make(backbone=backbone)
    assert net(torch.rand(1, 3, *size), torch.rand(1, 3, *size)).shape == (1, 7, *size)


@torch.no_grad()
def test_forward_is_the_four_stages():
    net = make(backbone='mit_b0')
    reference, image = torch.rand(2, 1, 3, 64, 96)
    common = net.encode_common(net.encode_independent(reference))
    fused = net.fuse(common, net.encode_independent(image))
    assert torch.equal(net(reference, image), net.decode(fused, (64, 96)))


@torch.no_grad()
def test_common_and_fused_features_have_unit_length():
    net = make(backbone='resnet18')
    independent = net.encode_independent(torch.rand(1, 3, 64, 64))
    common = net.encode_common(independent)
    fused = net.fuse(common, independent)
    for feature in (common, fused):
        torch.testing.assert_close(feature.norm(dim=1), torch.ones_like(feature[:, 0]))


@torch.no_grad()
def test_alignment_before_normalisation_is_for_training_only():
    plain, released = (make(backbone='resnet18', align_before_norm=b) for b in (False, True))
    released.load_state_dict(plain.state_dict())
    image = torch.rand(1, 3, 64, 64)
    independent = plain.encode_independent(image)
    common = plain.encode_common(independent)
    assert torch.equal(released.fuse(common, independent), plain.fuse(common, independent))
    plain.training = released.training = True  # their parts stay in eval mode
    assert not torch.equal(released.fuse(common, independent), plain.fuse(common, independent))


def test_merged_all_mlp_fuse_equals_resize_concatenate_convolve():
    fuse = make(backbone='mit_b0').encoder.fuse
    shapes = ((32, 24, 32), (64, 12, 16), (160, 6, 8), (256, 3, 4))
    stages = [torch.rand(1, *shape) for shape in shapes]
    resized = [
        torch.nn.functional.interpolate(linear(x), (24, 32), mode='bilinear')
        for x, linear in zip(stages, fuse.linear, strict=True)
    ]
    expected = fuse.norm(fuse.fuse(torch.cat(resized[::-1], 1))).relu()
    torch.testing.assert_close(fuse(stages), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ('preset', 'encoder_entries', 'decoder_entries', 'millions'),
    [
        ('cityscapes_mit_b1', 192, 14, 13.83),
        ('vspw_mit_b2', 348, 8, 24.83),
        ('vspw_mit_b5', 1068, 8, 82.08),
        ('cityscapes_resnet18', 144, 15, 11.99),
        ('cityscapes_resnet50', 354, 15, 36.54),
        ('cityscapes_resnet101', 660, 15, 55.54),
        ('camvid_resnet50', 354, 15, 36.53),
    ],
)
def test_published_sizes(preset, encoder_entries, decoder_entries, millions):
    with torch.device('meta'):  # shapes only: no time and memory for weights
        net = DCFM(DCFMConfig.preset(preset))
    unused = 2 if '_mit_' in preset else 0  # conv_seg, in the official files only
    parts = [official_key(key, net.config)[0] for key in net.state_dict()]
    assert parts.count('encoder') == encoder_entries - unused
    assert parts.count('decoder') == decoder_entries
    parameters = sum(p.numel() for p in net.parameters()) + unused * 1225.5
    assert parameters / 1e6 == pytest.approx(millions, abs=0.006)


def official(config, dtype=torch.float32):
    states = {'encoder': {}, 'decoder': {}}
    for key, value in DCFM(config).state_dict().items():
        part, name = official_key(key, config)
        linear = '.linear_c' in name and value.ndim == 4
        states[part][f'module.{name}'] = value.flatten(1) if linear else value
    return states['encoder'], states['decoder']


def test_official_weights_with_missing_and_extra_keys_are_listed():
    encoder, decoder = official(DCFMConfig.preset('vspw_mit_b0'))
    del decoder['module.ffm.convblk.conv.bias']
    encoder['module.backbone.surprise'] = torch.zeros(1)
    encoder['module.backbone.decoder.conv_seg.weight'] = torch.zeros(19, 128, 1, 1)
    with pytest.raises(CheckpointError) as caught:
        from_official(encoder, decoder, 'vspw_mit_b0')
    message = str(caught.value)
    assert 'missing in decoder: ffm.convblk.conv.bias' in message
    assert 'not known in encoder: backbone.surprise' in message
    assert 'conv_seg' not in message


def test_official_files_are_read_with_weights_only(tmp_path):
    encoder, decoder = official(DCFMConfig.preset('vspw_mit_b0'))
    torch.save(encoder, tmp_path / 'encoder.pth')
    torch.save(decoder, tmp_path / 'decoder.pth')
    net = load_official(tmp_path / 'encoder.pth', tmp_path / 'decoder.pth', 'vspw_mit_b0')
    assert torch.equal(net.fusion.conv.weight, decoder['module.ffm.convblk.conv.weight'])


def test_official_file_with_code_in_it_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ('unpickled',))

    torch.save({'module.x': Evil()}, tmp_path / 'evil.pth')
    with pytest.raises(CheckpointError, match=r'evil\.pth cannot be read as weights'):
        load_official(tmp_path / 'evil.pth', tmp_path / 'evil.pth', 'vspw_mit_b0')


def test_unknown_preset_names_all():
    with pytest.raises(ValueError, match='camvid_resnet50'):
        DCFMConfig.preset('vspw_mit_b9')


@pytest.mark.parametrize('preset', PRESETS)
def test_presets_name_their_classes(preset):
    config = DCFMConfig.preset(preset)
    assert len(set(config.class_names)) == config.num_classes
    assert len(config.palette) == config.num_classes
    assert 'class 0' not in config.class_names


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'backbone': 'mit_b7'}, 'mit_b0, mit_b1'),
        ({'backbone': 'timm:'}, 'timm:<name>'),
        ({'num_classes': 256}, 'from 2 to 255, got 256'),
        ({'head': 'transformer'}, 'linear, mlp, conv'),
        ({'dropout': 1.0}, r'in \[0, 1\), got 1.0'),
        ({'class_names': ('a',)}, r'one entry per class \(7\), got 1'),
        ({'palette': ((0, 0, 300),) * 7}, 'from 0 to 255'),
        (
            {'image_mean': (0.5, 0.5)},
            r'`image_mean` must be three numbers or empty, got \(0.5, 0.5\)',
        ),
        ({'image_mean': (0, 0, float('nan'))}, r'`image_mean` must be three numbers'),
        ({'image_std': (1, 1, 0)}, r'three numbers above 0 or empty, got \(1, 1, 0\)'),
        ({'image_std': (1, 1, float('inf'))}, r'`image_std` must be three numbers above 0'),
    ],
)
def test_bad_config_is_refused_with_what_is_allowed(options, message):
    with pytest.raises(ValueError, match=message):
        DCFMConfig(**{'backbone': 'mit_b0', 'num_classes': 7, **options})


def test_unknown_timm_network_is_refused():
    with pytest.raises(
        ValueError, match="`backbone` must name a timm network, got 'timm:nothing'"
    ):
        make(backbone='timm:nothing')


def test_unknown_tag_of_a_timm_network_is_refused_with_those_that_there_are():
    match = r"`backbone` must name a timm network, .*has the tags ra2_in1k, ra4.*, not 'nosuch'"
    with pytest.raises(ValueError, match=match):
        make(backbone='timm:resnet18d.nosuch')
    with pytest.raises(ValueError, match=match):
        make(backbone='timm:resnet18d.nosuch', image_mean=(0, 0, 0), image_std=(1, 1, 1))


@pytest.mark.parametrize(
    ('backbone', 'expected'),
    [
        ('mit_b5', (3 + 6 + 40 + 3 - 1) + (4 + 1)),  # its first block is the shallow part
        ('resnet18', 2 + 2 + 2 + 1),  # and the pooling
        ('timm:resnet10t', 3 + (4 + 1)),  # and the fuse: four stages, and the end
        ('timm:mobilenetv4_conv_small', 16 + (4 + 1)),
    ],
)
def test_deep_part_is_a_chain_of_blocks(backbone, expected):
    assert len(make(backbone=backbone).encoder.deep_steps()) == expected


@pytest.mark.parametrize('stage', ['patch', 'block', 'stage'])
@torch.no_grad()
def test_deep_part_can_be_left_and_continued(stage):
    net = make(backbone='mit_b0', independent_stage=stage)
    first, second = (net.encode_independent(torch.rand(1, 3, 64, 96)).state for _ in range(2))
    progress = [net.encoder.start(state) for state in (first, second)]
    for step in net.encoder.deep_steps():  # in turns, as for two cameras
        progress = [step(state) for state in progress]
    for state, begun in zip((first, second), progress, strict=True):
        torch.testing.assert_close(begun.x, net.encoder.deep(state))
