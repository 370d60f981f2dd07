from __future__ import annotations

from dataclasses import asdict

from engines import RecordingBackend, ages, make_engine, reasons, run
import numpy as np
import pytest
from small_net import (
    GatedDCFM,
    assert_masks_are_of_their_keyframes,
    assert_same_mask,
    make_images,
    make_net,
    plain_logits,
)
import torch

from dcfm_ros.backends.torch_backend import TorchBackend
from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions

BACKBONES = [
    ('mit_b0', {'head': 'linear'}),
    ('mit_b1', {'head': 'mlp'}),
    ('mit_b0', {'head': 'conv'}),
    ('mit_b0', {'independent_stage': 'stage'}),
    ('mit_b0', {'independent_stage': 'patch'}),
    ('resnet18', {'head': 'mlp'}),
    ('resnet50', {'head': 'mlp'}),
    ('resnet18', {'pyramid_pooling': False}),
    ('resnet18', {'align_before_norm': True}),
    ('timm:mobilenetv4_conv_small', {'fuse_channels': 64}),
    ('timm:regnety_004', {'fuse_channels': 64}),
    ('mit_b0', {'kind': GatedDCFM}),
]


def test_defaults_are_those_of_the_options():
    engine = SegmentationEngine(make_net())
    assert engine.options == EngineOptions()
    assert engine.schedule == ScheduleOptions()


@pytest.mark.parametrize(
    ('given', 'effect'),
    [
        ({}, {'execution_slices': 1, 'motion': 'flow', 'mask_blending': 0.5}),
        ({'mask_blending': 0.2}, {'mask_blending': 0.2}),
        ({'motion': 'none'}, {'motion': 'none', 'mask_blending': 0.0}),
        ({'execution': 'amortised', 'keyframe_interval': 5}, {'execution_slices': 5}),
        ({'execution': 'amortised', 'schedule': 'adaptive'}, {'execution_slices': 4}),
        ({'execution': 'amortised', 'execution_slices': 2}, {'execution_slices': 2}),
    ],
)
def test_what_defaults_stand_for_is_told(given, effect):
    engine = make_engine(make_net(motion='flow'), **given)
    told = asdict(engine.in_effect)
    assert effect.items() <= told.items()
    changed = {name for name, value in asdict(engine.options).items() if told[name] != value}
    assert changed <= {'execution_slices', 'motion', 'mask_blending'}


@pytest.mark.parametrize(('backbone', 'options'), BACKBONES)
def test_fast_path_gives_the_mask_of_the_plain_stages(backbone, options):
    net, images = make_net(backbone, **options), make_images(5)
    results = run(make_engine(net, keyframe_interval=3), images)
    assert ages(results) == [0, 1, 2, 0, 1]
    assert_masks_are_of_their_keyframes(net, images, results)


def test_interval_one_equals_the_network_frame_by_frame():
    net, images = make_net(), make_images(4)
    results = run(make_engine(net, keyframe_interval=1), images)
    assert all(result.is_keyframe for result in results)
    assert ages(results) == [0] * 4
    assert_masks_are_of_their_keyframes(net, images, results)


def test_non_key_frames_report_their_age():
    results = run(make_engine(keyframe_interval=3), make_images(7))
    assert ages(results) == [0, 1, 2, 0, 1, 2, 0]
    assert reasons(results) == ['first', '', '', 'interval', '', '', 'interval']


def test_common_encoder_runs_once_per_keyframe():
    backend = RecordingBackend()
    results = run(make_engine(backend=backend, keyframe_interval=4), make_images(10))
    assert backend.calls.count('deep_task') == sum(r.is_keyframe for r in results) == 3


def test_non_key_frame_has_no_common_stage():
    key, nonkey = run(make_engine(), make_images(2))
    assert set(key.stage_ms) == {'preprocess', 'independent', 'common', 'decode', 'mask'}
    assert set(nonkey.stage_ms) == set(key.stage_ms) - {'common'}


def test_size_change_makes_a_keyframe():
    engine = make_engine(keyframe_interval=100)
    engine.step(make_images(1, (64, 96))[0], 0)
    result = engine.step(make_images(1, (48, 64))[0], 1)
    assert result.reason == 'size_change'
    assert result.mask.shape == (48, 64)


def test_time_going_back_makes_a_keyframe():
    engine = make_engine(keyframe_interval=100)
    first, second, third = make_images(3)
    engine.step(first, 1000)
    assert engine.step(second, 999).reason == 'time_jump'
    assert engine.step(third, 1000).reason == ''


def test_reset_makes_a_keyframe():
    engine = make_engine(keyframe_interval=100)
    first, second = make_images(2)
    engine.step(first, 0)
    engine.reset()
    assert engine.step(second, 1).reason == 'reset'


