"""The parts of a decoder give what the decoder gives, and frames do no more than they must."""

from __future__ import annotations

from collections.abc import Callable
import copy
from typing import Any

import pytest
from source_networks import make_smp
import torch
from torch import Tensor, nn
import torch.nn.functional as F

from dcfm_ros.models.split_decoder import SplitDecoder

SIZES = {0: (3, 32, 48), 1: (4, 16, 24), 2: (6, 8, 12)}


class Decoder(nn.Module):
    """Some layers, and what is done with them and three features."""

    def __init__(self, run: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.run = run

    def forward(self, features: list[Tensor]) -> Tensor:
        return self.run(self.layers, *features)


def features(batch: int = 2) -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(batch, *size, dtype=torch.float64) for size in SIZES.values()]


def randomised(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.5, 0.5)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
        if isinstance(layer, nn.BatchNorm2d | nn.Conv2d) and layer.bias is not None:
            nn.init.uniform_(layer.bias, -0.5, 0.5)
    return module.double().eval()


def up(x: Tensor, like: Tensor, **how: Any) -> Tensor:
    return F.interpolate(x, like.shape[2:], **how)


def joined(net: Any, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return net['norm'](net['conv'](torch.cat([up(c, a), a, up(b, a)], 1))).relu()


def added(net: Any, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return net['conv'](up(net['deep'](c), a) + net['lateral'](a)).relu()


def separable(net: Any, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return net['point'](net['depth'](torch.cat([up(b, a, mode='bilinear'), a], dim=1))).relu()


def stacked(net: Any, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    parts = [up(net['deep'](c), a), net['lateral'](a), up(net['middle'](b), a)]
    return net['conv'](torch.stack(parts).sum(dim=0)).relu()


def in_place(net: Any, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    x = up(net['deep'](c), a)
    x += net['lateral'](a)
    return F.relu(x, inplace=True) + up(net['deep'](c), a)


def by_sizes(net: Any, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    height, width = (2 * size for size in b.shape[2:])
    return F.interpolate(net['deep'](c), (height, width)) * net['lateral'](a).sigmoid()


def without_skips(net: Any, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return up(net['deep'](c).relu(), a, mode='bilinear', align_corners=True)


CASES = {
    'joined': Decoder(joined, conv=nn.Conv2d(13, 5, 3, padding=1), norm=nn.BatchNorm2d(5)),
    'added': Decoder(
        added,
        deep=nn.Conv2d(6, 9, 1),
        lateral=nn.Conv2d(3, 9, 1),
        conv=nn.Conv2d(9, 5, 3, padding=1),
    ),
    'separable': Decoder(
        separable,
        depth=nn.Conv2d(7, 7, 3, padding=1, groups=7),
        point=nn.Conv2d(7, 5, 1),
    ),
    'stacked': Decoder(
        stacked,
        deep=nn.Conv2d(6, 9, 1),
        middle=nn.Conv2d(4, 9, 1),
        lateral=nn.Conv2d(3, 9, 1),
        conv=nn.Conv2d(9, 5, 3, padding=1, bias=False),
    ),
    'in_place': Decoder(in_place, deep=nn.Conv2d(6, 5, 1), lateral=nn.Conv2d(3, 5, 1)),
    'by_sizes': Decoder(by_sizes, deep=nn.Conv2d(6, 5, 1), lateral=nn.Conv2d(3, 5, 1)),
    'without_skips': Decoder(without_skips, deep=nn.Conv2d(6, 5, 1)),
}


def assert_whole(split: SplitDecoder, given: list[Tensor], num_fresh: int) -> tuple[Tensor, ...]:
    """The parts give what the decoder gives; returns what is cached."""
    fresh, deep = given[:num_fresh], given[num_fresh:]
    with torch.no_grad():
        expected = split.decoder([feature.clone() for feature in given])
        cached = split.keyframe(fresh, deep)
        kept = [feature.clone() for feature in cached]
        found = split.frame(fresh, cached)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    for feature, before in zip(cached, kept, strict=True):
        assert torch.equal(feature, before)  # a frame leaves them to the next one
    return cached


@pytest.mark.parametrize('num_fresh', [0, 1, 2])
@pytest.mark.parametrize('name', CASES)
def test_parts_give_what_the_decoder_gives(name: str, num_fresh: int) -> None:
    split = SplitDecoder(randomised(copy.deepcopy(CASES[name])), features(), num_fresh)
    assert split.problem == ''
    assert_whole(split, features(), num_fresh)
    odd = [feature[..., :-1, :-1] for feature in features(1)]
    if name != 'by_sizes':  # which demands even ones
        assert_whole(split, odd, num_fresh)


@pytest.mark.parametrize(
    ('name', 'shapes'),
    [
        # A convolution of a concatenation is a sum; both deep parts are one of its terms.
        ('joined', [(5, 32, 48)]),
        ('added', [(5, 32, 48)]),
        ('separable', [(5, 32, 48)]),
        ('stacked', [(5, 32, 48)]),
        ('by_sizes', [(5, 32, 48)]),
        ('without_skips', [(5, 32, 48)]),
    ],
)
def test_what_is_cached(name: str, shapes: list[tuple[int, ...]]) -> None:
    split = SplitDecoder(randomised(copy.deepcopy(CASES[name])), features(), 1)
    cached = assert_whole(split, features(), 1)
    assert [tuple(feature.shape[1:]) for feature in cached] == shapes


def test_keyframe_looks_at_no_content_of_fresh_features() -> None:
    for decoder in CASES.values():
        split = SplitDecoder(randomised(copy.deepcopy(decoder)), features(), 1)
        fine, *deep = features()
        nothing = torch.full_like(fine, float('nan'))
        for feature in split.keyframe([nothing], deep):
            assert feature.isfinite().all()


def test_weights_are_those_of_the_decoder() -> None:
    split = SplitDecoder(randomised(copy.deepcopy(CASES['added'])), features(), 1)
    keys = [f'decoder.{key}' for key in split.decoder.state_dict()]
    assert list(split.state_dict()) == keys
    split.load_state_dict({key: value + 0.1 for key, value in split.state_dict().items()})
    assert_whole(split, features(), 1)
    other = copy.deepcopy(split)
    before = split.decoder.layers['conv'].weight.clone()
    other.load_state_dict({key: 2 * value for key, value in other.state_dict().items()})
    assert torch.equal(split.decoder.layers['conv'].weight, before)
    assert_whole(other, features(), 1)


def test_what_cannot_be_traced_runs_whole() -> None:
    def choosy(net: Any, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return net['deep'](c) if c.mean() > -99 else c

    decoder = randomised(Decoder(choosy, deep=nn.Conv2d(6, 5, 1)))
    split = SplitDecoder(decoder, features(), 1)
    assert 'control flow' in split.problem
    cached = assert_whole(split, features(), 1)
    assert len(cached) == 2


def test_parts_that_compute_something_else_are_not_used() -> None:
    def aliased(net: Any, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        x = net['deep'](c)
        y = up(x, a) + a[:, :1]
        x.relu_()  # too late for y, and traced as if it were an operation of its own
        return y + up(x, a)

    decoder = randomised(Decoder(aliased, deep=nn.Conv2d(6, 5, 1)))
    assert_whole(SplitDecoder(decoder, features(), 1), features(), 1)


@pytest.mark.slow
@pytest.mark.parametrize('num_fresh', [2, 3, 4])
@pytest.mark.parametrize(
    'name',
    [
        'Unet',
        'UnetPlusPlus',
        'MAnet',
        'Linknet',
        'FPN',
        'DeepLabV3Plus',
        'PAN',
        'UPerNet',
        'Segformer',
    ],
)
def test_decoders_of_smp_are_split(name: str, num_fresh: int) -> None:
    net = randomised(make_smp(name, 'resnet18'))

    class Rest(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.decoder, self.head = net.decoder, net.segmentation_head

        def forward(self, given: list[Tensor]) -> Tensor:
            return self.head(self.decoder(given))

    with torch.no_grad():
        given = net.encoder(torch.randn(1, 3, 128, 160, dtype=torch.float64))
    split = SplitDecoder(Rest(), given, num_fresh)
    assert split.problem == ''
    assert_whole(split, given, num_fresh)
