import cv2
import jsonargparse
import numpy as np
import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from dcfm_ros.training.pairs.augment import PairAugmentation, RoadSceneAugmentation
from dcfm_ros.training.pairs.paper_augment import (
    CamVidAugmentation,
    CityscapesAugmentation,
    VspwAugmentation,
)

STILL_LIGHT = {'jitter': 0.0, 'pair_jitter': 0.0, 'noise': 0.0, 'blur': 0.0, 'occlusion': 0.0}
ALL = [
    VspwAugmentation((72, 128), jitter=0),
    CityscapesAugmentation(64, jitter=0),
    CamVidAugmentation(96, jitter=0),
    RoadSceneAugmentation((64, 96), rotation_deg=10, **STILL_LIGHT),
]
BY_NAME = {'argvalues': ALL, 'ids': lambda value: type(value).__name__}


def blocks(height, width):
    """A label in blocks of 24 pixels and an image whose grey value tells the label."""
    label = (np.indices((height, width)) // 24).sum(axis=0) % 5
    image = np.repeat((40 * label + 20)[..., None], 3, axis=2)
    return image.astype(np.uint8), label.astype(np.uint8)


def grey(height, width, value=100):
    return np.full((height, width, 3), value, np.uint8), np.zeros((height, width), np.uint8)


def to_source(augmentation, height, width, seed):
    """The 2x2 matrix (x, y) from output to source pixels, read off an image of coordinates."""
    rows, columns = np.indices((height, width))
    image = np.dstack([columns, rows, rows]).astype(np.uint8)
    label = np.zeros((height, width), np.uint8)
    _, out, mask = augmentation(image, image, label, np.random.default_rng(seed))
    inside = cv2.erode((mask == 0).astype(np.uint8), np.ones((9, 9)), borderValue=1) > 0
    y, x = np.nonzero(inside)
    unknown = np.linalg.lstsq(np.column_stack([x, y, np.ones_like(x)]), out[inside][:, :2])[0]
    return unknown[:2].T


def scale_and_angle(matrix):
    """Source pixels per output pixel, degrees, and whether the pair is mirrored."""
    mirrored = np.linalg.det(matrix) < 0
    upright = matrix * (-1, 1) if mirrored else matrix
    angle = np.rad2deg(np.arctan2(upright[1, 0], upright[0, 0]))
    return np.sqrt(abs(np.linalg.det(matrix))), angle, mirrored


@pytest.mark.parametrize('augmentation', **BY_NAME)
def test_geometry_is_shared_by_both_frames_and_the_label(augmentation):
    image, label = blocks(120, 200)
    for seed in range(20):
        reference, labelled, mask = augmentation(image, image, label, np.random.default_rng(seed))
        assert np.array_equal(reference, labelled)
        around = cv2.copyMakeBorder(mask, 3, 3, 3, 3, cv2.BORDER_CONSTANT, value=255)
        least, greatest = cv2.erode(around, np.ones((7, 7))), cv2.dilate(around, np.ones((7, 7)))
        inside = (least == greatest)[3:-3, 3:-3] & (mask != 255)
        assert inside.mean() > 0.02
        assert np.array_equal(np.rint((labelled[inside][:, 0] - 20.0) / 40), mask[inside])


@pytest.mark.parametrize('build', [VspwAugmentation, CityscapesAugmentation, CamVidAugmentation])
def test_a_frame_that_is_its_own_reference_is_varied_like_two(build):
    image, label = blocks(120, 200)
    augmentation = build((64, 64) if build is VspwAugmentation else 64)
    one = augmentation(image, image, label, np.random.default_rng(3))
    two = augmentation(image.copy(), image, label, np.random.default_rng(3))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def size_of(augmentation):
    if isinstance(augmentation, RoadSceneAugmentation):
        return augmentation.crop
    return augmentation.size


@pytest.mark.parametrize('shape', [(40, 50), (120, 30), (300, 400)])
@pytest.mark.parametrize('augmentation', **BY_NAME)
def test_size_is_the_same_for_frames_of_any_size(augmentation, shape):
    image, label = grey(*shape)
    for seed in range(5):
        reference, labelled, mask = augmentation(image, image, label, np.random.default_rng(seed))
        assert reference.shape == labelled.shape == (*size_of(augmentation), 3)
        assert mask.shape == size_of(augmentation)
        assert reference.dtype == labelled.dtype == mask.dtype == np.uint8
        assert {0} <= set(np.unique(mask)) <= {0, 255}


def test_default_sizes_are_those_of_the_paper():
    assert VspwAugmentation().size == (480, 853)
    assert CityscapesAugmentation().size == (512, 1024)
    assert CityscapesAugmentation(768).size == (768, 1536)
    assert CamVidAugmentation().size == (640, 640)


def test_steps_and_their_order_are_those_of_the_released_code():
    def steps(augmentation, scale):
        geometry = augmentation.geometry(scale)
        return [
            (type(step).__name__, tuple(getattr(step, 'size', ()))) for step in geometry
        ], next((step.degrees, step.fill) for step in geometry if hasattr(step, 'degrees'))

    flip, rotation = ('RandomHorizontalFlip', ()), ('_Rotation', ())
    assert steps(VspwAugmentation(), 0.7) == (
        [('_Resize', (336, 597)), rotation, ('_Crop', (480, 853)), flip],
        (20, 0),
    )
    assert steps(CityscapesAugmentation(768), 0.7) == (
        [rotation, ('_Crop', (537, 1074)), ('_Resize', (768, 1536)), flip],
        (10, 255),
    )
    assert steps(CamVidAugmentation(), 0.7) == (
        [rotation, ('_Crop', (448, 448)), flip, ('_Resize', (640, 640))],
        (10, 255),
    )


@pytest.mark.parametrize(
    ('augmentation', 'shape', 'least', 'greatest', 'degrees'),
    [
        (VspwAugmentation((120, 160), 0), (120, 160), 0.5, 2.0, 20),
        (CityscapesAugmentation(64, 0), (128, 250), 0.5, 2.0, 10),
        (CamVidAugmentation(96, 0), (128, 160), 0.5, 1.0, 10),
    ],
    ids=['vspw', 'cityscapes', 'camvid'],
)
def test_scale_and_rotation_fill_their_range(augmentation, shape, least, greatest, degrees):
    found = [scale_and_angle(to_source(augmentation, *shape, seed)) for seed in range(250)]
    scales, angles, mirrored = (np.array(values) for values in zip(*found, strict=True))
    if isinstance(augmentation, VspwAugmentation):
        scales = 1 / scales  # the frame is scaled there, the crop elsewhere
    span = greatest - least
    assert least - 0.03 < scales.min() < least + 0.05 * span
    assert greatest - 0.05 * span < scales.max() < greatest + 0.03
    assert scales.mean() == pytest.approx((least + greatest) / 2, abs=0.08 * span)
    assert 0.9 * degrees < np.abs(angles).max() < degrees + 0.5
    assert angles.mean() == pytest.approx(0, abs=0.15 * degrees)
    assert 0.4 < mirrored.mean() < 0.6


def test_vspw_frames_are_rotated_after_they_are_resized():
    # Twice as many columns per row as the output has: the resizing is not the same both ways.
    matrices = [to_source(VspwAugmentation((120, 120), 0), 120, 240, seed) for seed in range(10)]
    resizing = np.diag([2.0, 1.0])
    for matrix in matrices:
        rotation = np.linalg.inv(resizing) @ matrix
        rotation /= np.sqrt(abs(np.linalg.det(rotation)))
        assert np.abs(rotation @ rotation.T - np.eye(2)).max() < 0.02


def test_vspw_is_black_beyond_the_frame():
    image, label = grey(72, 128)
    for seed in range(20):
        _, out, mask = VspwAugmentation((72, 128), 0)(
            image, image, label, np.random.default_rng(seed)
        )
        assert set(np.unique(out[mask == 255])) <= {0}
        assert set(np.unique(out[mask == 0])) <= {100}


@pytest.mark.parametrize(
    'augmentation', [CityscapesAugmentation(64, 0), CamVidAugmentation(96, 0)]
)
def test_rotation_is_white_and_padding_black(augmentation):
    def beyond(shape):
        """Share of white and of black among the pixels without a label."""
        image, label = grey(*shape)
        values = []
        for seed in range(30):
            _, out, mask = augmentation(image, image, label, np.random.default_rng(seed))
            values.append(out[mask == 255][:, 0])
        values = np.concatenate(values)
        return (values >= 200).mean(), (values <= 20).mean()

    white, black = beyond((130, 260))
    assert white > 0.85  # the rest is mixed with the frame's edge
    assert black == 0
    white, black = beyond((30, 40))
    assert black > 0.8
    assert white > 0.002


def test_frames_are_padded_by_the_whole_deficit_on_either_side():
    # 50 px more than the frame, on either side: the frame lies anywhere, also cut in half.
    augmentation = CityscapesAugmentation(100, 0)
    crop = next(step for step in augmentation.geometry(1.0) if isinstance(step, v2.RandomCrop))
    mask = tv_tensors.Mask(torch.zeros(50, 200, dtype=torch.uint8))
    torch.manual_seed(0)
    shown = [int((crop(mask)[:, 0] == 0).sum()) for _ in range(100)]
    starts = [int((crop(mask)[:, 0] == 0).int().argmax()) for _ in range(200)]
    assert set(shown) == {50}
    assert min(starts) < 3
    assert max(starts) > 47


def test_rotation_is_that_of_torchvision():
    rotation = next(iter(CityscapesAugmentation().geometry(1.0)))
    frames = tv_tensors.Image(torch.randint(0, 255, (2, 3, 120, 250), dtype=torch.uint8))
    for angle in (9.7, -4.2):
        ours = rotation.transform(frames, {'angle': angle})
        theirs = v2.functional.rotate(frames, angle, fill=255)
        assert (ours != theirs).double().mean() < 1e-3


def test_mask_is_resized_to_the_middle_pixel():
    resize = VspwAugmentation((32, 60)).geometry(0.5)[0]  # three source pixels per output pixel
    columns = torch.arange(90, dtype=torch.uint8).expand(48, 90)
    image, mask = resize(tv_tensors.Image(columns[None]), tv_tensors.Mask(columns))
    assert torch.equal(mask[0], torch.arange(1, 90, 3, dtype=torch.uint8))
    assert torch.equal(image[0, 0, 1:-1], mask[0, 1:-1])


@pytest.mark.parametrize('augmentation', **BY_NAME)
def test_everything_follows_from_the_given_generator(augmentation):
    image, label = blocks(120, 200)
    results = []
    for seed, torch_seed in ((1, 1), (1, 2), (2, 2)):
        torch.manual_seed(torch_seed)
        state = torch.get_rng_state()
        results.append(augmentation(image, image, label, np.random.default_rng(seed)))
        assert torch.equal(torch.get_rng_state(), state)
    assert all(np.array_equal(a, b) for a, b in zip(*results[:2], strict=True))
    assert not np.array_equal(results[1][2], results[2][2])


def test_jitter_is_as_strong_as_in_the_released_code():
    for augmentation, strength in ((VspwAugmentation(), 0.2), (CityscapesAugmentation(), 0.3)):
        jitter = augmentation.jitter
        for found in (jitter.brightness, jitter.contrast, jitter.saturation):
            assert found == pytest.approx((1 - strength, 1 + strength))
        assert jitter.hue == pytest.approx((-strength, strength))


@pytest.mark.parametrize(
    ('augmentation', 'plain'),
    [
        (VspwAugmentation((72, 128)), ALL[0]),
        (CityscapesAugmentation(64), ALL[1]),
        (CamVidAugmentation(96), ALL[2]),
    ],
)
def test_jitter_is_drawn_for_each_frame(augmentation, plain):
    image, label = blocks(130, 260)
    first, second, _ = augmentation(image, image, label, np.random.default_rng(0))
    same, _, _ = plain(image, image, label, np.random.default_rng(0))
    for one, other in ((first, second), (first, same), (second, same)):
        assert np.abs(one.astype(int) - other).mean() > 1


def test_released_cityscapes_code_leaves_the_reference_alone():
    image, label = blocks(130, 260)
    released = CityscapesAugmentation(64, jitter_reference=False)
    reference, labelled, _ = released(image, image, label, np.random.default_rng(0))
    plain, _, _ = CityscapesAugmentation(64, jitter=0)(
        image, image, label, np.random.default_rng(0)
    )
    assert np.array_equal(reference, plain)
    assert not np.array_equal(labelled, plain)


def test_read_only_frames_are_taken_as_they_are():
    image, label = blocks(80, 90)
    for array in (image, label):
        array.flags.writeable = False
    for augmentation in ALL:
        augmentation(image, image, label, np.random.default_rng(0))


@pytest.mark.parametrize(
    ('build', 'message'),
    [
        (lambda: VspwAugmentation((480, 8)), r'`size` must be at least 32 pixels each way, got'),
        (lambda: CityscapesAugmentation(jitter=0.6), r'`jitter` must be in \[0, 0.5\], got 0.6'),
        (lambda: RoadSceneAugmentation(scale=(2, 1)), r'`scale` must be \(least, greatest\)'),
        (lambda: RoadSceneAugmentation(stretch=1.0), r'`stretch` must be in \[0, 1\), got 1.0'),
    ],
)
def test_bad_values_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ('name', 'arguments', 'size'),
    [
        ('augment.RoadSceneAugmentation', {'crop': [64, 96], 'noise': 0}, (64, 96)),
        ('paper_augment.VspwAugmentation', {'jitter': 0.1}, (480, 853)),
        ('paper_augment.CityscapesAugmentation', {'size': 768}, (768, 1536)),
        ('paper_augment.CamVidAugmentation', {}, (640, 640)),
    ],
)
def test_yaml_names_the_augmentation(name, arguments, size):
    parser = jsonargparse.ArgumentParser()
    parser.add_argument('--augmentation', type=PairAugmentation)
    entry = {'class_path': f'dcfm_ros.training.pairs.{name}', 'init_args': arguments}
    built = parser.instantiate(parser.parse_object({'augmentation': entry})).augmentation
    assert type(built).__name__ == name.split('.')[1]
    assert size_of(built) == size
