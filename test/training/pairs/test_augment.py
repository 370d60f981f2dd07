import math

import numpy as np
import pytest

from dcfm_ros.training.pairs.augment import RoadSceneAugmentation

STILL_LIGHT = {'jitter': 0.0, 'pair_jitter': 0.0, 'noise': 0.0, 'blur': 0.0, 'occlusion': 0.0}


def noise(height=120, width=160):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_geometry_is_shared_by_both_frames_and_the_label():
    label = (np.indices((120, 160)).sum(axis=0) // 20 % 5).astype(np.uint8)
    image = np.repeat((label * 50)[..., None], 3, axis=2)
    options = RoadSceneAugmentation(crop=(64, 96), **STILL_LIGHT)
    for seed in range(5):
        first, second, cut = options(image, image, label, np.random.default_rng(seed))
        assert np.array_equal(first, second)
        inside = cut != 255
        assert inside.mean() > 0.2
        right = np.abs(first[..., 0][inside].astype(int) - cut[inside] * 50) < 26
        assert right.mean() > 0.9


def test_each_frame_stays_itself():
    image, label = noise(), np.zeros((120, 160), np.uint8)
    whole = {'scale': (1, 1), 'stretch': 0, 'rotation_deg': 0, 'flip': 0}
    options = RoadSceneAugmentation(crop=(120, 160), **whole, **STILL_LIGHT)
    first, second, _ = options(255 - image, image, label, np.random.default_rng(0))
    assert np.array_equal(first, 255 - image)
    assert np.array_equal(second, image)


@pytest.mark.parametrize('light', [STILL_LIGHT, {'occlusion': 1.0}])
def test_a_frame_that_is_its_own_reference_is_varied_like_two(light):
    image, label = noise(), np.zeros((120, 160), np.uint8)
    options = RoadSceneAugmentation(crop=(64, 96), **light)
    for seed in range(5):
        one = options(image, image, label, np.random.default_rng(seed))
        two = options(image.copy(), image, label, np.random.default_rng(seed))
        assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_label_outside_the_frame_is_ignored():
    image, label = noise(64, 64), np.zeros((64, 64), np.uint8)
    options = RoadSceneAugmentation(
        crop=(128, 128), scale=(1, 1), stretch=0, rotation_deg=0, **STILL_LIGHT
    )
    _, _, cut = options(image, image, label, np.random.default_rng(0))
    assert np.count_nonzero(cut != 255) == 64 * 64


def test_only_the_reference_is_occluded():
    image, label = noise(), np.zeros((120, 160), np.uint8)
    options = RoadSceneAugmentation(
        crop=(120, 160),
        scale=(1, 1),
        stretch=0,
        rotation_deg=0,
        flip=0,
        **{**STILL_LIGHT, 'occlusion': 1.0},
    )
    first, second, _ = options(image, image, label, np.random.default_rng(1))
    assert np.array_equal(second, image)
    assert (first != image).any(axis=2).mean() > 0.001


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'crop': (8, 64)}, '`crop` must be at least 32'),
        ({'scale': (2.0, 1.0)}, '`scale` must be'),
        ({'scale': (1.0, math.inf)}, '`scale` must be'),
        ({'flip': 1.5}, r'`flip` must be in \[0, 1\], got 1.5'),
        ({'noise': math.nan}, '`noise` must be at least 0 and finite, got nan'),
        ({'noise': -1.0}, '`noise` must be at least 0 and finite, got -1.0'),
        ({'rotation_deg': math.nan}, '`rotation_deg` must be at least 0 and finite, got nan'),
    ],
)
def test_bad_augmentation_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        RoadSceneAugmentation(**values)
