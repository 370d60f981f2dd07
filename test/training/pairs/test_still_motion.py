import cv2
import numpy as np
import pytest

from dcfm_ros.training.pairs.still_motion import (
    Ego,
    moved_view,
    paste,
    prepare_still,
    sample_ego,
)

SKY, BUILDING, ROAD, SIGN = 0, 1, 3, 6


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


def test_what_is_too_small_to_move_stays_in_the_background():
    image, label = street()
    small = np.s_[90, 120:123]  # less than a 5000th of the image
    label[small], image[small] = SIGN, 250
    still = prepare_still(image, label)
    assert len(still.objects) == 1
    assert (still.background[small] == 250).all()


def test_sets_of_standing_classes_stand_and_others_do_not():
    image, label = street()
    car, bicyclist, pole = 8, 10, 2
    sets = ((pole, BUILDING), (car, bicyclist))
    as_sets = label.copy()
    as_sets[label == SIGN] = 11 + 1
    as_sets[label == BUILDING] = 11
    still, plain = prepare_still(image, as_sets, sets), prepare_still(image, label)
    assert [thing.class_id for thing in still.objects] == [12]
    assert np.array_equal(still.objects[0].mask, plain.objects[0].mask)
    assert np.array_equal(still.background, plain.background)
    assert np.array_equal(still.nearness, plain.nearness)
    paste(image, label, still.objects[0])
    assert (label[as_sets == 12] == 12).all()


def test_a_set_of_grounds_is_ground():
    image, label = street()
    as_set = np.where(label == ROAD, 11, label).astype(np.uint8)
    still = prepare_still(image, as_set, [(ROAD, 4)])
    assert np.array_equal(still.nearness, prepare_still(image, label).nearness)


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
