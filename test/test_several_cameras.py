"""Engines that share a network: each camera's masks are those of an engine of its own."""

from __future__ import annotations

import threading

from backend_equality import SLOW, assert_same, make_engine, run
import numpy as np
import pytest
from small_net import make_images, make_net
import torch

from dcfm_ros.keyframes.schedule import FixedScheduler, Observation
from dcfm_ros.several_cameras import step_together

SAME = [(67, 91)] * 3
DIFFERENT = [(67, 91), (40, 56), (56, 40), (48, 48)]
THREE = [0.0, 1 / 3, 2 / 3]


@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))


@pytest.fixture(scope='module')
def net():
    return make_net(fuse_channels=32)


def make_engines(net, phases, backend='torch', **options):
    first = make_engine(net, backend, **options)
    return [first, *(first.for_another_camera(phase) for phase in phases[1:])]


def interleave(engines, streams):
    """Frame after frame of all cameras in turn; results by camera."""
    results = [[] for _ in engines]
    for index, images in enumerate(zip(*streams, strict=True)):
        for camera, (engine, image) in enumerate(zip(engines, images, strict=True)):
            results[camera].append(engine.step(image, index * SLOW))
    return results


def make_streams(sizes, count=7):
    return [make_images(count, size, seed) for seed, size in enumerate(sizes)]


def keyframes(results):
    return [index for index, result in enumerate(results) if result.is_keyframe]


@pytest.mark.parametrize(
    ('backend', 'execution', 'sizes'),
    [
        ('torch', 'sync', SAME),
        ('torch', 'amortised', DIFFERENT),
        ('openvino', 'sync', SAME[:2]),
        ('openvino', 'amortised', DIFFERENT[:3]),
    ],
)
def test_cameras_in_turn_have_the_masks_of_engines_of_their_own(net, backend, execution, sizes):
    if backend == 'openvino':
        pytest.importorskip('openvino')
        pytest.importorskip('onnx')
    streams = make_streams(sizes)
    engines = make_engines(net, [0.0] * len(sizes), backend, execution=execution)
    for results, images in zip(interleave(engines, streams), streams, strict=True):
        alone = run(make_engine(net, backend, execution=execution), images)
        for one, other in zip(results, alone, strict=True):
            assert one.reason == other.reason
            assert one.keyframe_age == other.keyframe_age
            np.testing.assert_array_equal(one.mask, other.mask)
            assert torch.equal(one.logits, other.logits)
    assert {engine.backend for engine in engines} == {backend}


def test_weights_are_shared(net):
    one, other = make_engines(net, [0.0, 0.5])
    assert other._backend.net is one._backend.net
    assert other.net is one.net


@pytest.mark.parametrize(
    ('interval', 'phases', 'expected'),
    [
        (6, THREE, [[0, 6, 12], [0, 2, 8], [0, 4, 10]]),
        (4, THREE, [[0, 4, 8, 12], [0, 1, 5, 9, 13], [0, 3, 7, 11]]),
        (4, [0.0, 0.5], [[0, 4, 8, 12], [0, 2, 6, 10]]),
        (2, THREE, [[*range(0, 14, 2)], [0, *range(1, 14, 2)], [0, *range(1, 14, 2)]]),
        (1, [0.0, 0.5], [[*range(14)], [*range(14)]]),
    ],
)
def test_keyframes_are_shifted_after_the_common_first_one(net, interval, phases, expected):
    engines = make_engines(net, phases, schedule=interval)
    streams = make_streams([(32, 32)] * len(phases), 14)
    assert [keyframes(results) for results in interleave(engines, streams)] == expected


def test_slices_of_cameras_do_not_pile_up(net):
    options = {'schedule': 6, 'execution': 'amortised', 'slices': 2}
    engines = make_engines(net, THREE, **options)
    results = interleave(engines, make_streams([(32, 32)] * 3, 20))
    at_work = [[i for i, r in enumerate(found) if 'common' in r.stage_ms] for found in results]
    assert at_work[1] == [0, 2, 3, 8, 9, 14, 15]
    after_first = [i for frames in at_work for i in frames if i]
    assert len(after_first) == len(set(after_first))


def test_a_reset_of_all_shifts_them_again(net):
    engines = make_engines(net, [0.0, 0.5], schedule=4)
    streams = make_streams([(32, 32)] * 2, 12)
    interleave(engines, [images[:3] for images in streams])
    for engine in engines:
        engine.reset()
    results = interleave(engines, [images[3:] for images in streams])
    assert [keyframes(found) for found in results] == [[0, 4, 8], [0, 2, 6]]


