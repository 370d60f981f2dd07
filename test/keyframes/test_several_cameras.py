"""Engines that share a network: each camera's masks are those of an engine of its own."""

from __future__ import annotations

from dataclasses import replace

from backend_equality import assert_same
from engines import (
    CPU,
    FRAME_NS,
    StagesRunner,
    interleave,
    keyframes,
    make_engine,
    make_streams,
    reasons,
    reproducible_openvino,
    run,
)
import numpy as np
import pytest
from small_net import make_images, make_net

from dcfm_ros.backends.graph_backend import GraphBackend
from dcfm_ros.backends.torch_backend import TorchBackend

SAME = [(67, 91)] * 3
DIFFERENT = [(67, 91), (40, 56), (56, 40), (48, 48)]
THREE = [0.0, 1 / 3, 2 / 3]


@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))


@pytest.fixture(scope='module')
def net():
    return make_net(fuse_channels=32)


def make_engines(net, phases, **options):
    first = make_engine(net, **options)
    return [first, *(first.for_another_camera(phase) for phase in phases[1:])]


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
    streams = make_streams(sizes)

    def make_one():
        if backend == 'torch':
            return make_engine(net, execution=execution)
        pytest.importorskip('openvino')
        pytest.importorskip('onnx')
        num_slices = 3 if execution == 'amortised' else 1
        made = reproducible_openvino(net, num_slices)
        return make_engine(net, backend=made, execution=execution)

    first = make_one()
    engines = [first, *(first.for_another_camera() for _ in sizes[1:])]
    for results, images in zip(interleave(engines, streams), streams, strict=True):
        alone = run(make_one(), images)
        for one, other in zip(results, alone, strict=True):
            assert one.reason == other.reason
            assert one.keyframe_age == other.keyframe_age
            np.testing.assert_array_equal(one.mask, other.mask)
            np.testing.assert_array_equal(one.logits, other.logits)
    assert {engine.backend.name for engine in engines} == {backend}


def test_weights_are_shared(net):
    one, other = make_engines(net, [0.0, 0.5])
    assert other.backend.net is one.backend.net
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
    engines = make_engines(net, phases, keyframe_interval=interval)
    streams = make_streams([(32, 32)] * len(phases), 14)
    assert [keyframes(results) for results in interleave(engines, streams)] == expected


def test_slices_of_cameras_do_not_pile_up(net):
    options = {'keyframe_interval': 6, 'execution': 'amortised', 'execution_slices': 2}
    engines = make_engines(net, THREE, **options)
    results = interleave(engines, make_streams([(32, 32)] * 3, 20))
    at_work = [[i for i, r in enumerate(found) if 'common' in r.stage_ms] for found in results]
    assert at_work[1] == [0, 2, 3, 8, 9, 14, 15]
    after_first = [i for frames in at_work for i in frames if i]
    assert len(after_first) == len(set(after_first))


def test_a_reset_of_all_shifts_them_again(net):
    engines = make_engines(net, [0.0, 0.5], keyframe_interval=4)
    streams = make_streams([(32, 32)] * 2, 12)
    interleave(engines, [images[:3] for images in streams])
    for engine in engines:
        engine.reset()
    results = interleave(engines, [images[3:] for images in streams])
    assert [keyframes(found) for found in results] == [[0, 4, 8], [0, 2, 6]]


def test_a_keyframe_for_age_does_not_shift(net):
    options = {'keyframe_interval': 6, 'max_feature_age_s': 3 * FRAME_NS / 1e9}
    engine = make_engine(net, **options).for_another_camera(0.5)
    results = run(engine, make_images(14, (32, 32)))
    assert [r for r in reasons(results) if r] == ['first', 'interval', *['max_age'] * 2]
    assert keyframes(results) == [0, 3, 7, 11]


@pytest.mark.parametrize('phase', [-0.1, 1.0, float('nan')])
def test_a_phase_outside_the_interval_is_refused(net, phase):
    with pytest.raises(ValueError, match='`phase` must be at least 0 and below 1, got'):
        make_engine(net).for_another_camera(phase)


