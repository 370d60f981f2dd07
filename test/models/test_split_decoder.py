from __future__ import annotations

import copy
import io
import operator

import onnx
import onnxruntime
import pytest
from source_networks import settle
import torch
from torch import nn
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.segmentation.deeplabv3 import DeepLabHead
from torchvision.models.segmentation.fcn import FCNHead
from torchvision.models.segmentation.lraspp import LRASPPHead

from dcfm_ros.models.split_decoder import split_decoder

PYRAMID = [(32, 48), (16, 24), (8, 12), (4, 6)]
ODD = [(31, 45), (16, 23), (8, 12), (4, 6)]
CHANNELS = (6, 8, 10, 12)


def make_features(channels, sizes, batch=1):
    return [
        torch.randn(batch, count, *size, dtype=torch.float64)
        for count, size in zip(channels, sizes, strict=True)
    ]


def work(function):
    """Multiplications of a call's convolutions and matrix products."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        function()
    return counter.get_total_flops() // 2


@torch.no_grad()
def check(decoder, features, num_fresh, *others):
    """Split by `features`, compare on them and on others; the cached tensors of the last."""
    split = split_decoder(settle(decoder), features, num_fresh)
    assert split.problem == ''
    for own in (features, *others):
        # The keyframe's part may look at shapes of fresh features, not into them.
        blank = [torch.full_like(feature, torch.nan) for feature in own[:num_fresh]]
        cached = split.keyframe(blank, own[num_fresh:])
        kept = [feature.clone() for feature in own[:num_fresh]]
        found = split.frame(own[:num_fresh], cached)
        for before, after in zip(kept, own, strict=False):
            assert torch.equal(before, after), 'a feature was written to'
        expected = decoder([feature.clone() for feature in own])
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    return split, cached, own


@torch.no_grad()
def frame_work(split, cached, features):
    return work(lambda: split.frame(features[: split.num_fresh], cached))


class Layers(nn.Module):
    """Has convolutions `a`, `b` and so on, a norm each, and what a test does with them."""

    def __init__(self, forward, **convolutions):
        super().__init__()
        for name, (inputs, outputs, kernel, *options) in convolutions.items():
            groups = options[0] if options else 1
            layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups)
            setattr(self, name, layer)
            setattr(self, f'norm_{name}', nn.BatchNorm2d(outputs))
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout2d(inplace=True)
        self.up = nn.UpsamplingBilinear2d(scale_factor=2)
        self.do = forward

    def forward(self, features):
        return self.do(self, features)


def up(x, y, mode='bilinear'):
    return F.interpolate(x, size=y.shape[2:], mode=mode)


def empty_size(x):
    batch, _, height, width = x.shape
    return batch, 0, height, width


def mean(x):
    return x.mean((2, 3), keepdim=True)


def normalise_pixels(x):
    return F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],)).permute(0, 3, 1, 2)


def tokens(x, layer):
    batch, _, height, width = x.shape
    y = layer(x.flatten(2).transpose(1, 2))
    return y.transpose(1, 2).reshape(batch, -1, height, width)


RULES = {
    'a sum': (
        lambda m, f: m.a(f[0]) + m.b(up(f[1], f[0])),
        {'a': (6, 5, 3), 'b': (8, 5, 3)},
    ),
    'a sum that is rectified': (
        lambda m, f: m.b(m.relu(m.norm_a(m.a(f[0])) + up(m.c(f[1]), f[0]))),
        {'a': (6, 5, 1), 'b': (5, 4, 3), 'c': (8, 5, 1)},
    ),
    'a concatenation': (
        lambda m, f: m.b(m.relu(m.norm_a(m.a(torch.cat([up(f[1], f[0]), f[0], f[0]], dim=1))))),
        {'a': (20, 7, 3), 'b': (7, 4, 1)},
    ),
    'a concatenation of concatenations': (
        lambda m, f: m.a(torch.cat([torch.cat([f[0], up(f[1], f[0])], 1), up(f[2], f[0])], -3)),
        {'a': (24, 7, 3)},
    ),
    'a concatenation that is rectified': (
        lambda m, f: m.b(m.relu(m.norm_a(torch.cat([m.c(f[0]), up(f[1], f[0])], 1)))),
        {'a': (13, 13, 1), 'b': (13, 4, 3), 'c': (6, 5, 1)},
    ),
    'a depthwise convolution of a concatenation': (
        lambda m, f: m.b(m.a(torch.cat([up(f[1], f[0]), f[0]], 1))),
        {'a': (14, 28, 3, 14), 'b': (28, 4, 1)},
    ),
    'groups that lie within the parts': (
        lambda m, f: m.a(torch.cat([up(f[1], f[0]), f[0]], 1)),
        {'a': (14, 14, 3, 7)},
    ),
    'groups across the parts': (
        lambda m, f: m.a(torch.cat([f[0], up(f[3], f[0])], 1)),
        {'a': (18, 8, 3, 2)},
    ),
    'a lateral convolution': (
        lambda m, f: m.c(up(m.b(f[1]), f[0], 'nearest') + m.a(f[0])),
        {'a': (6, 24, 1), 'b': (8, 24, 1), 'c': (24, 16, 3)},
    ),
    'two lateral convolutions': (
        lambda m, f: m.d(up(up(m.c(f[2]), f[1]) + m.b(f[1]), f[0]) + m.a(f[0])),
        {'a': (6, 24, 1), 'b': (8, 24, 1), 'c': (10, 24, 1), 'd': (24, 16, 3)},
    ),
    'a resized sum that is rectified': (
        lambda m, f: m.relu(up(m.b(f[1]) + m.a(m.dropout(up(f[2], f[1]))), f[0])),
        {'a': (10, 4, 3), 'b': (8, 4, 3)},
    ),
    'a stack that is summed': (
        lambda m, f: m.a(torch.stack([up(f[1], f[0]), m.b(f[0])]).sum(dim=0)),
        {'a': (8, 4, 3), 'b': (6, 8, 3)},
    ),
    'the sum of Python': (
        lambda m, f: m.a(sum([m.b(f[0]), up(f[1], f[0])])),
        {'a': (8, 4, 3), 'b': (6, 8, 3)},
    ),
    'tokens': (
        lambda m, f: m.a(torch.cat([up(tokens(f[1], m.lin), f[0]), tokens(f[0], m.linear)], 1)),
        {'a': (32, 4, 1)},
    ),
    'a gate': (
        lambda m, f: m.a(f[0] * torch.sigmoid(mean(m.b(f[0])) + up(m.c(f[1]), f[0]))),
        {'a': (6, 4, 3), 'b': (6, 6, 1), 'c': (8, 6, 1)},
    ),
    'a sum of different shapes': (
        lambda m, f: m.a(m.b(f[0]) + F.adaptive_avg_pool2d(f[1], 1)),
        {'a': (8, 4, 3), 'b': (6, 8, 1)},
    ),
    'an activation of a feature in place': (
        lambda m, f: m.a(torch.cat([m.relu(f[0]), m.relu(up(f[1], f[0]))], 1)),
        {'a': (14, 4, 3)},
    ),
    'what was there before an activation in place': (
        lambda m, f: [y := m.b(f[0]), m.relu(y), m.a(y) + up(f[1], f[0])][-1],
        {'a': (8, 8, 3), 'b': (6, 8, 3)},
    ),
    'channels and sizes in numbers': (
        lambda m, f: m.a(up(f[1], f[0])[:, : f[0].size(1)] + f[0]) if f[1].shape[1] > 6 else f[0],
        {'a': (6, 4, 1)},
    ),
    'a size of a result': (
        lambda m, f: m.a(F.interpolate(f[1], size=[x // 2 for x in m.b(f[0]).shape[2:]])),
        {'a': (8, 4, 3), 'b': (6, 6, 3)},
    ),
    'channels last': (
        lambda m, f: m.a(normalise_pixels(f[0]) + up(m.b(f[1]), normalise_pixels(f[0]))),
        {'a': (6, 4, 3), 'b': (8, 6, 1)},
    ),
    'a sum in place': (
        lambda m, f: m.relu(operator.iadd(up(m.a(f[1]), f[0]), m.b(f[0]))) + up(m.a(f[1]), f[0]),
        {'a': (8, 5, 1), 'b': (6, 5, 1)},
    ),
    'no skips': (
        lambda m, f: up(m.relu(m.a(f[3])), f[0]),
        {'a': (12, 5, 3)},
    ),
    'an empty feature': (
        lambda m, f: m.a(torch.cat([up(f[1], f[0]), m.b.weight.new_empty(empty_size(f[0]))], 1)),
        {'a': (8, 4, 3), 'b': (6, 6, 1)},
    ),
    'a list that is written to': (
        lambda m, f: [f.__setitem__(0, m.b(f[0])), m.a(f[0] + up(f[1], f[0]))][-1],
        {'a': (8, 4, 3), 'b': (6, 8, 1)},
    ),
}


def by_rule(name):
    torch.manual_seed(0)
    forward, convolutions = RULES[name]
    module = Layers(forward, **convolutions)
    if name == 'tokens':
        module.lin, module.linear = nn.Linear(8, 16), nn.Linear(6, 16)
    return module


@pytest.mark.parametrize('num_fresh', [0, 1, 2])
@pytest.mark.parametrize('name', RULES)
def test_both_parts_are_the_decoder(name, num_fresh):
    odd = make_features(CHANNELS, ODD, batch=2)
    check(by_rule(name), make_features(CHANNELS, PYRAMID), num_fresh, odd)


def test_keyframe_convolves_its_part_of_a_concatenation():
    split, cached, own = check(by_rule('a concatenation'), make_features(CHANNELS, PYRAMID), 1)
    assert [x.shape[1] for x in cached] == [7]
    assert frame_work(split, cached, own) == 32 * 48 * 7 * (12 * 9 + 4)


def test_convolution_after_a_lateral_one_sees_its_inputs():
    split, cached, own = check(
        by_rule('a lateral convolution'), make_features(CHANNELS, PYRAMID), 1
    )
    weights = 16 * 9 * 24 * 6
    assert frame_work(split, cached, own) == 32 * 48 * 16 * 9 * 6 + weights
    assert [x.shape[1] for x in cached] == [16]


def test_lateral_convolutions_of_two_grids_become_one():
    name = 'two lateral convolutions'
    split, cached, own = check(by_rule(name), make_features(CHANNELS, PYRAMID), 2)
    weights = 16 * 9 * 24 * (6 + 8)
    assert frame_work(split, cached, own) == 32 * 48 * 16 * 9 * (6 + 8) + weights


def test_linear_layers_of_tokens_become_one():
    split, cached, own = check(by_rule('tokens'), make_features(CHANNELS, PYRAMID), 1)
    assert frame_work(split, cached, own) == 32 * 48 * 4 * 6 + 4 * 16 * 6
    assert [x.shape[1] for x in cached] == [4]


def test_smaller_map_is_kept_where_resizing_it_saves_nothing():
    name = 'a resized sum that is rectified'
    _, cached, _ = check(by_rule(name), make_features(CHANNELS, PYRAMID), 2)
    assert [x.shape[1:] for x in cached] == [(4, 16, 24)]


def test_convolution_of_a_sum_is_shared_only_if_less_is_kept():
    shapes = {}
    for outputs in (4, 16):
        decoder = Layers(
            lambda m, f: m.a(m.b(f[0]) + up(f[1], f[0])), a=(8, outputs, 3), b=(6, 8, 3)
        )
        _, (cached,), _ = check(decoder, make_features(CHANNELS, PYRAMID), 1)
        shapes[outputs] = cached.shape[1]
    assert shapes == {4: 4, 16: 8}


def test_what_uses_no_fresh_feature_runs_on_the_keyframe_alone():
    decoder = Layers(lambda m, f: m.a(f[1]), a=(8, 4, 3))
    split, (cached,), own = check(decoder, make_features(CHANNELS, PYRAMID), 1)
    assert split.frame(own[:1], [cached]) is cached


def test_what_uses_fresh_features_only_keeps_nothing():
    _, cached, _ = check(by_rule('a lateral convolution'), make_features(CHANNELS, PYRAMID), 4)
    assert cached == ()


def test_same_tensor_is_kept_once():
    def forward(m, f):
        deep = m.relu(up(f[1], f[0]))
        return m.a(f[0] * deep[:, :6]) + m.b(f[0] * deep[:, :6])

    decoder = Layers(forward, a=(6, 4, 3), b=(6, 4, 3))
    _, cached, _ = check(decoder, make_features(CHANNELS, PYRAMID), 1)
    assert len(cached) == 1


# Options that make the decoder small.
SMP = {
    'Unet': {'decoder_channels': (32, 16, 16, 8, 8)},
    'UnetPlusPlus': {'decoder_channels': (32, 16, 16, 8, 8)},
    'MAnet': {'decoder_channels': (32, 16, 16, 8, 8), 'decoder_pab_channels': 16},
    'FPN': {'decoder_pyramid_channels': 64, 'decoder_segmentation_channels': 32},
    'Linknet': {},
    'PAN': {},
    'PSPNet': {'psp_out_channels': 32},
    'DeepLabV3': {'decoder_channels': 16},
    'DeepLabV3Plus': {'decoder_channels': 16},
    'UPerNet': {'decoder_channels': 16},
    'Segformer': {'decoder_segmentation_channels': 32},
}
TAKES_ODD_SIZES = {'Unet', 'UPerNet', 'Segformer', 'DeepLabV3'}
"""The others double a size and add what must be as large."""
FRAME_SHARE = {
    'Unet': 0.84,
    'UnetPlusPlus': 0.88,
    'MAnet': 0.86,
    'FPN': 0.24,
    'Linknet': 0.89,
    'PAN': 0.72,
    'PSPNet': 0,
    'DeepLabV3': 0,
    'DeepLabV3Plus': 0.74,
    'UPerNet': 0.39,
    'Segformer': 0.36,
}
"""Of the work of these small decoders with three fresh features, as it was, rounded up."""


class Whole(nn.Module):
    def __init__(self, *parts):
        super().__init__()
        self.parts = nn.Sequential(*parts)

    def forward(self, features):
        return self.parts(features)


def make_smp(name):
    smp = pytest.importorskip('segmentation_models_pytorch')
    torch.manual_seed(0)
    net = getattr(smp, name)('tu-test_efficientnet', encoder_weights=None, classes=5, **SMP[name])
    return Whole(net.decoder, net.segmentation_head), net.encoder.double().eval()


@pytest.mark.parametrize('name', SMP)
@torch.no_grad()
def test_decoders_of_segmentation_models_pytorch(name):
    decoder, encoder = make_smp(name)
    pyramids = [encoder(torch.randn(1, 3, *size).double()) for size in ((128, 160), (160, 128))]
    if name in TAKES_ODD_SIZES:
        sizes = [x.shape[2:] for x in pyramids[0]]
        sizes = [(height - 1 if height > 8 else height, width + 1) for height, width in sizes]
        pyramids.append(make_features([x.shape[1] for x in pyramids[0]], sizes, batch=2))
    for num_fresh in (2, 3):
        split, cached, own = check(decoder, pyramids[0], num_fresh, *pyramids[1:])
    whole = work(lambda: decoder(list(own)))
    assert frame_work(split, cached, own) <= FRAME_SHARE[name] * whole


class FeatureDict(nn.Module):
    def __init__(self, head):
        super().__init__()
        self.head = head

    def forward(self, features):
        return self.head({'low': features[0], 'high': features[1]})


class Last(FeatureDict):
    def forward(self, features):
        return self.head(features[-1])


@pytest.mark.parametrize(
    'decoder',
    [
        FeatureDict(LRASPPHead(6, 8, 5, 16)),
        Last(DeepLabHead(8, 5)),
        Last(FCNHead(8, 5)),
    ],
    ids=['lraspp', 'deeplabv3', 'fcn'],
)
def test_heads_of_torchvision(decoder):
    features, odd = (make_features(CHANNELS[:2], sizes[:2], 2) for sizes in (PYRAMID, ODD))
    split, cached, own = check(decoder, features, 1, odd)
    assert [x.shape[1] for x in cached] == [5]
    assert frame_work(split, cached, own) <= 31 * 45 * 2 * 5 * 6


@pytest.fixture(scope='module')
def segformer():
    configuration = pytest.importorskip('transformers').SegformerConfig(
        hidden_sizes=list(CHANNELS), decoder_hidden_size=64, num_labels=5
    )
    from transformers.models.segformer.modeling_segformer import SegformerDecodeHead

    torch.manual_seed(0)
    head = SegformerDecodeHead(configuration)
    nn.init.normal_(head.classifier.bias)
    return Whole(head)


@pytest.mark.parametrize('num_fresh', range(5))
def test_head_of_segformer(segformer, num_fresh):
    odd = make_features(CHANNELS, ODD, batch=2)
    split, cached, own = check(segformer, make_features(CHANNELS, PYRAMID), num_fresh, odd)
    assert [x.shape[1] for x in cached] == [[5], [64], [64], [64], []][num_fresh]
    # Neither 64 x 64 convolutions of the maps nor the upsampled projections are left.
    pixels = [2 * height * width for height, width in ODD[:num_fresh]]
    fused = sum(x * 64 * c for x, c in zip(pixels, CHANNELS, strict=False))
    weights = 64 * 64 * sum(CHANNELS[:num_fresh])
    classifier = 2 * 31 * 45 * 64 * 5 if num_fresh else 0
    assert frame_work(split, cached, own) <= fused + weights + classifier + 4 * 64 * 64


def small_split(num_fresh=1):
    torch.manual_seed(0)
    decoder = settle(by_rule('a sum that is rectified'))
    features = make_features(CHANNELS, PYRAMID)
    return split_decoder(decoder, features, num_fresh), decoder, features


def run(split, features):
    fresh, deep = features[: split.num_fresh], features[split.num_fresh :]
    return split.frame(fresh, split.keyframe(fresh, deep))


@torch.no_grad()
def test_weights_are_those_of_the_decoder_and_may_change():
    split, decoder, features = small_split()
    state = split.state_dict()
    assert list(state) == [f'decoder.{key}' for key in decoder.state_dict()]
    other = {
        key: torch.rand_like(value) + 0.5 if value.is_floating_point() else value
        for key, value in state.items()
    }
    before = run(split, features)
    split.load_state_dict(other)
    after = run(split, features)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, decoder(list(features)))


@torch.no_grad()
def test_copy_has_weights_of_its_own():
    split, _, features = small_split()
    twin, before = copy.deepcopy(split), run(split, features)
    nn.init.zeros_(split.decoder.b.weight)
    assert torch.equal(run(twin, features), before)
    assert not torch.equal(run(split, features), before)


@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float32, 1e-5), (torch.float16, 2e-2)])
@torch.inference_mode()
def test_precision_may_change(dtype, tolerance):
    split, _, features = small_split()
    before = run(split, features)
    after = run(split.to(dtype), [feature.to(dtype) for feature in features])
    assert after.dtype == dtype
    torch.testing.assert_close(after.double(), before, rtol=tolerance, atol=tolerance)


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(14, 4, 1)

    def forward(self, features):
        x = self.conv(torch.cat([features[0], up(features[1], features[0])], 1))
        return x if x.mean() > 0 else -x


@torch.no_grad()
def test_decoder_that_branches_on_content_is_not_split():
    decoder, features = Branches().double(), make_features(CHANNELS, PYRAMID)
    split = split_decoder(decoder, features, 1)
    assert split.problem.startswith('TraceError: ')
    assert split.keyframe(features[:1], features[1:]) == tuple(features[1:])
    assert torch.equal(run(split, features), decoder(features))


class AliasedSum(nn.Module):
    """Symbolic tracing takes `+=` for a sum of its own."""

    def forward(self, features):
        x = features[0][:, :4] * 2
        y = x
        x += up(features[1], features[0])[:, :4]
        return x + y


@torch.no_grad()
def test_decoder_that_tracing_misunderstands_is_not_split():
    features = make_features(CHANNELS, PYRAMID)
    split = split_decoder(AliasedSum(), features, 1)
    assert 'other logits' in split.problem
    assert torch.equal(run(split, features), AliasedSum()(features))


def test_decoder_without_a_result_of_its_own_is_not_split():
    features = make_features(CHANNELS, PYRAMID)
    with pytest.raises(TypeError, match='must return a tensor, not dict'):
        split_decoder(Layers(lambda m, f: {'out': m.a(f[0])}, a=(6, 4, 1)).double(), features, 1)


def test_wrong_features_are_told():
    split, decoder, features = small_split()
    with pytest.raises(ValueError, match='num_fresh must be 0 to 4, not 5'):
        split_decoder(decoder, features, 5)
    with pytest.raises(ValueError, match='there must be 1 fresh features, not 2'):
        split.keyframe(features[:2], features[2:])
    with pytest.raises(ValueError, match='there must be 3 deep features, not 2'):
        split.keyframe(features[:1], features[2:])
    with pytest.raises(RuntimeError, match='expected input'):
        split_decoder(decoder, make_features((7, *CHANNELS[1:]), PYRAMID), 1)


class Keyframe(nn.Module):
    def __init__(self, split):
        super().__init__()
        self.split = split

    def forward(self, *features):
        count = self.split.num_fresh
        return self.split.keyframe(features[:count], features[count:])


class Frame(Keyframe):
    def forward(self, *features):
        count = self.split.num_fresh
        return self.split.frame(features[:count], features[count:])


def export(module, inputs, **options):
    file, names = io.BytesIO(), [f'input_{i}' for i in range(len(inputs))]
    axes = {name: {2: f'{name}_h', 3: f'{name}_w'} for name in names}
    torch.onnx.export(
        module.eval(),
        tuple(inputs),
        file,
        dynamo=False,
        opset_version=17,
        input_names=names,
        dynamic_axes=axes,
        **options,
    )
    return file.getvalue()


def run_onnx(model, inputs):
    session = onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider'])
    found = {f'input_{i}': x.numpy() for i, x in enumerate(inputs)}
    names = {x.name for x in session.get_inputs()}
    found = {name: x for name, x in found.items() if name in names}
    return [torch.from_numpy(x) for x in session.run(None, found)]


@pytest.mark.parametrize(
    ('name', 'num_fresh'),
    [('two lateral convolutions', 2), ('a concatenation', 1), ('tokens', 1)],
)
@pytest.mark.filterwarnings('ignore')
@torch.no_grad()
def test_both_parts_export_to_onnx_at_any_size(name, num_fresh):
    decoder = settle(by_rule(name)).float()
    features, odd = (
        [x.float() for x in make_features(CHANNELS, sizes)] for sizes in (PYRAMID, ODD)
    )
    split = split_decoder(decoder, features, num_fresh)
    fresh, deep = features[:num_fresh], features[num_fresh:]
    keyframe = export(Keyframe(split), features)
    frame = export(Frame(split), [*fresh, *split.keyframe(fresh, deep)])
    found = run_onnx(frame, [*odd[:num_fresh], *run_onnx(keyframe, odd)])[0]
    torch.testing.assert_close(found, decoder(odd), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings('ignore')
@torch.no_grad()
def test_exported_weights_have_the_names_of_the_state_dict():
    split, _, features = small_split()
    split.float()
    features = [x.float() for x in features]
    cached = split.keyframe(features[:1], features[1:])
    graph = onnx.load_from_string(
        export(
            Frame(split),
            [*features[:1], *cached],
            export_params=False,
            do_constant_folding=False,
            keep_initializers_as_inputs=True,
        )
    ).graph
    weights = {x.name for x in graph.input} - {'input_0', 'input_1'}
    assert weights
    assert weights < {f'split.{key}' for key in split.state_dict()}
