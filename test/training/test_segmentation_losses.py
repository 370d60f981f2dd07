"""Labels that are sets of classes: minus the log of the summed probabilities."""

from __future__ import annotations

import math

import pytest
import torch

from dcfm_ros.training.segmentation_losses import (
    KINDS,
    ClassWeighting,
    cross_entropy,
    generalised_dice,
    ohem_cross_entropy,
    segmentation_loss,
)

SETS = ((0, 2), (1, 2, 3))
"""Of four classes: ids 4 and 5."""
MEMBERS = [(0,), (1,), (2,), (3,), *SETS]


def weighting_of(weights=None):
    return ClassWeighting.of(4, weights, SETS).like(torch.zeros(1, dtype=torch.float64))


def draw(seed=0, shape=(2, 5, 6)):
    """Logits in float64, and labels of all ids and of 255."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn((shape[0], 4, *shape[1:]), generator=generator, dtype=torch.float64)
    label = torch.randint(0, 7, shape, generator=generator)
    label[label == 6] = 255
    assert set(label.unique().tolist()) == {0, 1, 2, 3, 4, 5, 255}
    return logits.requires_grad_(), label


def brute_force(logits, label, weights=(1.0,) * 4):
    """(weighted loss, weight) of every labelled pixel, one after the other."""
    pixels = []
    for place in (label != 255).nonzero().tolist():
        image, row, column = place
        values = logits[image, :, row, column]
        classes = MEMBERS[label[image, row, column]]
        probabilities = values.exp() / values.exp().sum()
        weight = sum(weights[c] for c in classes) / len(classes)
        loss = -weight * torch.log(sum(probabilities[c] for c in classes))
        pixels.append((loss, weight))
    return pixels


def test_a_set_costs_the_log_of_its_summed_probabilities():
    probability = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    logits = (probability.log() + 7)[None, :, None, None]
    for label, expected in ((4, 0.4), (5, 0.9), (1, 0.2)):
        loss = cross_entropy(logits, torch.tensor([[[label]]]), weighting_of())
        assert loss.item() == pytest.approx(-math.log(expected), rel=1e-12)


def test_a_set_weighs_the_mean_of_its_classes():
    weighting = weighting_of([1, 2, 4, 0])
    assert weighting.weights.tolist()[:7] == [1, 2, 4, 0, 2.5, 2, 0]
    logits = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64).log()[None, :, None, None]
    label = torch.tensor([[[4, 1, 255]]])
    loss = cross_entropy(logits.expand(1, 4, 1, 3), label, weighting)
    assert loss.item() == pytest.approx(-(2.5 * math.log(0.4) + 2 * math.log(0.2)) / 4.5)


@pytest.mark.parametrize('weights', [None, [0.5, 1.0, 4.0, 1.0]])
def test_cross_entropy_and_gradient_are_those_of_brute_force(weights):
    logits, label = draw()
    pixels = brute_force(logits, label, weights or (1.0,) * 4)
    expected = sum(loss for loss, _ in pixels) / sum(weight for _, weight in pixels)
    (expected_gradient,) = torch.autograd.grad(expected, logits)
    loss = cross_entropy(logits, label, weighting_of(weights))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    assert torch.allclose(gradient, expected_gradient, rtol=1e-10, atol=1e-14)
    assert not gradient.movedim(1, -1)[label == 255].any()


def test_gradient_is_right_by_finite_differences():
    logits, label = draw(1, (1, 4, 6))
    for kind in ('ce', 'ohem'):  # Dice is computed in float32
        torch.autograd.gradcheck(
            lambda values, kind=kind: segmentation_loss(kind, values, label, weighting_of()),
            logits,
        )


def test_ohem_takes_sets_for_pixels_like_others():
    logits, label = draw(2, (2, 4, 8))
    losses = sorted((loss.item() for loss, _ in brute_force(logits, label)), reverse=True)
    hard = [loss for loss in losses if loss > -math.log(0.7)]
    assert len(hard) > 64 / 16
    found = ohem_cross_entropy(logits, label, weighting_of()).item()
    assert found == pytest.approx(sum(hard) / len(hard), rel=1e-12)


def test_nothing_labelled_costs_nothing():
    logits, label = draw()
    for kind in KINDS:
        loss = segmentation_loss(kind, logits, torch.full_like(label, 255), weighting_of())
        (gradient,) = torch.autograd.grad(loss, logits, allow_unused=True)
        assert loss.item() == 0
        assert gradient is None or not gradient.any()


def test_dice_looks_at_single_classes_only():
    logits, label = draw()
    without = label.masked_fill((label == 4) | (label == 5), 255)
    assert generalised_dice(logits, label).item() == generalised_dice(logits, without).item()
    both = cross_entropy(logits, label, weighting_of()) + generalised_dice(logits, label)
    found = segmentation_loss('ce_dice', logits, label, weighting_of())
    assert found.item() == pytest.approx(both.item())


def test_a_set_of_all_classes_costs_nothing():
    logits = torch.randn(1, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    weighting = ClassWeighting.of(4, None, [(0, 1, 2, 3)]).like(logits)
    loss = cross_entropy(logits, torch.full((1, 2, 2), 4), weighting)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert torch.allclose(logits.grad, torch.zeros_like(logits), atol=1e-12)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_large_logits_in_half_precision_keep_the_loss_of_a_set(dtype):
    values = torch.tensor([30.0, 30.5, 30.25, 20.0])
    logits = values[None, :, None, None].to(dtype)
    weighting = ClassWeighting.of(4, None, SETS).like(logits)
    loss = cross_entropy(logits, torch.tensor([[[4]]]), weighting)
    share = values.softmax(0)[[0, 2]].sum()
    assert loss.dtype == dtype
    assert loss.item() == pytest.approx(-math.log(share), rel=1e-2)


def test_autocast_keeps_the_loss_of_a_set():
    logits, label = draw()
    weighting = ClassWeighting.of(4, None, SETS)
    exact = cross_entropy(logits.float().bfloat16().float(), label, weighting)
    with torch.autocast('cpu', torch.bfloat16):
        loss = cross_entropy(logits.float().bfloat16(), label, weighting)
    assert loss.item() == pytest.approx(exact.item(), rel=1e-2)


def test_ids_of_no_class_and_no_set_are_errors():
    logits = torch.zeros(1, 4, 1, 1)
    without_and_with = ClassWeighting.of(4), ClassWeighting.of(4, None, SETS)
    for label, weighting in ((4, None), (4, without_and_with[0]), (6, without_and_with[1])):
        with pytest.raises(IndexError):
            cross_entropy(logits, torch.tensor([[[label]]]), weighting)
