import dataclasses

import golden
import numpy as np
import pytest
import torch

from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.training.ablated_network import AblatedConfig, build_network
from dcfm_ros.training.losses import (
    LossOptions,
    agreement_mask,
    consistency_loss,
    keyframe_loss,
    symmetric_loss,
)
from dcfm_ros.training.optimisation import poly_with_warmup
from dcfm_ros.training.pair_network import as_pair_network
from dcfm_ros.training.segmentation_losses import (
    ClassWeighting,
    cross_entropy,
    generalised_dice,
    ohem_cross_entropy,
    segmentation_loss,
)

SWITCHES = {
    'kh=False': 'key_uses_common',
    'kl=False': 'key_uses_independent',
    'nh=False': 'nonkey_uses_common',
    'nl=False': 'nonkey_uses_independent',
}


def roles(net, reference, labelled):
    """What the labelled frame is classified by, as a keyframe and as a non-key frame."""
    parts = as_pair_network(net)
    independent = parts.encode(labelled)
    deep = parts.deep(independent), parts.deep(parts.encode(reference))
    return [parts.fuse(deep[i], independent, is_keyframe=not i) for i in (0, 1)]


def golden_case(case, **switches):
    """Network, golden frames 2 (reference) and 1 (labelled), label, figures of the loss."""
    facts = golden.load()['models'][case]
    config = DCFMConfig.preset(golden.PRESETS[case])
    # The released training code resizes before it normalises; the published figures do not.
    config = dataclasses.replace(config, align_before_norm=True)
    plain = golden.golden_net(config)
    net = build_network(AblatedConfig(**{**plain.config.to_dict(), **switches})).double().eval()
    net.load_state_dict(plain.state_dict())
    net.training = True  # but not its batch norms and dropouts: the golden figures are of these
    size = tuple(facts['args']['size'])
    frames = golden.golden_frames(net, size)
    label = np.random.RandomState(7).randint(0, config.num_classes, (1, *size))
    label[np.random.RandomState(8).random_sample((1, *size)) < 0.1] = 255
    return net, (frames[2], frames[1]), torch.from_numpy(label), facts


def golden_loss(case, **switches):
    """The loss of the golden frames, with the figures it must have."""
    net, frames, label, facts = golden_case(case, **switches)
    with torch.no_grad():
        return symmetric_loss(net, *frames, label, LossOptions()), facts


@golden.needs_golden
@pytest.mark.parametrize('case', list(golden.PRESETS))
def test_golden_losses(case):
    loss, facts = golden_loss(case)
    expected = facts['train_eval']
    assert loss.keyframe.item() == pytest.approx(expected['CE'], rel=1e-8)
    assert loss.nonkey.item() == pytest.approx(expected['CE_B'], rel=1e-8)
    assert loss.consistency.item() == pytest.approx(expected['PC'], rel=1e-8)
    assert loss.agreement.item() == pytest.approx(expected['mask_frac'], rel=1e-12)


@golden.needs_golden
@pytest.mark.parametrize('case', list(golden.PRESETS))
def test_golden_features_and_logits_of_both_roles(case):
    net, frames, label, facts = golden_case(case)
    expected, parts = facts['train_eval'], as_pair_network(net)
    with torch.no_grad():
        fused = roles(net, *frames)
        logits = [parts.decode(one, tuple(label.shape[1:])) for one in fused]
    (keyframe,), (nonkey,) = map(parts.compared, fused)
    difference = torch.nn.functional.mse_loss(keyframe, nonkey)
    assert difference.item() == pytest.approx(expected['F'], rel=1e-8)
    golden.check_summary(logits[0], expected['pred_L'])
    golden.check_summary(logits[1], expected['pred_L_hat'])


@pytest.mark.slow
@golden.needs_golden
@pytest.mark.parametrize('case', ['vspw_b0_s16', 'camvid_r50'])
@pytest.mark.parametrize('switch', list(SWITCHES))
def test_golden_losses_of_ablations(case, switch):
    expected = golden.load()['models'][case]['ablation'][switch]
    if isinstance(expected, str):
        pytest.skip(f'no golden value: {expected}')
    loss, _ = golden_loss(case, **{SWITCHES[switch]: False})
    assert loss.keyframe.item() == pytest.approx(expected['CE'], rel=1e-8)
    assert loss.nonkey.item() == pytest.approx(expected['CE_B'], rel=1e-8)
    assert loss.consistency.item() == pytest.approx(expected['PC'], rel=1e-8)


@golden.needs_golden
@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('mit 6e-5/160k', {'base_lr': 6e-5, 'total_steps': 160000}),
        (
            'city resnet 1e-2/80k eta 1e-4',
            {'base_lr': 1e-2, 'total_steps': 80000, 'power': 0.9, 'min_lr': 1e-4},
        ),
        (
            'camvid 2e-2/40k eta 1e-5 nowarm',
            {
                'base_lr': 2e-2,
                'total_steps': 40000,
                'power': 0.9,
                'min_lr': 1e-5,
                'warmup_steps': 0,
            },
        ),
    ],
)
def test_golden_learning_rates(name, options):
    for step, expected in golden.load()['lr'][name].items():
        assert poly_with_warmup(int(step), **options) == pytest.approx(expected, abs=1e-12)


