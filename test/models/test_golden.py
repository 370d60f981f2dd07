"""The network against figures measured on the official code, float64, 1e-8."""

from __future__ import annotations

import re

import golden
import numpy as np
import pytest
from settings import schedule
import torch

from dcfm_ros.keyframes.adaptive_schedule import change_score, make_schedule
from dcfm_ros.keyframes.clip import plan_clip
from dcfm_ros.keyframes.schedule import Observation
from dcfm_ros.models.config import DCFMConfig

pytestmark = golden.needs_golden


@pytest.fixture(scope='module', params=list(golden.PRESETS))
def case(request):
    facts = golden.load()['models'][request.param]
    net = golden.golden_net(DCFMConfig.preset(golden.PRESETS[request.param]))
    size = tuple(facts['args']['size'])
    with torch.no_grad():
        frames = golden.golden_frames(net, size)
        independent = [net.encode_independent(frame) for frame in frames]
        common = [net.encode_common(feature) for feature in independent]
        yield request.param, net, facts, size, independent, common


def test_features(case):
    _, net, facts, _, independent, common = case
    golden.check_summary(independent[0].feature, facts['shallow0'])
    golden.check_summary(net.encoder.deep(independent[0].state), facts['deep0'])
    golden.check_summary(common[0], facts['Fco0_normed'])


def test_keyframe_logits_and_mask(case):
    _, net, facts, size, independent, common = case
    logits = net.decode(net.fuse(common[0], independent[0]), size)
    golden.check_summary(logits, facts['I0_logits'])
    golden.check_argmax(logits, facts['I0_argmax'])


@pytest.mark.parametrize(
    ('name', 'interval', 'start', 'mode'),
    [
        ('B_mode_K2', 2, 0, 'both'),
        ('B_mode_K3', 3, 0, 'both'),
        ('B_mode_K3_st1', 3, 1, 'both'),
        ('P_mode_K2', 2, 0, 'past'),
    ],
)
def test_clip_modes(case, name, interval, start, mode):
    _, net, facts, size, independent, common = case
    decisions = make_schedule(schedule(interval)).decide_clip(
        len(common), common.__getitem__, start
    )
    for step in plan_clip(decisions, mode):
        neighbours = [i for i in (step.previous, step.following) if i is not None]
        logits = sum(
            net.decode(net.fuse(common[i], independent[step.frame]), size) for i in neighbours
        )
        expected = facts[name][step.frame]
        figures = [logits.sum(), logits.abs().mean()]
        np.testing.assert_allclose(figures, [expected['sum'], expected['absmean']], rtol=1e-8)
        golden.check_argmax(logits, expected['argmax'])


def test_normalised_half_of_the_independent_feature(case):
    name, _, facts, _, independent, _ = case
    if 'shallow0_Bpath_normed' not in facts:
        pytest.skip(f'{name} has no such figure')
    feature = torch.nn.functional.normalize(independent[0].feature, dim=1)
    golden.check_summary(feature, facts['shallow0_Bpath_normed'])


SCHEDULES = list(golden.load()['schedule']['runs']) if golden.PATH.exists() else []


def constant_images():
    """One image per golden level, that high above the mean in units of the deviation.

    Whole numbers would be too coarse for that: the remainder is spread over the pixels.
    """
    steps = np.linspace(0, 1, 2000, endpoint=False).reshape(40, 50, 1)
    deviation = 255 * np.array([0.229, 0.224, 0.225])
    levels = golden.load()['schedule']['levels']
    return [np.floor(level * deviation + steps).astype(np.uint8) for level in levels]


def decide(name):
    """The decisions of the schedule of a golden run."""
    adaptive = re.fullmatch(r'AKS min(\d+) thr([\d.]+) max(\d+)', name)
    if adaptive:
        shortest, threshold, longest = adaptive.groups()
        seen = [Observation(image=image) for image in constant_images()]
        chosen = schedule(int(shortest), float(threshold), int(longest))
        return make_schedule(chosen).decide_clip(20, seen.__getitem__)
    interval, start = re.fullmatch(r'\w+ K=(\d+)(?: st=(\d+))?', name).groups('0')
    chosen = make_schedule(schedule(int(interval)))
    return chosen.decide_clip(20, constant_images().__getitem__, int(start))


@pytest.mark.parametrize('name', SCHEDULES)
def test_schedules(name):
    expected = golden.load()['schedule']['runs'][name]
    mode = 'past' if name.startswith('P') else 'both'
    order, computed = [], set()
    steps = list(plan_clip(decide(name), mode))
    for step in steps:
        # The official tester computes a keyframe ahead, when it is first needed.
        ahead = next((s.frame for s in steps[step.frame :] if s.is_keyframe), None)
        if ahead is not None and ahead not in computed:
            computed.add(ahead)
            order.append(f'I{ahead}')
        if not step.is_keyframe:
            following = step.following if mode == 'both' else None
            order += [f'B{step.frame}<-{step.previous}', f'B{step.frame}<-{following}']
    assert [s.frame for s in steps if s.is_keyframe] == expected['keys']
    assert order == expected['order']
    assert len(steps) == expected['n']


def test_change_score_is_the_distance_of_the_golden_levels():
    levels = golden.load()['schedule']['levels']
    images = constant_images()
    for i, k in ((1, 0), (9, 5), (19, 0)):
        assert change_score(images[i], images[k]) == pytest.approx(levels[i] - levels[k], abs=2e-5)
