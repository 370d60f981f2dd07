import cv2
import numpy as np
import pytest

from dcfm_ros.training.augment import Augmentation, augment_pair
from dcfm_ros.training.camvid_stills import LabelledFrame, find_camvid, hold_out, load_frames
from dcfm_ros.training.clip_pairs import (
    AgeDistribution,
    ClipPairDataset,
    DriveSource,
    FixedPairDataset,
    RunningSampler,
    StillSource,
)
from dcfm_ros.training.still_motion import Ego, moved_view, prepare_still, sample_ego

SKY, BUILDING, ROAD, SIGN = 0, 1, 3, 6
STILL_LIGHT = {'jitter': 0.0, 'pair_jitter': 0.0, 'noise': 0.0, 'blur': 0.0, 'occlusion': 0.0}


def street(height=120, width=160):
    """A labelled still: sky, facades to both sides, road, one large sign left of the middle."""
    label = np.full((height, width), ROAD, np.uint8)
    label[: height * 46 // 100] = SKY
    label[height // 6 : height * 6 // 10, : width // 5] = BUILDING
    label[height // 6 : height * 6 // 10, -width // 5 :] = BUILDING
    label[height // 2 : height * 3 // 4, width // 4 : width * 2 // 5] = SIGN
    rng = np.random.default_rng(0)
    image = (label[..., None] * 20 + rng.integers(0, 20, (height, width, 3))).astype(np.uint8)
    return image, label


def write_camvid(root, names, split='train', size=(12, 16)):
    for folder in (split, f'{split}annot'):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        image = np.full((*size, 3), (10, 100, 200), np.uint8)
        label = np.full(size, 3, np.uint8)
        label[0, :2] = (11, 10)
        cv2.imwrite(str(root / split / f'{name}.jpg'), image)
        cv2.imwrite(str(root / f'{split}annot' / f'{name}.png'), label)


def test_camvid_is_decoded_to_rgb_and_void_to_255(tmp_path):
    write_camvid(tmp_path, ['0001TP_000010'])
    [(image, label)] = load_frames(find_camvid(tmp_path, 'train'))
    assert image[5, 5].tolist() == pytest.approx([200, 100, 10], abs=4)
    assert label[0, :3].tolist() == [255, 10, 3]


def test_all_unpaired_files_are_listed(tmp_path):
    write_camvid(tmp_path, ['a_1', 'b_1', 'c_1'])
    (tmp_path / 'train' / 'a_1.jpg').unlink()
    (tmp_path / 'trainannot' / 'b_1.png').unlink()
    with pytest.raises(ValueError, match=r'2 problems') as error:
        find_camvid(tmp_path, 'train')
    assert 'a_1.png has no image' in str(error.value)
    assert 'b_1.jpg has no label' in str(error.value)


def test_all_undecodable_files_are_listed(tmp_path):
    write_camvid(tmp_path, ['a_1', 'b_1'])
    (tmp_path / 'train' / 'a_1.jpg').write_bytes(b'no image')
    cv2.imwrite(str(tmp_path / 'trainannot' / 'b_1.png'), np.zeros((5, 5), np.uint8))
    with pytest.raises(ValueError, match=r'2 problems') as error:
        load_frames(find_camvid(tmp_path, 'train'))
    assert 'a_1.jpg cannot be read' in str(error.value)
    assert 'b_1.jpg is (12, 16) and its label (5, 5)' in str(error.value)


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='train is not a folder'):
        find_camvid(tmp_path, 'train')


def test_the_end_of_every_drive_is_held_out(tmp_path):
    frames = [
        LabelledFrame(tmp_path / f'{drive}_{i}.jpg', tmp_path / f'{drive}_{i}.png')
        for drive in ('a', 'b')
        for i in range(5)
    ]
    training, validation = hold_out(frames, 0.4)
    assert [frame.image.stem for frame in validation] == ['a_3', 'a_4', 'b_3', 'b_4']
    assert [frame.image.stem for frame in training] == ['a_0', 'a_1', 'a_2', 'b_0', 'b_1', 'b_2']


def test_ages_are_those_of_the_schedule():
    ages = AgeDistribution((4,))
    rng = np.random.default_rng(0)
    drawn = [ages.draw(rng) for _ in range(900)]
    assert sorted(set(drawn)) == [1, 2, 3]
    assert 250 < drawn.count(2) < 350


def test_future_references_have_negative_age():
    ages = AgeDistribution((2,), future_share=0.5)
    rng = np.random.default_rng(0)
    assert {ages.draw(rng) for _ in range(50)} == {-1, 1}


def test_still_camera_and_objects_give_the_image_back():
    still = prepare_still(*street())
    view = moved_view(still, Ego(), [], 0, np.random.default_rng(0))
    background = still.label != SIGN
    background = cv2.erode(background.astype(np.uint8), np.ones((7, 7))) > 0
    assert np.abs(view[background].astype(int) - still.image[background]).max() <= 1


def test_earlier_view_is_farther_away():
    image, label = street()
    still = prepare_still(image, label)
    # The grey value of the picture tells the class: 20 per class id.
    ego = Ego(forward_m=3.0)
    view = moved_view(still, ego, still.objects, 3, np.random.default_rng(0))
    is_sign = np.abs(view.mean(axis=2) - (20 * SIGN + 9.5)) < 12
    # It stands 30 px below the horizon: 1.4 m * 168 px / 30 px = 7.8 m away, then 10.8 m.
    share = is_sign.sum() / np.count_nonzero(label == SIGN)
    assert share == pytest.approx((7.8 / 10.8) ** 2, rel=0.15)


def test_objects_leave_filled_background_behind():
    still = prepare_still(*street())
    hole = still.label == SIGN
    # Neither the sign's own brightness (130) nor black: that of the road beside it.
    assert 50 < still.background[hole].mean() < 100


def test_motion_grows_with_age():
    rng = np.random.default_rng(0)
    near = [abs(sample_ego(1, 480, rng).forward_m) for _ in range(200)]
    far = [abs(sample_ego(4, 480, rng).forward_m) for _ in range(200)]
    assert np.mean(far) == pytest.approx(4 * np.mean(near), rel=0.25)


def test_calibrated_motion_is_that_of_consecutive_frames():
    # Measured on CamVid: facades shrink by about 2 % per frame at 15 Hz.
    ego = Ego(forward_m=8 / 15)
    height, width = 360, 480
    label = np.full((height, width), BUILDING, np.uint8)
    columns = np.broadcast_to(np.linspace(0, 255, width, dtype=np.float32), (height, width))
    image = np.repeat(columns[..., None], 3, axis=2).astype(np.uint8)
    view = moved_view(prepare_still(image, label), ego, [], 1, np.random.default_rng(0))
    row = view[180, :, 0].astype(float)
    shift = np.interp(row[[90, 390]], image[180, :, 0].astype(float), np.arange(width)) - [90, 390]
    assert -8 < shift[0] < -1.5
    assert 1.5 < shift[1] < 8


def test_geometry_is_shared_by_both_frames_and_the_label():
    label = (np.indices((120, 160)).sum(axis=0) // 20 % 5).astype(np.uint8)
    image = np.repeat((label * 50)[..., None], 3, axis=2)
    options = Augmentation(crop=(64, 96), **STILL_LIGHT)
    for seed in range(5):
        first, second, cut = augment_pair(
            image, image, label, options, np.random.default_rng(seed)
        )
        assert np.array_equal(first, second)
        inside = cut != 255
        assert inside.mean() > 0.2
        right = np.abs(first[..., 0][inside].astype(int) - cut[inside] * 50) < 26
        assert right.mean() > 0.9


def test_label_outside_the_frame_is_ignored():
    image, label = street(64, 64)
    options = Augmentation(crop=(128, 128), scale=(1, 1), stretch=0, rotation_deg=0, **STILL_LIGHT)
    _, _, cut = augment_pair(image, image, label, options, np.random.default_rng(0))
    assert np.count_nonzero(cut != 255) == 64 * 64


def test_only_the_reference_is_occluded():
    image, label = street()
    options = Augmentation(
        crop=(120, 160),
        scale=(1, 1),
        stretch=0,
        rotation_deg=0,
        flip=0,
        **{**STILL_LIGHT, 'occlusion': 1.0},
    )
    first, second, _ = augment_pair(image, image, label, options, np.random.default_rng(1))
    assert np.array_equal(second, image)
    assert (first != image).any(axis=2).mean() > 0.001


def test_pairs_follow_from_seed_and_index():
    source = StillSource([street()] * 3, AgeDistribution((4,)), paste_share=1.0)
    pairs = [ClipPairDataset([(source, 1)], Augmentation(crop=(64, 64)), s) for s in (5, 5, 6)]
    first, same, other = (dataset[7] for dataset in pairs)
    assert all((a == b).all() for a, b in zip(first, same, strict=True))
    assert not all((a == b).all() for a, b in zip(first, other, strict=True))
    assert first.reference.shape == (3, 64, 64)
    assert first.label.shape == (64, 64)


def test_drive_pairs_are_an_age_apart():
    frames = np.arange(10, dtype=np.uint8)[None, :, None, None]
    labels = np.broadcast_to(frames, (1, 10, 2, 2))
    images = np.broadcast_to(frames[..., None], (1, 10, 2, 2, 3))
    rng = np.random.default_rng(0)
    for age in (AgeDistribution((3,)), AgeDistribution((3,), future_share=1.0)):
        source = DriveSource(images, labels, age)
        gaps = set()
        for _ in range(60):
            reference, labelled, label = source.draw(rng)
            assert labelled[0, 0, 0] == label[0, 0]
            gaps.add(int(labelled[0, 0, 0]) - int(reference[0, 0, 0]))
        assert gaps == ({1, 2} if age.future_share == 0 else {-1, -2})


def test_sources_are_mixed_by_share():
    class Constant:
        def __init__(self, value):
            self.frame = np.full((64, 64, 3), value, np.uint8)

        def draw(self, rng):
            return self.frame, self.frame, np.zeros((64, 64), np.uint8)

    options = Augmentation(crop=(32, 32), scale=(1, 1), rotation_deg=0, stretch=0, **STILL_LIGHT)
    dataset = ClipPairDataset([(Constant(10), 3), (Constant(200), 1)], options)
    bright = sum(int(dataset[i].labelled.max()) > 100 for i in range(200))
    assert 30 < bright < 70


def test_epochs_go_on_numbering():
    start = 0
    sampler = RunningSampler(3, lambda: start)
    first = list(sampler)
    start = 6
    assert first == [0, 1, 2]
    assert list(sampler) == [6, 7, 8]


def test_validation_pairs_are_the_same_every_time():
    dataset = FixedPairDataset([street()], age=4)
    assert (dataset[0].reference == dataset[0].reference).all()
    assert (dataset[0].reference != dataset[0].labelled).any()


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'crop': (8, 64)}, '`crop` must be at least 32'),
        ({'scale': (2.0, 1.0)}, '`scale` must be'),
        ({'flip': 1.5}, r'`flip` must be in \[0, 1\], got 1.5'),
    ],
)
def test_bad_augmentation_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**values)