def test_ignored_pixels_have_no_effect():
    logits = torch.randn(1, 3, 1, 2)
    one = cross_entropy(logits, torch.tensor([[[2, 255]]]))
    assert one.item() == pytest.approx(-logits.log_softmax(1)[0, 2, 0, 0].item(), rel=1e-6)


@pytest.mark.parametrize('weighting', [None, ClassWeighting.of(3)])
def test_loss_and_gradient_are_zero_where_everything_is_ignored(weighting):
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = cross_entropy(logits, torch.full((1, 2, 2), 255), weighting)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_class_weights_are_those_of_a_weighted_mean():
    logits, label = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    weights = [0.5, 1.0, 4.0]
    expected = torch.nn.functional.cross_entropy(logits, label, weight=torch.tensor(weights))
    loss = cross_entropy(logits, label, ClassWeighting.of(3, weights))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_consistency_counts_masked_elements_in_its_mean():
    fused, other = torch.zeros(1, 2, 1, 2), torch.ones(1, 2, 1, 2)
    assert consistency_loss(fused, other, torch.tensor([[[[1.0, 0.0]]]])).item() == 0.5


def test_consistency_counts_the_share_of_a_finer_mask():
    fused, other = torch.zeros(1, 2, 1, 2), torch.ones(1, 2, 1, 2)
    mask = torch.tensor([[[[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]]]])
    assert consistency_loss(fused, other, mask).item() == 0.375  # three of four, none of four


def test_agreement_is_where_the_classes_are_equal():
    logits = torch.tensor([[[[2.0, 0.0]], [[1.0, 3.0]]]])
    other = torch.tensor([[[[9.0, 5.0]], [[1.0, 3.0]]]])
    assert agreement_mask(logits, other).tolist() == [[[[1.0, 0.0]]]]


def test_a_frame_paired_with_itself_has_one_loss_in_both_roles():
    net = DCFM(DCFMConfig(backbone='mit_b0', num_classes=3)).eval()
    image, label = torch.rand(1, 3, 64, 64), torch.randint(0, 3, (1, 64, 64))
    loss = symmetric_loss(net, image, image, label, LossOptions())
    assert loss.keyframe.item() == pytest.approx(loss.nonkey.item(), rel=1e-6)
    assert loss.consistency.item() == pytest.approx(0, abs=1e-9)
    assert loss.agreement.item() == 1


@pytest.mark.parametrize('kind', ['ce', 'ohem'])
def test_keyframe_loss_is_the_symmetric_loss_without_the_other_terms(kind):
    net = DCFM(DCFMConfig(backbone='mit_b0', num_classes=3)).eval()
    reference, image = torch.rand(2, 1, 3, 64, 64)
    label = torch.randint(0, 3, (1, 64, 64))
    label[:, :9] = 255
    options = LossOptions(keyframe=0.7, nonkey=0, consistency=0, segmentation=kind)
    weights = ClassWeighting.of(3, [1.0, 0.3, 2.0])
    assert not options.needs_reference
    both = symmetric_loss(net, reference, image, label, options, weights)
    alone = keyframe_loss(net, image, label, options, weights)
    assert alone.item() == pytest.approx(both.total.item(), rel=1e-6)


def test_reference_frame_is_trained_through_both_terms():
    net = DCFM(DCFMConfig(backbone='mit_b0', num_classes=3)).eval()
    label = torch.randint(0, 3, (1, 64, 64))
    for weights in (
        LossOptions(keyframe=0, nonkey=1, consistency=0),
        LossOptions(keyframe=0, nonkey=0, consistency=1),
    ):
        assert weights.needs_reference
        reference = torch.rand(1, 3, 64, 64, requires_grad=True)
        loss = symmetric_loss(net, reference, torch.rand(1, 3, 64, 64), label, weights)
        loss.total.backward()
        assert reference.grad.abs().sum() > 0


def logits_of(losses):
    """Two-class logits with the given cross-entropy for class 0 per pixel, (1, 2, 1, N)."""
    probability = torch.tensor(losses, dtype=torch.float64).neg().exp()
    return torch.stack([probability, 1 - probability]).log()[None, :, None]


def test_ohem_is_the_mean_over_hard_pixels():
    # 32 pixels, 4 above -ln .7 = .357: more than a sixteenth, so all of these and nothing else.
    logits = logits_of([2.0, 1.0, 0.5, 0.4] + [0.3] * 28)
    label = torch.zeros(1, 1, 32, dtype=torch.int64)
    assert ohem_cross_entropy(logits, label).item() == pytest.approx(3.9 / 4)


