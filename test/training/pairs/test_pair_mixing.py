import jsonargparse
import numpy as np
import pytest

from dcfm_ros.training.data import PairData
from dcfm_ros.training.pairs.augment import RoadSceneAugmentation
from dcfm_ros.training.pairs.pair_dataset import PairDataset
from dcfm_ros.training.pairs.pair_mixing import PairMixing
from dcfm_ros.training.pairs.pair_sources import PairSource

UNDER, OVER = 100, 200


def one_pair(value, label):
    """A pair whose frames have the grey values `value` and `value + 1`."""
    image = np.full((*label.shape, 3), value, np.uint8)
    return image, image + 1, label


def stripes(classes, height=60, width=80):
    """A label of equally wide vertical stripes."""
    return np.repeat([classes], height, axis=0).repeat(width // len(classes), axis=1).astype('u1')


def mixed(kind, over_label, seed):
    """A mixed pair, and where it shows the pair that was pasted."""
    under = one_pair(UNDER, np.full(over_label.shape, 9, np.uint8))
    pair = PairMixing(1.0, kind)(under, one_pair(OVER, over_label), np.random.default_rng(seed))
    return pair, pair[1][..., 0] == OVER + 1


class Grey(PairSource):
    """Pairs of one grey value of their own each, with the class 0 to 9."""

    def __len__(self):
        return 10

    def pair(self, index, rng, gap=None):
        return one_pair(20 * index, self.label(index))

    def label(self, index):
        return np.full((64, 64), index, np.uint8)


def grey_pairs(mixing, seed=0):
    options = {'jitter': 0, 'pair_jitter': 0, 'noise': 0, 'blur': 0, 'occlusion': 0}
    augmentation = RoadSceneAugmentation((32, 32), (1, 1), 0, 0, **options)
    return PairDataset([(Grey(), 1)], augmentation, seed, mixing)


@pytest.mark.parametrize('kind', ['classmix', 'cutmix'])
@pytest.mark.parametrize('seed', range(5))
def test_frames_and_label_are_pasted_at_the_same_place(kind, seed):
    (reference, labelled, label), pasted = mixed(kind, stripes([0, 1, 2, 3]), seed)
    assert 0 < pasted.mean() < 1
    assert np.array_equal(reference, np.where(pasted, OVER, UNDER)[..., None].repeat(3, axis=2))
    assert np.array_equal(labelled, reference + 1)
    assert np.array_equal(label, np.where(pasted, stripes([0, 1, 2, 3]), 9))


@pytest.mark.parametrize(('classes', 'count'), [([0, 1, 2, 3], 2), ([2, 4, 6, 7, 8], 3), ([5], 1)])
def test_classmix_takes_half_of_the_classes_and_all_of_their_pixels(classes, count):
    seen = set()
    for seed in range(30):
        over = stripes(classes)
        (_, _, label), pasted = mixed('classmix', over, seed)
        chosen = set(np.unique(label[pasted]).tolist())
        assert len(chosen) == count
        assert np.array_equal(pasted, np.isin(over, list(chosen)))
        seen |= chosen
    assert seen == set(classes)


def test_classmix_pastes_nothing_unlabelled():
    for seed in range(10):
        over = stripes([255, 1, 255, 2])
        (_, _, label), pasted = mixed('classmix', over, seed)
        assert pasted.mean() == 0.25
        assert (label != 255).all()
    assert not mixed('classmix', stripes([255]), 0)[1].any()


def test_cutmix_pastes_a_box():
    shares = []
    for seed in range(1000):
        (_, _, label), pasted = mixed('cutmix', stripes([255, 3]), seed)
        rows, columns = pasted.any(axis=1), pasted.any(axis=0)
        assert np.array_equal(pasted, rows[:, None] & columns)
        assert np.array_equal(label[pasted], stripes([255, 3])[pasted])
        shares.append(pasted.mean())
    # Of a box of side s (a share), s - s^2 / 4 lies inside on average; s^2 is uniform.
    assert np.mean(shares) == pytest.approx(1 / 2 - 1 / 5 + 1 / 48, abs=0.03)
    assert min(shares) < 0.02
    assert max(shares) > 0.8


@pytest.mark.parametrize('kind', ['classmix', 'cutmix'])
def test_mixed_pairs_stay_as_they_were(kind):
    pairs = [one_pair(UNDER, stripes([4, 5])), one_pair(OVER, stripes([1, 2]))]
    copies = [[array.copy() for array in pair] for pair in pairs]
    PairMixing(1.0, kind)(*pairs, np.random.default_rng(0))
    for pair, copy in zip(pairs, copies, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(pair, copy, strict=True))


def test_a_share_of_the_pairs_is_mixed_and_the_others_are_as_without():
    plain, some = grey_pairs(None), grey_pairs(PairMixing(0.3, 'cutmix'))
    same = [
        all((a == b).all() for a, b in zip(plain[index], some[index], strict=True))
        for index in range(300)
    ]
    # One in ten gets a part of itself, and a small box may have no pixel.
    assert 0.6 < np.mean(same) < 0.85


def test_mixed_pairs_follow_from_seed_and_index():
    mixing = PairMixing(1.0, 'cutmix')
    first, same, other = (grey_pairs(mixing, seed) for seed in (5, 5, 6))
    equal = [[(a[i].label == first[i].label).all() for i in range(20)] for a in (same, other)]
    assert all(equal[0])
    assert not all(equal[1])
    assert len({len(first[i].label.unique()) for i in range(20)}) == 2


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'share': 1.5}, r'`share` must be in \[0, 1\], got 1.5'),
        ({'share': float('nan')}, r'`share` must be in \[0, 1\], got nan'),
        ({'kind': 'mixup'}, "`kind` must be one of classmix, cutmix, got 'mixup'"),
    ],
)
def test_bad_mixing_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        PairMixing(**values)


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('{share: 0.25, kind: cutmix}', PairMixing(0.25, 'cutmix')),
        ('{kind: cutmix}', PairMixing(0.5, 'cutmix')),
        (
            '{class_path: dcfm_ros.training.pairs.pair_mixing.PairMixing,'
            ' init_args: {share: 0.25}}',
            PairMixing(0.25),
        ),
        ('null', None),
    ],
)
def test_yaml_says_what_is_mixed(text, expected):
    parser = jsonargparse.ArgumentParser()
    parser.add_class_arguments(PairData, 'data')
    values = parser.parse_args(['--data.train', '[{dataset: rendered}]', '--data.mixing', text])
    assert parser.instantiate(values).data._mixing == expected
