"""Networks that leave a feature out: built, saved, and run by the engine as their stages say."""

from __future__ import annotations

import golden
import numpy as np
import pytest
from settings import schedule
from small_net import make_images
import torch

from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.models.checkpoint import load_checkpoint, save_checkpoint
from dcfm_ros.models.checkpoint_header import CheckpointError
from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.training.ablated_network import (
    SWITCHES,
    AblatedConfig,
    AblatedDCFM,
    build_network,
    fuse,
    load_network,
    make_engine,
    read_network_metadata,
)
from dcfm_ros.training.evaluation.averaged_views import FlippedEngine

pytestmark = pytest.mark.slow

CPU = EngineOptions(device='cpu')


def ablated(switch, **values):
    torch.manual_seed(0)
    config = AblatedConfig(
        backbone='mit_b0', num_classes=11, fuse_channels=32, **{switch: False}, **values
    )
    return build_network(config).eval()


def to_tensor(image):
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


@torch.no_grad()
def stages(net, image, *keyframes):
    """Logits of an image at its size; without keyframes, as one."""
    independent = net.encode_independent(to_tensor(image))
    others = [net.encode_independent(to_tensor(keyframe)) for keyframe in keyframes]
    commons = [net.encode_common(other) for other in others or [independent]]
    fused = [fuse(net, common, independent, is_keyframe=not keyframes) for common in commons]
    return sum(net.classify(feature) for feature in fused) / len(fused)


def test_a_network_that_leaves_nothing_out_is_a_plain_one():
    net = build_network(AblatedConfig(backbone='mit_b0', num_classes=11))
    assert type(net) is DCFM
    assert net.config == DCFM(DCFMConfig(backbone='mit_b0', num_classes=11)).config


@pytest.mark.parametrize('frame', ['key', 'nonkey'])
def test_a_head_that_would_see_nothing_is_refused(frame):
    off = {f'{frame}_uses_common': False, f'{frame}_uses_independent': False}
    with pytest.raises(ValueError, match=f'one of `{frame}_uses_common` and .* must be True'):
        AblatedConfig(backbone='mit_b0', num_classes=11, **off)


@golden.needs_golden
@pytest.mark.parametrize('name', list(golden.PRESETS))
@pytest.mark.parametrize(
    ('flag', 'field'),
    [
        ('kh=False', 'key_uses_common'),
        ('kl=False', 'key_uses_independent'),
        ('nh=False', 'nonkey_uses_common'),
        ('nl=False', 'nonkey_uses_independent'),
    ],
)
@torch.no_grad()
def test_logits_are_those_of_the_official_code(name, flag, field):
    facts = golden.load()['models'][name]
    plain = golden.golden_net(DCFMConfig.preset(golden.PRESETS[name]))
    net = build_network(AblatedConfig(**{**plain.config.to_dict(), field: False}))
    net.double().eval().load_state_dict(plain.state_dict())
    size = tuple(facts['args']['size'])
    independent = [net.encode_independent(f) for f in golden.golden_frames(net, size)[:3]]
    common = [net.encode_common(feature) for feature in independent]
    key = net.decode(fuse(net, common[0], independent[0], is_keyframe=True), size)
    between = sum(
        net.decode(fuse(net, common[i], independent[1], is_keyframe=False), size) for i in (0, 2)
    )
    assert torch.isfinite(between).all()
    expected = facts['ablation'][flag]
    if isinstance(expected, dict):  # the official code fails for one, ours does not
        np.testing.assert_allclose(key.abs().mean(), expected['I0'], rtol=1e-8)
        np.testing.assert_allclose(between.abs().mean(), expected['B1'], rtol=1e-8)


@pytest.mark.parametrize('switch', SWITCHES)
def test_engine_knows_keyframes_from_other_frames(switch):
    net, images = ablated(switch), make_images(7)
    engine = make_engine(net, CPU, schedule(3))
    for index, image in enumerate(images):
        result = engine.step(image, index)
        keyframe = [images[index - index % 3]] * bool(index % 3)
        torch.testing.assert_close(
            torch.from_numpy(result.logits), stages(net, image, *keyframe), atol=1e-5, rtol=1e-5
        )
    offline = make_engine(net, CPU, schedule(3)).segment_clip(images)
    for index, result in enumerate(offline):
        first = index - index % 3
        keyframes = [images[i] for i in (first, first + 3) if i < 7] * bool(index % 3)
        torch.testing.assert_close(
            torch.from_numpy(result.logits),
            stages(net, images[index], *keyframes),
            atol=1e-5,
            rtol=1e-5,
        )


def test_mirrored_images_have_keyframes_of_their_own():
    net, images = ablated('nonkey_uses_common'), make_images(4)
    engine = FlippedEngine(make_engine(net, CPU, schedule(2)))
    for index, image in enumerate(images):
        result = engine.step(image, index)
        logits = []
        for view in (slice(None), slice(None, None, -1)):
            seen = [np.ascontiguousarray(other[:, view]) for other in (image, images[index - 1])]
            logits.append(stages(net, seen[0], *seen[1:] * (index % 2)))
        mean = (logits[0] + logits[1].flip(-1)) / 2
        torch.testing.assert_close(torch.from_numpy(result.logits), mean, atol=1e-5, rtol=1e-5)


def test_ablated_networks_travel_in_the_same_files(tmp_path):
    net = ablated('nonkey_uses_common')
    save_checkpoint(tmp_path / 'net', net, {'image_height': 48})
    loaded = load_network(tmp_path / 'net')
    assert isinstance(loaded, AblatedDCFM)
    assert loaded.config == net.config
    assert read_network_metadata(tmp_path / 'net').image_height == 48
    image, other = torch.rand(2, 1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(loaded(image, other), net(image, other))
    with pytest.raises(CheckpointError, match='for studies only'):
        load_checkpoint(tmp_path / 'net')


def test_ablated_networks_run_in_pytorch_only():
    with pytest.raises(ValueError, match='`backend` must be torch for an ablated network'):
        make_engine(ablated('key_uses_common'), EngineOptions(backend='openvino'), schedule(2))