def test_ohem_keeps_a_sixteenth_where_little_is_hard():
    logits = logits_of([0.9, 0.2] + [0.1] * 30)
    label = torch.zeros(1, 1, 32, dtype=torch.int64)
    assert ohem_cross_entropy(logits, label).item() == pytest.approx(1.1 / 2)


def test_ohem_counts_ignored_pixels_as_easy_ones():
    logits = logits_of([0.9, 9.0] + [0.1] * 30)
    label = torch.zeros(1, 1, 32, dtype=torch.int64)
    label[..., 1] = 255
    assert ohem_cross_entropy(logits, label).item() == pytest.approx(1.0 / 2)


def test_dice_of_hand_made_probabilities():
    # Class 0: 1 pixel, class 1: 2 pixels, one more is ignored; weights 1 and 1/4.
    probability = torch.tensor([[0.8, 0.4, 0.1, 0.5], [0.2, 0.6, 0.9, 0.5]], dtype=torch.float64)
    label = torch.tensor([[[0, 1, 1, 255]]])
    overlap = 0.8 + (0.6 + 0.9) / 4
    total = (0.8 + 0.4 + 0.1 + 1) + (0.2 + 0.6 + 0.9 + 2) / 4
    dice = generalised_dice(probability.log()[None, :, None], label)
    assert dice.item() == pytest.approx(1 - 2 * overlap / total, rel=1e-6)


def test_dice_is_zero_for_a_perfect_map_and_where_nothing_is_labelled():
    label = torch.tensor([[[0, 2], [2, 255]]])
    logits = torch.nn.functional.one_hot(label.clamp(max=2), 3).movedim(-1, 1) * 100.0
    assert generalised_dice(logits, label).item() == pytest.approx(0, abs=1e-6)
    assert generalised_dice(logits, torch.full_like(label, 255)).item() == 0


def test_ce_dice_is_the_sum_of_both():
    logits, label = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    both = cross_entropy(logits, label) + generalised_dice(logits, label)
    assert segmentation_loss('ce_dice', logits, label).item() == pytest.approx(both.item())


def test_l1_consistency_is_the_mean_absolute_difference():
    fused, other = torch.zeros(1, 2, 1, 2), torch.full((1, 2, 1, 2), -0.5)
    mask = torch.tensor([[[[1.0, 0.0]]]])
    assert consistency_loss(fused, other, mask, 'l1').item() == 0.25
    assert consistency_loss(fused, other, mask, 'mse').item() == 0.125


def test_consistency_survives_half_precision():
    fused = torch.full((1, 1, 1, 1), 1e-4, dtype=torch.float16)
    loss = consistency_loss(fused, torch.zeros_like(fused), torch.ones(1, 1, 1, 1))
    assert loss.item() == pytest.approx(1e-8, rel=1e-2)


def test_options_choose_the_losses():
    net = DCFM(DCFMConfig(backbone='mit_b0', num_classes=3)).eval()
    frames, label = torch.rand(2, 1, 3, 64, 64), torch.randint(0, 3, (1, 64, 64))
    options = LossOptions(segmentation='ohem', distance='l1', keyframe=2, nonkey=3, consistency=4)
    loss = symmetric_loss(net, *frames, label, options)
    logits = as_pair_network(net).decode(roles(net, *frames)[1], (64, 64))
    assert loss.nonkey.item() == pytest.approx(ohem_cross_entropy(logits, label).item(), rel=1e-4)
    parts = 2 * loss.keyframe + 3 * loss.nonkey + 4 * loss.consistency
    assert loss.total.item() == pytest.approx(parts.item())


@pytest.mark.parametrize(
    ('name', 'value'), [('nonkey', -1.0), ('segmentation', 'focal'), ('distance', 'cosine')]
)
def test_wrong_options_are_refused(name, value):
    with pytest.raises(ValueError, match=f'`{name}` must be .*{value}'):
        LossOptions(**{name: value})


def test_a_loss_without_any_term_is_refused():
    match = 'one of `keyframe`, `nonkey`, `consistency` must be above 0, got 0s'
    with pytest.raises(ValueError, match=match):
        LossOptions(keyframe=0, nonkey=0, consistency=0)


@pytest.mark.parametrize('weighting', [None, ClassWeighting.of(3)])
def test_cross_entropy_of_a_large_image_is_within_half_precision(weighting):
    logits = torch.randn(2, 3, 320, 416, generator=torch.Generator().manual_seed(0))
    label = torch.randint(0, 3, (2, 320, 416), generator=torch.Generator().manual_seed(1))
    expected = cross_entropy(logits, label)
    weighting = weighting and weighting.like(logits.half())
    loss = cross_entropy(logits.half(), label, weighting)
    torch.testing.assert_close(loss.float(), expected, rtol=1e-3, atol=0)