def test_a_keyframe_for_age_does_not_shift(net):
    engine = make_engine(net, 'torch', schedule=6, max_age=3).for_another_camera(0.5)
    results = run(engine, make_images(14, (32, 32)))
    assert [r.reason for r in results if r.is_keyframe] == ['first', 'interval', *['max_age'] * 2]
    assert keyframes(results) == [0, 3, 7, 11]


def test_a_phase_is_a_share_of_the_interval():
    schedule, image = FixedScheduler(8), np.zeros((2, 2, 3), np.uint8)
    for phase, due in {0.0: 8, 0.01: 8, 0.25: 2, 0.99: 8}.items():
        seen = [Observation(image=image, age=age, phase=phase) for age in range(9)]
        assert [bool(schedule.decide(s).reason) for s in seen].index(True) == due


@pytest.mark.parametrize('phase', [-0.1, 1.0, float('nan')])
def test_a_phase_outside_the_interval_is_refused(net, phase):
    with pytest.raises(ValueError, match='`phase` must be at least 0 and below 1, got'):
        make_engine(net, 'torch').for_another_camera(phase)


def test_what_happens_to_one_camera_leaves_the_other_alone(net):
    one, other = make_engines(net, [0.0, 0.0], schedule=10)
    images = make_images(8, (32, 48))
    results = []
    for index, image in enumerate(images):
        results.append(one.step(image, index * SLOW))
        if index == 2:
            other.reset()
        stamp = 0 if index == 4 else index * SLOW
        if index == 6:
            with pytest.raises(ValueError, match='image'):
                other.step(image.astype(np.float32), stamp)
        else:
            other.step(image if index != 3 else image[:16], stamp)
    assert_same(results, run(make_engine(net, 'torch', schedule=10), images))
    assert keyframes(results) == [0]


def test_limits_go_along_and_are_each_camera_s_own(net):
    one = make_engine(net, 'torch', max_age=2)
    one.max_age_s, one.max_time_gap_s = 0.5, 1.5
    other = one.for_another_camera()
    assert (other.max_age, other.max_age_s, other.max_time_gap_s) == (2, 0.5, 1.5)
    other.max_time_gap_s = None
    assert one.max_time_gap_s == 1.5


def test_another_schedule_is_one_camera_s(net):
    one, other = make_engines(net, [0.0, 0.0], schedule=3)
    other.use_schedule(FixedScheduler(2))
    results = interleave([one, other], make_streams([(32, 32)] * 2))
    assert [keyframes(found) for found in results] == [[0, 3, 6], [0, 2, 4, 6]]


def make_graph_engines(net, count):
    pytest.importorskip('openvino')
    pytest.importorskip('onnx')
    first = make_engine(net, 'openvino')
    made = []
    compile_graph = first._backend.compile
    first._backend.compile = lambda *given: made.append(given) or compile_graph(*given)
    return [first, *(first.for_another_camera() for _ in range(1, count))], made


def test_cameras_of_one_size_share_graphs(net):
    engines, made = make_graph_engines(net, 3)
    interleave(engines, make_streams(SAME, 2))
    assert len(made) == 3


def test_every_camera_has_graphs_however_many_sizes_there_are(net):
    engines, made = make_graph_engines(net, 4)
    interleave(engines, make_streams(DIFFERENT, 5))
    assert len(made) == 3 * 4
    sizes = [[*engine._backend._sizes] for engine in engines]
    assert sizes == [[torch.Size((1, *size, 3))] for size in DIFFERENT]


def test_graphs_that_no_camera_uses_are_dropped(net):
    engines, _ = make_graph_engines(net, 2)
    interleave(engines, make_streams(DIFFERENT[:2], 1))
    assert len(engines[0]._backend._all_sizes) == 2
    del engines[1]
    assert len(engines[0]._backend._all_sizes) == 1


