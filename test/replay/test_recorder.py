from __future__ import annotations

import cv2
import numpy as np
import pytest

from dcfm_ros.recordings.frame import SourceFrame
from dcfm_ros.replay.frames import ReplayedFrame, stages_of
from dcfm_ros.replay.recorder import ReplayRecorder
from dcfm_ros.replay.recording import Recording
from dcfm_ros.replay.statistics import run_statistics

NAMES, PALETTE = ('a', 'b'), ((0, 0, 0), (9, 9, 9))


def source(index, label=None):
    image = np.zeros((16, 16, 3), np.uint8)
    return SourceFrame(image=image, stamp_ns=index * 10**8, label=label)


def frame_at(index, **values):
    return ReplayedFrame(stamp_ns=index * 10**8, keyframe_age=index, **values)


def test_recorder_scores_the_mask_and_the_held_keyframe(tmp_path):
    label = np.zeros((16, 16), np.uint8)
    label[8:] = 1
    wrong = 1 - label
    with ReplayRecorder(tmp_path / 'o.mp4', NAMES, PALETTE, 10) as recorder:
        for index, mask in enumerate((wrong, label, None)):
            frame = frame_at(index, is_keyframe=index == 0)
            recorder.add(source(index, label), frame, mask)
    accuracy = recorder.quality.accuracy_statistics(NAMES)
    assert accuracy['miou'] == pytest.approx(1 / 3)  # half of the pixels right in each class
    assert accuracy['mask_hold_miou'] == 0.0  # the wrong keyframe, held
    assert [frame.is_answered for frame in recorder.frames] == [True, True, False]
    assert recorder.frames[1].class_shares.tolist() == [0.5, 0.5]
    recording = Recording(name='drive', source='drive', frames=lambda: iter(()))
    run = recorder.run(recording, kind='offline', metadata={})
    assert (run.video, run.masks_sha256, run.losses) == ('o.mp4', None, [])
    assert cv2.VideoCapture(str(tmp_path / 'o.mp4')).get(cv2.CAP_PROP_FRAME_COUNT) == 3


def test_times_are_split_by_the_work_of_the_deep_encoder():
    frames = [
        ReplayedFrame(
            stamp_ns=index, keyframe_age=4 + index, latency_ms=10.0 - index, stage_ms={stage: 1.0}
        )
        for index, stage in enumerate(('common', 'common', 'mask'))
    ]
    found = run_statistics([frames])
    assert found['latency_ms_key']['p50'] == 9.5
    assert found['latency_ms_nonkey']['p50'] == 8.0
    assert (found['keyframe_age']['mean'], found['keyframe_age']['max']) == (5.0, 6)


def test_stages_are_in_the_order_of_a_frame():
    key, nonkey = ('receive', 'common', 'decode', 'mask'), ('receive', 'motion', 'decode', 'mask')
    orders = [key, nonkey, (*nonkey, 'publish'), ('receive', 'common', 'motion', 'overlay')]
    frames = [ReplayedFrame(stamp_ns=0, stage_ms=dict.fromkeys(o, 1.0)) for o in orders]
    names = stages_of(frames)
    assert set(names) == {name for order in orders for name in order}
    for order in orders:
        assert [name for name in names if name in order] == list(order)