def test_what_happens_to_one_camera_leaves_the_other_alone(net):
    one, other = make_engines(net, [0.0, 0.0], keyframe_interval=10)
    images = make_images(8, (32, 48))
    results = []
    for index, image in enumerate(images):
        results.append(one.step(image, index * FRAME_NS))
        if index == 2:
            other.reset()
        stamp = 0 if index == 4 else index * FRAME_NS
        if index == 6:
            with pytest.raises(ValueError, match='image'):
                other.step(image.astype(np.float32), stamp)
        else:
            other.step(image if index != 3 else image[:16], stamp)
    assert_same(results, run(make_engine(net, keyframe_interval=10), images))
    assert keyframes(results) == [0]


def test_the_schedule_goes_along_and_is_each_camera_s_own(net):
    one = make_engine(net)
    one.schedule = replace(one.schedule, max_feature_age_s=0.5, max_time_gap_s=1.5)
    other = one.for_another_camera()
    assert other.schedule == one.schedule
    other.schedule = replace(other.schedule, keyframe_interval=2)
    assert one.schedule.keyframe_interval == 3
    results = interleave([one, other], make_streams([(32, 32)] * 2))
    assert [keyframes(found) for found in results] == [[0, 3, 6], [0, 2, 4, 6]]


def test_slices_are_those_that_the_graphs_were_cut_into(net):
    one = make_engine(net, keyframe_interval=6, execution='amortised')
    one.schedule = replace(one.schedule, keyframe_interval=2)
    cameras = [one, one.for_another_camera()]
    found = interleave(cameras, make_streams([(32, 32)] * 2, 9))
    assert [result.keyframe_age for result in found[0]] == [0, 1, 2, 3, 4, 5, 6, 5, 6]
    assert [r.keyframe_age for r in found[1]] == [r.keyframe_age for r in found[0]]


class FailingRunner(StagesRunner):
    """Whose shallow stages fail for images of some height, once it is set."""

    height = 0

    def prepare(self, stage, inputs):
        ready, outputs = super().prepare(stage, inputs)

        def run_stage(*tensors):
            if tensors[0].shape[1] == self.height:
                raise RuntimeError('out of memory')
            return ready(*tensors)

        return run_stage, outputs


def make_graph_engines(net, count):
    runner = FailingRunner()
    first = make_engine(backend=GraphBackend(TorchBackend(net, CPU), runner))
    return [first, *(first.for_another_camera() for _ in range(1, count))], runner


def test_cameras_of_one_size_share_graphs(net):
    engines, runner = make_graph_engines(net, 3)
    interleave(engines, make_streams(SAME, 2))
    assert len(runner.prepared) == 3


def test_every_camera_keeps_its_graphs_however_many_sizes_there_are(net):
    engines, runner = make_graph_engines(net, 4)
    interleave(engines, make_streams(DIFFERENT, 5))
    assert len(runner.prepared) == 3 * 4


def test_graphs_that_no_camera_uses_are_dropped(net):
    engines, runner = make_graph_engines(net, 2)
    streams = make_streams(DIFFERENT[:2], 1)
    interleave(engines, streams)
    del engines[1]
    interleave([engines[0].for_another_camera()], streams[:1])  # another camera has these
    assert len(runner.prepared) == 3 * 2
    interleave([engines[0].for_another_camera()], streams[1:])
    assert len(runner.prepared) == 3 * 3


@pytest.mark.filterwarnings('ignore:.* failed, PyTorch goes on')
def test_a_camera_whose_graphs_fail_falls_back_alone(net):
    engines, runner = make_graph_engines(net, 2)
    streams = make_streams(DIFFERENT[:2], 4)
    first = interleave(engines, [images[:2] for images in streams])
    runner.height = DIFFERENT[1][0]
    last = interleave(engines, [images[2:] for images in streams])
    assert [engine.backend.name for engine in engines] == ['stages', 'torch']
    assert [bool(engine.backend.failure) for engine in engines] == [False, True]
    for camera, images in enumerate(streams):
        assert len(first[camera] + last[camera]) == len(images)
