"""A camera whose image size changes within a clip is evaluated as the node would see it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from settings import setting
import torch

from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.training.evaluation.evaluate import evaluate_clips
from dcfm_ros.training.evaluation.jobs import Options
from dcfm_ros.training.footage.clips import Clip, Frame
from dcfm_ros.training.footage.label_sets import CAMVID
from dcfm_ros.training.metrics import ConfusionMatrix

pytestmark = pytest.mark.train
TORCH = EngineOptions(device='cpu', backend='torch')


def test_nothing_is_held_over_a_change_of_size(tmp_path):
    random = np.random.default_rng(0)
    frames, pairs = [], []
    for index in range(20):
        size = (64, 96) if index < 12 else (32, 64)
        image = random.integers(0, 256, (*size, 3), np.uint8)
        label = random.integers(0, 11, size, np.uint8)
        frames.append(Frame(tmp_path / f'{index}.png', tmp_path / f'{index}_label.png'))
        cv2.imwrite(str(frames[-1].image), image[..., ::-1])
        cv2.imwrite(str(frames[-1].label), label)
        pairs.append((image, label))
    torch.manual_seed(0)
    net = DCFM(DCFMConfig(backbone='mit_b0', num_classes=11, fuse_channels=32)).eval()
    engine = SegmentationEngine(net, TORCH, ScheduleOptions(keyframe_interval=5))
    expected = ConfusionMatrix(11)
    for index, (image, label) in enumerate(pairs):
        expected.update(engine.step(image, index).mask, label)
    how, clip = Options(engine=TORCH), Clip('a', tuple(frames), 15, CAMVID)
    [each, held, row] = evaluate_clips(
        {'net': net}, [clip], [setting(interval=5, phases='first')], options=how
    )['rows']
    assert row['miou'] == pytest.approx(expected.miou(), abs=1e-12)
    assert row['streaming_miou'] is not None
    assert (each['schedule'], held['schedule']) == ('per_frame', 'hold')
    assert held['miou'] is not None