@pytest.mark.filterwarnings('ignore:.* failed, PyTorch goes on')
def test_a_camera_whose_graphs_fail_falls_back_alone(net):
    engines, _ = make_graph_engines(net, 2)
    streams = make_streams(DIFFERENT[:2], 4)
    first = interleave(engines, [images[:2] for images in streams])

    def fail(*_):
        raise RuntimeError('out of memory')

    (size,) = engines[1]._backend._sizes.values()
    object.__setattr__(size, 'shallow', fail)
    last = interleave(engines, [images[2:] for images in streams])
    assert [engine.backend for engine in engines] == ['openvino', 'torch']
    assert [bool(engine.backend_failure) for engine in engines] == [False, True]
    for camera, images in enumerate(streams):
        assert len(first[camera] + last[camera]) == len(images)


def test_deep_encoders_beside_the_frames_share_a_thread(net):
    before = threading.active_count()
    engines = make_engines(net, THREE, schedule=2, execution='async')
    streams = make_streams([(32, 32)] * 3, 12)
    results = interleave(engines, streams)
    assert threading.active_count() == before + 1
    for found, images in zip(results, streams, strict=True):
        assert [result.is_keyframe for result in found][:1] == [True]
        expected = make_engine(net, 'torch', schedule=100)
        for index, result in enumerate(found):
            # Whatever the thread takes, the feature is that of a keyframe of this camera.
            expected.reset()
            expected.step(images[index - result.keyframe_age], 0)
            if result.keyframe_age:
                alone = expected.step(images[index], 1)
                np.testing.assert_array_equal(result.mask, alone.mask)


BATCHED = [
    ('timm:mobilenetv4_conv_small', {}),
    ('mit_b0', {'head': 'mlp'}),
    ('resnet18', {'head': 'conv', 'head_channels': 32}),
    ('timm:regnety_002', {'head': 'linear'}),
    ('timm:mobilenetv4_conv_small', {'nonkey_uses_common': False}),
]


@pytest.mark.parametrize(('backbone', 'options'), BATCHED)
def test_a_batch_gives_what_single_steps_give(backbone, options):
    net = make_net(backbone, fuse_channels=32, **options)
    sizes = [(67, 91), (67, 91), (40, 56), (67, 91)]
    streams, phases = make_streams(sizes), [0.0, 0.25, 0.5, 0.75]
    together = make_engines(net, phases, execution='amortised')
    results = [[] for _ in sizes]
    for index, images in enumerate(zip(*streams, strict=True)):
        for camera, result in enumerate(step_together(together, images, [index * SLOW] * 4)):
            results[camera].append(result)
    singly = interleave(make_engines(net, phases, execution='amortised'), streams)
    for found, expected in zip(results, singly, strict=True):
        assert [r.reason for r in found] == [r.reason for r in expected]
        assert_same(found, expected)
        for one, other in zip(found, expected, strict=True):
            best = other.logits[0].topk(2, dim=0).values
            if (best[0] - best[1]).min() > 1e-3:
                np.testing.assert_array_equal(one.mask, other.mask)


def test_images_of_one_size_are_encoded_at_once(net):
    engines = make_engines(net, [0.0] * 4)
    encode, seen = engines[0]._backend.net.encode_independent, []
    net_of_all = engines[0]._backend.net
    net_of_all.encode_independent = lambda x: seen.append(tuple(x.shape)) or encode(x)
    images = [make_images(1, size)[0] for size in [(32, 48), (40, 56), (32, 48), (32, 48)]]
    step_together(engines, images, [0] * 4)
    assert sorted(seen) == [(1, 3, 40, 56), (3, 3, 32, 48)]


def test_graphs_take_them_one_by_one(net):
    engines, made = make_graph_engines(net, 2)
    images = make_images(2, (67, 91))
    results = step_together(engines, images, [0, 0])
    assert [result.reason for result in results] == ['first', 'first']
    assert {engine.backend for engine in engines} == {'openvino'}
    assert len(made) == 3


def test_a_bad_image_among_several_stops_no_camera_halfway(net):
    engines = make_engines(net, [0.0, 0.0])
    images = make_images(2, (32, 32))
    with pytest.raises(ValueError, match='image'):
        step_together(engines, [images[0], images[1][..., :2]], [0, 0])
    assert [r.reason for r in step_together(engines, images, [0, 0])] == ['first', 'first']


def test_wrong_counts_are_named(net):
    engines, images = make_engines(net, [0.0, 0.0]), make_images(2, (32, 32))
    for given in ((engines, images, [0]), (engines[:1] * 2, images, [0, 0])):
        with pytest.raises(ValueError, match=r'2 engines, 2 images and \d stamps'):
            step_together(*given)