def test_confidence_is_the_probability_of_the_mask():
    net = make_net()
    image = make_images(1)[0]
    result = make_engine(net).step(image, 0)
    expected = plain_logits(net, image, image).softmax(0).amax(0).numpy()
    assert result.confidence.dtype == np.float32
    np.testing.assert_allclose(result.confidence, expected, atol=1e-4)


def test_inference_height_keeps_the_mask_at_camera_resolution():
    backend = RecordingBackend()
    engine = make_engine(backend=backend, inference_height=48)
    assert engine.step(make_images(1, (96, 131))[0], 0).mask.shape == (96, 131)
    assert engine.step(make_images(1, (32, 40))[0], 1).mask.shape == (32, 40)
    assert backend.sizes == [(48, 66), (32, 40)]


def test_the_network_given_is_left_as_it_was():
    net = make_net()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    make_engine(net).step(make_images(1)[0], 0)
    assert net.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize('backbone', ['timm:mobilenetv4_conv_small', 'timm:regnety_004'])
def test_all_batch_norms_but_the_merged_one_are_folded(backbone):
    engine = make_engine(make_net(backbone))
    modules = dict(engine.backend.net.named_modules())
    left = [n for n, m in modules.items() if isinstance(m, torch.nn.BatchNorm2d)]
    # The all-MLP fuse merges its weights at run time, the fusion has been split before.
    assert left == ['encoder.fuse.norm', 'fusion.norm']


@pytest.mark.parametrize(('backbone', 'options'), BACKBONES[:-1])
def test_whatever_is_computed_lies_channels_last(backbone, options):
    backend = TorchBackend(make_net(backbone, **options), torch.device('cpu'))
    independent = backend.encode_independent(backend.to_input(make_images(1)[0]))
    (common,) = backend.encode_common(independent)
    one, two = (
        backend.decode(cached, independent)
        for cached in ([(common,)], [(common,), (common.clone(),)])
    )
    for tensor in (independent.feature, common, one, two):
        assert tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    'image',
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros((0, 10, 3), np.uint8),
        None,
    ],
)
def test_bad_image_is_refused_and_leaves_the_stream_intact(image):
    engine = make_engine(keyframe_interval=100)
    first, second = make_images(2)
    engine.step(first, 0)
    with pytest.raises(ValueError, match='`image` must'):
        engine.step(image, 1)
    assert engine.step(second, 2).keyframe_age == 1


def test_a_device_that_is_absent_is_named():
    with pytest.raises(ValueError, match="`device` 'cuda:99' is absent"):
        make_engine(device='cuda:99')


@pytest.mark.parametrize('head', ['linear', 'mlp'])
@pytest.mark.parametrize('start', [0, 1])
def test_clip_in_both_directions_equals_the_plain_mean(head, start):
    net = make_net('mit_b0', head=head)
    images = make_images(6)
    engine = make_engine(net, keyframe_interval=3)
    results = list(engine.segment_clip(images, start=start))
    keyframes = list(range(start, 6, 3))
    assert [i for i, r in enumerate(results) if r.is_keyframe] == keyframes
    for index, result in enumerate(results):
        near = [k for k in keyframes if index in range(k - 2, k + 3)]
        if index in keyframes:
            near = [index]
        logits = [plain_logits(net, images[k], images[index]) for k in near]
        assert_same_mask(result.mask, torch.stack(logits).mean(0))


def test_clip_computes_every_keyframe_once():
    engine = make_engine(keyframe_interval=2)
    results = list(engine.segment_clip(make_images(5), mode='past'))
    assert ['common' in r.stage_ms for r in results] == [True, False, True, False, True]


def test_clip_in_the_past_mode_equals_the_stream():
    images = make_images(5)
    engine = make_engine(keyframe_interval=2)
    stream = [result.mask for result in run(engine, images)]
    clip = [result.mask for result in engine.segment_clip(images, mode='past')]
    np.testing.assert_array_equal(clip, stream)


def test_clip_refuses_images_of_two_sizes():
    engine = make_engine()
    with pytest.raises(ValueError, match='of one size'):
        list(engine.segment_clip([*make_images(2), *make_images(1, (40, 40))]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
def test_cuda_gives_the_masks_of_the_cpu():
    net, images = make_net(), make_images(4, (240, 320))
    on_gpu = make_engine(net, device='cuda', backend='auto', keyframe_interval=2)
    on_cpu = make_engine(net, keyframe_interval=2)
    for one, other in zip(run(on_gpu, images), run(on_cpu, images), strict=True):
        assert (one.mask == other.mask).mean() > 0.99


def test_float64_network_is_run_in_float64():
    result = make_engine(make_net().double(), backend='auto').step(make_images(1)[0], 0)
    assert result.logits.dtype == np.float64


def test_options_are_plain_values():
    engine = make_engine(keyframe_interval=5, execution='amortised')
    assert ScheduleOptions(**asdict(engine.schedule)) == engine.schedule
    assert EngineOptions(**asdict(engine.options)) == engine.options
