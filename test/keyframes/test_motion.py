"""Moving a keyframe's feature along the optical flow."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from small_net import make_net
import torch

from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.keyframes.motion import OpticalFlow, moved, taken_by_opencv, taken_by_torch
from dcfm_ros.models.checkpoint import find_checkpoint, load_checkpoint, save_checkpoint
from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.synthetic.drive import DriveConfig, render_drive
from dcfm_ros.training.metrics import ConfusionMatrix


def textured(height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)


def flow_of(x: float, y: float, height: int = 12, width: int = 16) -> np.ndarray:
    return np.broadcast_to(np.array([x, y], np.float32), (height, width, 2)).copy()


def test_flow_says_from_where_to_take() -> None:
    feature = torch.arange(12.0 * 16).reshape(1, 1, 12, 16)
    taken = moved(feature, flow_of(2, 1))
    torch.testing.assert_close(taken[..., :-1, :-2], feature[..., 1:, 2:])


def test_flow_is_scaled_to_the_grid() -> None:
    feature = torch.rand(1, 3, 12, 16)
    taken = moved(feature, flow_of(4, 0, 24, 64))
    torch.testing.assert_close(taken[..., :-1], feature[..., 1:], atol=1e-5, rtol=0)


def test_edge_goes_on_outside() -> None:
    feature = torch.rand(1, 2, 12, 16)
    taken = moved(feature, flow_of(100, 0))
    torch.testing.assert_close(taken, feature[..., -1:].expand_as(feature))


def test_places_between_are_bilinear() -> None:
    feature = torch.rand(1, 5, 12, 16)
    taken = moved(feature, flow_of(0.25, 0))[..., :-1]
    expected = 0.75 * feature[..., :-1] + 0.25 * feature[..., 1:]
    torch.testing.assert_close(taken, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize('channels', [1, 2, 128, 129, 300])
def test_every_channel_moves(channels: int) -> None:
    feature = torch.rand(1, channels, 12, 16)
    taken = moved(feature, flow_of(1, 0))
    assert taken.shape == feature.shape
    torch.testing.assert_close(taken[..., :-1], feature[..., 1:])


def test_both_ways_of_taking_agree() -> None:
    feature = torch.rand(1, 40, 12, 16)
    random = np.random.default_rng(0)
    x, y = (random.uniform(-3, 18, (12, 16)).astype(np.float32) for _ in range(2))
    by_torch, by_opencv = taken_by_torch(feature, x, y), taken_by_opencv(feature, x, y)
    torch.testing.assert_close(by_torch, by_opencv, atol=1 / 32, rtol=0)


def test_dtype_stays() -> None:
    assert moved(torch.rand(1, 4, 12, 16).bfloat16(), flow_of(0, 0)).dtype == torch.bfloat16


def test_feature_follows_its_content() -> None:
    scene = textured(160, 240)
    then, now = scene[:, :200], scene[:, 16:216]  # the camera turned right: content went left
    flow = OpticalFlow()
    feature = torch.from_numpy(then[::4, ::4].copy()).permute(2, 0, 1)[None].float()
    taken = flow.align(feature, flow.picture(then), flow.picture(now))
    expected = torch.from_numpy(now[::4, ::4].copy()).permute(2, 0, 1)[None].float()
    inside = (..., slice(4, -4), slice(4, -8))
    before = (feature - expected)[inside].abs().mean()
    assert (taken - expected)[inside].abs().mean() < 0.1 * before


def test_small_pictures_move_nothing() -> None:
    flow = OpticalFlow()
    feature = torch.rand(1, 3, 8, 8)
    small = flow.picture(textured(48, 48))
    assert flow.align(feature, small, small) is feature


def drive(frames: int = 6) -> list[np.ndarray]:
    scene = textured(96, 128 + 8 * frames)
    return [np.ascontiguousarray(scene[:, 8 * i : 8 * i + 128]) for i in range(frames)]


def test_masks_of_a_drive_lag_less_with_flow() -> None:
    net = load_checkpoint(find_checkpoint('default'))
    drive = list(render_drive(DriveConfig(num_frames=9, seed=3)))
    miou = {}
    for motion in ('none', 'flow'):
        engine = SegmentationEngine(net, 'cpu', 'torch', 9, motion=motion)
        old = ConfusionMatrix(11)
        for number, (image, label) in enumerate(drive):
            result = engine.step(image, number)
            if result.keyframe_age >= 5:
                old.update(result.mask, label)
        miou[motion] = old.miou('ignore')
    assert miou['flow'] > miou['none'] + 0.02


def test_keyframes_are_left_alone() -> None:
    net = make_net()
    plain = SegmentationEngine(net, 'cpu', 'torch', 1)
    flow = SegmentationEngine(net, 'cpu', 'torch', 1, motion='flow')
    for number, frame in enumerate(drive(3)):
        result = flow.step(frame, number)
        np.testing.assert_array_equal(result.mask, plain.step(frame, number).mask)
        assert 'motion' not in result.stage_ms


def test_clip_in_past_mode_is_the_stream() -> None:
    engine = SegmentationEngine(make_net(), 'cpu', 'torch', 3, motion='flow')
    stream = [engine.step(frame, number) for number, frame in enumerate(drive())]
    clip = list(engine.segment_clip(drive(), mode='past'))
    for one, other in zip(stream, clip, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)
    assert 'motion' in stream[1].stage_ms
    assert 'motion' in clip[1].stage_ms


def test_both_keyframes_of_a_clip_move() -> None:
    net = make_net()
    logits = {}
    for motion in ('none', 'flow'):
        engine = SegmentationEngine(net, 'cpu', 'torch', 4, motion=motion)
        logits[motion] = [r.logits for r in engine.segment_clip(drive(5), mode='both')]
    assert torch.equal(logits['none'][4], logits['flow'][4])
    assert not torch.equal(logits['none'][2], logits['flow'][2])


def test_spread_keyframe_moves_from_its_own_frame() -> None:
    engine = SegmentationEngine(
        make_net(), 'cpu', 'torch', 2, execution='amortised', slices=2, motion='flow'
    )
    results = [engine.step(frame, number) for number, frame in enumerate(drive())]
    assert [r.keyframe_age for r in results] == [0, 1, 2, 1, 2, 1]
    assert all('motion' in r.stage_ms for r in results[1:])


def test_engine_does_as_the_network_says(tmp_path: object) -> None:
    config = DCFMConfig(backbone='timm:mobilenetv4_conv_small', num_classes=3, motion='flow')
    path = f'{tmp_path}/net.safetensors'
    save_checkpoint(path, DCFM(config), {})
    engine = SegmentationEngine(load_checkpoint(path), 'cpu', 'torch', 2)
    frames = drive(2)
    engine.step(frames[0], 0)
    assert 'motion' in engine.step(frames[1], 1).stage_ms


def test_unknown_motion_is_refused() -> None:
    with pytest.raises(ValueError, match="`motion` must be auto or one of none, flow, got 'up'"):
        SegmentationEngine(make_net(), 'cpu', 'torch', motion='up')
    with pytest.raises(ValueError, match="`motion` must be one of none, flow, got 'up'"):
        DCFMConfig(backbone='mit_b0', num_classes=3, motion='up')
