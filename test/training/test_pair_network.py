"""Both roles of a frame, of a DCFM and of networks of other libraries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_net import make_net
from source_networks import convert_small
import torch
from torch import Tensor, nn

from dcfm_ros.engine import EngineOptions, ScheduleOptions, SegmentationEngine
from dcfm_ros.models.backbone import Independent
from dcfm_ros.models.checkpoint import load_checkpoint
from dcfm_ros.synthetic.drive import DriveConfig, render_drive
from dcfm_ros.training.module import SymmetricTraining
from dcfm_ros.training.pair_network import Fused, as_pair_network, halves
from dcfm_ros.training.pairs.pair_dataset import TrainingPair

NAMES = ('segformer', 'FPN', 'lraspp')
SIZE = (96, 128)


@pytest.fixture(scope='module')
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each network."""
    folder = tmp_path_factory.mktemp('networks')
    return {name: convert_small(folder, name) for name in NAMES}


def trained_whole(net: nn.Module) -> None:
    """In training mode, without chance."""
    net.train()
    for module in net.modules():
        if isinstance(module, (nn.Dropout, nn.Dropout2d)):
            module.eval()


def as_keyframe(net: nn.Module, image: Tensor) -> Tensor:
    parts = as_pair_network(net)
    independent = parts.encode(image)
    return parts.classify(parts.fuse(parts.deep(independent), independent, is_keyframe=True))


@pytest.mark.parametrize('name', NAMES)
@torch.no_grad()
def test_keyframe_is_the_whole_network_also_while_it_is_trained(paths, name):
    net, image = load_checkpoint(paths[name]), torch.rand(2, 3, *SIZE)
    in_use = net(image)
    torch.testing.assert_close(as_keyframe(net, image), in_use, rtol=1e-4, atol=1e-4)
    trained_whole(net)
    trained = net(image)
    assert (trained - in_use).abs().max() > 0.1 * in_use.abs().max()  # statistics of the batch
    assert torch.equal(as_keyframe(net, image), trained)


@pytest.mark.parametrize('name', NAMES)
@torch.no_grad()
def test_keyframe_has_the_weights_of_now(paths, name):
    net, image = load_checkpoint(paths[name]), torch.rand(1, 3, *SIZE)
    before = as_keyframe(net, image)
    for parameter in net.decoder.parameters():
        parameter.mul_(1.1)
    after = as_keyframe(net, image)
    assert (after - before).abs().max() > 0.05 * before.abs().max()
    torch.testing.assert_close(after, net(image), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('name', NAMES)
@torch.no_grad()
def test_validation_sees_the_logits_of_the_engine(paths, name):
    module = SymmetricTraining(make_net().config)
    module.net = load_checkpoint(paths[name])
    drive = [image for image, _ in render_drive(DriveConfig(num_frames=2, height=96, width=128))]
    how = EngineOptions(device='cpu', backend='torch', precision='fp32')
    engine = SegmentationEngine(module.net, how, ScheduleOptions(keyframe_interval=2))
    seen = [engine.step(image, i * 100_000_000).logits for i, image in enumerate(drive)]
    first, second = (torch.from_numpy(image).permute(2, 0, 1)[None] for image in drive)
    label = torch.zeros(1, *seen[0].shape[-2:], dtype=torch.uint8)  # of the size of the logits
    scale = float(np.abs(seen[0]).max())
    for keyframe, frame, role, expected in (
        (first, first, 'key', seen[0]),
        (first, second, 'nonkey', seen[1]),
    ):
        logits = module.predict_pair(TrainingPair(keyframe, frame, label))[role]
        # The engine samples in steps of 1/32, see test_pair_motion.py.
        atol = {'key': 1e-5, 'nonkey': 1 / 64}[role]
        np.testing.assert_allclose(logits.numpy() / scale, expected / scale, rtol=0, atol=atol)
    assert np.abs(seen[0] - seen[1]).max() > 1 / 60 * scale


@torch.no_grad()
def test_deep_features_are_compared_at_length_1(paths):
    net = load_checkpoint(paths['segformer']).train()
    parts = as_pair_network(net)
    independent = parts.encode(torch.rand(2, 3, *SIZE))
    fused = parts.fuse(parts.deep(independent), independent, is_keyframe=True)
    compared = parts.compared(fused)
    assert [feature.shape[-2:] for feature in compared] == [(12, 16), (6, 8), (3, 4)]
    for feature in compared:
        torch.testing.assert_close(feature.norm(dim=1), torch.ones(()).expand_as(feature[:, 0]))


def test_what_a_dcfm_compares_is_its_fused_feature():
    parts = as_pair_network(make_net())
    with torch.no_grad():
        independent = parts.encode(torch.rand(1, 3, *SIZE))
        fused = parts.fuse(parts.deep(independent), independent, is_keyframe=True)
    assert parts.compared(fused) is fused.features
    assert fused.independent is None


def test_all_that_a_frame_is_classified_by_is_moved():
    one, two, three = torch.ones(3, 1, 1, 1, 1).unbind()
    moved = Fused((one,), Independent(two, two, (three,))).moved(lambda x: 2 * x)
    parts = (*moved.features, *moved.independent[:2], *moved.independent.skips)
    assert [float(part) for part in parts] == [2, 2, 2, 2]


def test_halves_of_a_batch():
    feature, skip = torch.arange(4.0)[:, None], 10 * torch.arange(4.0)[:, None]
    first, second = halves(Independent(feature, feature + 1, (skip,)))
    assert first.state.flatten().tolist() == [1, 2]
    assert second.feature.flatten().tolist() == [2, 3]
    assert second.skips[0].flatten().tolist() == [20, 30]
