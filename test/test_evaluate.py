from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.models.checkpoint import save_checkpoint
from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.training.camvid_stills import find_camvid, load_frames
from dcfm_ros.training.evaluate import (
    dense_clips,
    evaluate_camvid,
    evaluate_clips,
    hold,
    label_hold,
)
from dcfm_ros.training.metrics import ConfusionMatrix

CAMVID = Path(__file__).resolve().parents[2] / 'shared' / 'data' / 'camvid'
ROW_KEYS = {
    'interval', 'mode', 'schedule', 'miou', 'wiou', 'miou_key', 'miou_nonkey', 'mvc8', 'mvc16',
    'keyframe_share', 'frames',
}  # fmt: skip


@pytest.fixture(scope='module')
def net():
    torch.manual_seed(0)
    return DCFM(DCFMConfig(backbone='mit_b0', num_classes=11, fuse_channels=32)).eval()


@pytest.fixture(scope='module')
def clip():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (20, 32, 48, 3), np.uint8)
    labels = rng.integers(0, 11, (20, 32, 48)).astype(np.uint8)
    return list(zip(frames, labels, strict=True))


def test_row_has_the_keys_of_the_design(net, clip):
    assert set(evaluate_clips(net, [clip], 2, 'first', 'cpu')) >= ROW_KEYS


def test_row_is_what_the_engine_says(net, clip):
    row = evaluate_clips(net, [clip], 3, 'first', 'cpu')
    engine = SegmentationEngine(net, device='cpu', schedule=3)
    matrices = {True: ConfusionMatrix(11), False: ConfusionMatrix(11)}
    for index, (image, label) in enumerate(clip):
        matrices[index % 3 == 0].update(engine.step(image, index).mask, label)
    assert row['miou_key'] == pytest.approx(matrices[True].miou())
    assert row['miou_nonkey'] == pytest.approx(matrices[False].miou())
    assert row['keyframe_share'] == pytest.approx(7 / 20)
    assert row['frames'] == 20


def test_interval_1_has_no_nonkey_frame(net, clip):
    row = evaluate_clips(net, [clip], 1, 'all', 'cpu')
    assert row['miou_nonkey'] is None
    assert row['hold_miou'] == row['miou'] == row['miou_key']


def test_all_phases_pool_every_start(net, clip):
    row = evaluate_clips(net, [clip], 3, 'all', 'cpu')
    assert row['frames'] == 20 + 19 + 18
    assert row['keyframe_share'] == pytest.approx((7 + 7 + 6) / 57)


def test_clip_shorter_than_the_window_has_no_consistency(net, clip):
    still = [(image, clip[0][1]) for image, _ in clip[:10]]
    row = evaluate_clips(net, [still], 2, 'first', 'cpu')
    assert row['mvc8'] is not None
    assert row['mvc16'] is None


def test_unknown_phases_are_refused(net, clip):
    with pytest.raises(ValueError, match="`phases` must be 'all' or 'first'"):
        evaluate_clips(net, [clip], 2, 'some')


def test_hold_repeats_the_last_keyframe():
    masks = [np.full((1, 1), i, np.uint8) for i in range(5)]
    held = hold(masks, [True, False, False, True, False])
    assert [int(mask[0, 0]) for mask in held] == [0, 0, 0, 3, 3]


def test_label_hold_leaves_out_what_was_unlabelled():
    labels = [np.array([[0, 255]], np.uint8), np.array([[0, 1]], np.uint8)]
    assert label_hold([labels], 2, (1,))['1'] == pytest.approx(1 / 2)  # class 1 is never counted


def test_undense_split_is_refused(tmp_path, net):
    for folder in ('train', 'trainannot'):
        (tmp_path / folder).mkdir()
    for number in (30, 60):
        cv2.imwrite(str(tmp_path / 'train' / f'a_{number}.jpg'), np.zeros((32, 32, 3), np.uint8))
        cv2.imwrite(str(tmp_path / 'trainannot' / f'a_{number}.png'), np.zeros((32, 32), np.uint8))
    save_checkpoint(tmp_path / 'net.safetensors', net)
    with pytest.raises(ValueError, match='`split` must be labelled densely'):
        evaluate_camvid(tmp_path / 'net.safetensors', tmp_path, (2,), 'train')
    result = evaluate_camvid(tmp_path / 'net.safetensors', tmp_path, (1,), 'train', device='cpu')
    assert result['rows'][0]['frames'] == 2


@pytest.mark.skipif(not CAMVID.is_dir(), reason=f'real data absent: {CAMVID}')
def test_label_hold_floor_of_the_real_clip():
    [clip] = dense_clips(find_camvid(CAMVID, 'val'))
    floor = label_hold([[label for _, label in load_frames(clip)]], 11)
    # The figures that come with the data.
    expected = {'1': 0.743, '2': 0.643, '3': 0.580, '4': 0.543, '8': 0.458}
    assert {key: round(value, 3) for key, value in floor.items()} == pytest.approx(
        expected, abs=2e-3
    )
