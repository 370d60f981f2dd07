"""Moving a keyframe's feature along the optical flow."""

from __future__ import annotations

import cv2
from engines import make_engine
import numpy as np
import pytest
from small_net import make_net

from dcfm_ros.backends.warp import warp_vectors
from dcfm_ros.keyframes.motion import FlowChain
from dcfm_ros.models.checkpoint import load_checkpoint, save_checkpoint
from dcfm_ros.models.checkpoint_header import find_checkpoint
from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.synthetic.drive import DriveConfig, render_drive
from dcfm_ros.training.metrics import ConfusionMatrix


def textured(height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)


def moved(flow: FlowChain, then: np.ndarray, grid: tuple[int, int], feature: np.ndarray) -> object:
    at = flow.places(then, grid)
    assert at is not None
    return warp_vectors(feature, at)


def test_feature_follows_its_content() -> None:
    scene = textured(160, 300)
    views = [scene[:, 8 * i : 8 * i + 200] for i in range(9)]  # the camera turns right
    features = [view[::4, ::4].astype(np.float32) for view in views]
    chain = FlowChain()
    pictures = [chain.flow.picture(view) for view in views]
    chain.add(pictures[0], [])
    inside = slice(4, -4), slice(4, -24)
    for now in range(1, 9):
        chain.add(pictures[now], [pictures[0]])
        taken = moved(chain, pictures[0], (40, 50), features[0])
        before = np.abs(features[0] - features[now])[inside].mean()
        assert np.abs(taken - features[now])[inside].mean() < 0.15 * before, now


def test_two_pictures_are_followed_and_a_third_is_found_again() -> None:
    scene = textured(160, 240)
    chain = FlowChain()
    pictures = [chain.flow.picture(scene[:, 4 * i : 4 * i + 200]) for i in range(5)]
    chain.add(pictures[0], [])
    chain.add(pictures[1], [pictures[0], pictures[0]])
    chain.add(pictures[2], [pictures[0], pictures[1]])
    chain.add(pictures[3], [pictures[2]])
    assert chain.places(pictures[0], (40, 50)) is None
    chain.add(pictures[4], [pictures[2], pictures[0], None])
    x = np.arange(50, dtype=np.float32)
    for index in (2, 0):  # the second is no longer known: its flow is computed directly
        at = chain.places(pictures[index], (40, 50))
        assert at is not None
        assert np.median(at.x - x) == pytest.approx(4 - index, abs=0.1)
        assert np.median(at.y - np.arange(40)[:, None]) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize(
    'sizes', [((48, 48), (48, 48)), ((96, 96), (96, 128)), ((1, 64), (1, 64)), ((1, 1), (1, 1))]
)
def test_pictures_that_are_small_or_of_two_sizes_move_nothing(
    sizes: tuple[tuple[int, int], tuple[int, int]],
) -> None:
    chain = FlowChain()
    then, now = (chain.flow.picture(textured(*size)) for size in sizes)
    chain.add(then, [])
    chain.add(now, [then])
    assert chain.places(then, (12, 12)) is None


def drive(frames: int = 6) -> list[np.ndarray]:
    scene = textured(96, 128 + 8 * frames)
    return [np.ascontiguousarray(scene[:, 8 * i : 8 * i + 128]) for i in range(frames)]


def test_masks_of_a_drive_lag_less_with_flow() -> None:
    net = load_checkpoint(find_checkpoint('default'))
    drive = list(render_drive(DriveConfig(num_frames=9, seed=3)))
    miou = {}
    for motion in ('none', 'flow'):
        engine = make_engine(net, keyframe_interval=9, motion=motion)
        old = ConfusionMatrix(11)
        for number, (image, label) in enumerate(drive):
            result = engine.step(image, number)
            if result.keyframe_age >= 5:
                old.update(result.mask, label)
        miou[motion] = old.miou('ignore')
    assert miou['flow'] > miou['none'] + 0.02


def test_keyframes_are_left_alone() -> None:
    net = make_net()
    plain = make_engine(net, keyframe_interval=1)
    flow = make_engine(net, keyframe_interval=1, motion='flow', mask_blending=0.0)
    for number, frame in enumerate(drive(3)):
        result = flow.step(frame, number)
        np.testing.assert_array_equal(result.mask, plain.step(frame, number).mask)
        assert 'motion' not in result.stage_ms


def test_clip_in_past_mode_is_the_stream() -> None:
    engine = make_engine(motion='flow', mask_blending=0.0)
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
        engine = make_engine(net, keyframe_interval=4, motion=motion)
        logits[motion] = [r.logits for r in engine.segment_clip(drive(5), mode='both')]
    np.testing.assert_array_equal(logits['none'][4], logits['flow'][4])
    assert not np.array_equal(logits['none'][2], logits['flow'][2])


def test_spread_keyframe_moves_from_its_own_frame() -> None:
    engine = make_engine(keyframe_interval=2, execution='amortised', motion='flow')
    results = [engine.step(frame, number) for number, frame in enumerate(drive())]
    assert [r.keyframe_age for r in results] == [0, 1, 2, 1, 2, 1]
    assert all('motion' in r.stage_ms for r in results[1:])


def test_engine_does_as_the_network_says(tmp_path: object) -> None:
    config = DCFMConfig(backbone='timm:mobilenetv4_conv_small', num_classes=3, motion='flow')
    path = f'{tmp_path}/net.safetensors'
    save_checkpoint(path, DCFM(config), {})
    engine = make_engine(load_checkpoint(path))
    frames = drive(2)
    engine.step(frames[0], 0)
    assert 'motion' in engine.step(frames[1], 1).stage_ms


def test_unknown_motion_of_a_network_is_refused() -> None:
    with pytest.raises(ValueError, match="`motion` must be one of none, flow, got 'up'"):
        DCFMConfig(backbone='mit_b0', num_classes=3, motion='up')
