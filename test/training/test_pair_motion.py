"""Features of reference frames move in a training as in the engine."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import cv2
from engines import make_engine
import numpy as np
import pytest
from small_net import make_net
import torch
from torch import Tensor
import torch.nn.functional as F

from dcfm_ros.backends.torch_backend import TorchBackend
from dcfm_ros.keyframes.motion import OpticalFlow
from dcfm_ros.models.checkpoint import load_checkpoint
from dcfm_ros.models.checkpoint_header import find_checkpoint
from dcfm_ros.synthetic.drive import DriveConfig, render_drive
from dcfm_ros.training.losses import LossOptions, SymmetricLoss
from dcfm_ros.training.module import SymmetricTraining
from dcfm_ros.training.pair_motion import PairMotion
from dcfm_ros.training.pairs.pair_dataset import TrainingPair

HEIGHT, WIDTH = 128, 160


def textured(height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 4), None, 0, 255, cv2.NORM_MINMAX)


def views(*columns: int) -> list[np.ndarray]:
    """A scene seen from so many columns to the right."""
    scene = textured(HEIGHT, WIDTH + max(columns))
    return [np.ascontiguousarray(scene[:, left : left + WIDTH]) for left in columns]


def tensor(*images: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


@cache
def drive_pair() -> TrainingPair:
    """A batch of one pair: two frames of a drive, a third of a second apart."""
    drive = list(render_drive(DriveConfig(num_frames=6, height=160, width=208, seed=3)))
    label = torch.from_numpy(drive[5][1].copy())[None]
    return TrainingPair(tensor(drive[0][0]), tensor(drive[5][0]), label)


def make_module(motion: str, loss: LossOptions | None = None) -> SymmetricTraining:
    """With the packaged weights, in eval mode."""
    net = load_checkpoint(find_checkpoint('default'))
    module = SymmetricTraining(replace(net.config, motion=motion), loss)
    module.net.load_state_dict(net.state_dict())
    return module.eval()


def test_every_pair_of_a_batch_moves_as_in_the_engine() -> None:
    then, right, left = views(16, 30, 5)
    feature = F.avg_pool2d(torch.rand(2, 5, 34, 42), 3, 1)
    moved = PairMotion(tensor(then, then), tensor(right, left)).align(feature)
    flow, backend = OpticalFlow(), TorchBackend(make_net(), 'cpu')
    for number, now in enumerate((right, left)):
        before = feature[number : number + 1]
        at = flow.places(flow.picture(then), flow.picture(now), backend.grid(before))
        (expected,) = backend.warp((before,), at)
        assert (expected - before).abs().max() > 0.3
        # The engine samples in steps of 1/32 between neighbours, which differ by less than .5.
        torch.testing.assert_close(moved[number : number + 1], expected, atol=1 / 64, rtol=0)


def test_validation_sees_the_masks_of_the_engine() -> None:
    pair = drive_pair()
    images = [image[0].permute(1, 2, 0).numpy() for image in (pair.reference, pair.labelled)]
    masks = {}
    for motion in ('none', 'flow'):
        module = make_module(motion)
        engine = make_engine(module.net, keyframe_interval=2, mask_blending=0.0)
        _, masks[motion] = (engine.step(image, n).mask for n, image in enumerate(images))
        with torch.inference_mode():
            logits = module.predict_pair(pair)
        assert (logits['nonkey'][0].argmax(0).numpy() != masks[motion]).mean() < 0.002
    assert (masks['none'] != masks['flow']).mean() > 0.02


def losses(motion: str) -> SymmetricLoss:
    torch.manual_seed(0)
    with torch.inference_mode():
        return make_module(motion).loss(drive_pair())


def test_frames_are_compared_where_their_content_is() -> None:
    at_rest, moved = losses('none'), losses('flow')
    assert moved.agreement > at_rest.agreement + 0.01
    assert moved.consistency < 0.95 * at_rest.consistency
    assert moved.nonkey < at_rest.nonkey - 0.02
    assert moved.keyframe == at_rest.keyframe


@pytest.mark.parametrize('term', ['nonkey', 'consistency'])
def test_reference_is_trained_through_the_motion(term: str) -> None:
    weights = {'keyframe': 0.0, 'nonkey': 0.0, 'consistency': 0.0, term: 1.0}
    module = make_module('flow', LossOptions(**weights))
    commons: list[Tensor] = []
    encode = module.net.encode_common

    def encode_and_keep(*args: object) -> Tensor:
        commons.append(encode(*args))
        commons[-1].retain_grad()
        return commons[-1]

    module.net.encode_common = encode_and_keep  # type: ignore[method-assign]
    module.loss(drive_pair()).total.backward()
    [common] = commons
    assert common.grad is not None
    assert common.grad[0].abs().sum() > 0  # of the reference
    assert all(p.grad is not None for p in module.net.encoder.parameters())


def test_gradient_goes_where_a_vector_came_from() -> None:
    then, now = views(0, 8)
    feature = torch.rand(1, 1, 32, 40, requires_grad=True)
    moved = PairMotion(tensor(then), tensor(now)).align(feature)
    moved[0, 0, 16, 20].backward()
    assert feature.grad is not None
    assert feature.grad.sum().item() == pytest.approx(1)
    assert feature.grad[0, 0, 16].argmax() in (21, 22, 23)  # 8 columns are 2 of the grid


def test_small_pictures_move_nothing() -> None:
    images = tensor(*views(0, 16))[..., :48, :48]
    feature = torch.rand(1, 3, 12, 12)
    assert torch.equal(PairMotion(images[:1], images[1:]).align(feature), feature)


def test_half_precision_stays() -> None:
    then, now = views(0, 16)
    feature = torch.rand(1, 3, 32, 40).bfloat16()
    moved = PairMotion(tensor(then), tensor(now)).align(feature)
    assert moved.dtype == torch.bfloat16
