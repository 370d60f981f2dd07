"""What a report says of a play whose masks, labels or timings do not fit its frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import pytest

pytest.importorskip('rclpy')

from dcfm_ros.masks.resize import resize_nearest
from dcfm_ros.play.report import FrameRecord, PlayReport
from dcfm_ros.recordings.frame import SourceFrame
from dcfm_ros.replay.online.masks import MaskStore, record_play
from dcfm_ros.replay.recorder import ReplayRecorder
from dcfm_ros.replay.recording import Recording
from dcfm_ros.replay.report import report_of, write_report
from dcfm_ros.replay.run import ReplayRun
from dcfm_ros.ros.frame_timing import FrameTiming

SIZE = 32, 48
NAMES, PALETTE = ('a', 'b'), ((0, 0, 0), (255, 255, 255))
Mask = NDArray[np.uint8]


def mask_of(index: int, size: tuple[int, int] = SIZE) -> Mask:
    """Another one for every index, that keeps its meaning at half the size."""
    small = np.random.default_rng(index).integers(0, 2, (16, 24), dtype=np.uint8)
    return resize_nearest(small, size)


def record(
    folder: Path,
    masks: Sequence[Mask],
    labels: Sequence[Mask],
    timings: Sequence[FrameTiming | None],
) -> ReplayRun:
    """A frame each second, whose mask comes .1 s later."""
    frames = [
        SourceFrame(image=np.zeros((*SIZE, 3), np.uint8), stamp_ns=index * 10**9, label=label)
        for index, label in enumerate(labels)
    ]
    recording = Recording(name='drive', source='drive', frames=lambda: iter(frames))
    store = MaskStore()
    records = []
    for index, (mask, timing) in enumerate(zip(masks, timings, strict=True)):
        store.places.append(index)
        store.take(index, mask)
        times: dict[str, Any] = {'sent_s': float(index), 'received_s': index + 0.1}
        records.append(FrameRecord(index, index * 10**9, 'camera', timing=timing, **times))
    report = PlayReport(records=records, dropped_by_cause={}, unexpected_masks=0)
    recorder = ReplayRecorder(folder / 'overlay.mp4', NAMES, PALETTE, 10, len(frames))
    record_play(recording, report, store, recorder)
    data = {'sha256': None}
    return recorder.run(recording, kind='online', metadata={'data': data, 'input_path': 'drive'})


def timing(age: int) -> FrameTiming:
    stages = {'common': 5.0} if age == 0 else {'motion': 1.0}
    return FrameTiming(is_keyframe=age == 0, keyframe_age=age, stage_ms=stages)


TIMINGS = [timing(age) for age in (0, 1, 2, 0, 1, 2)]
LABELS = [mask_of(index) for index in range(6)]


def test_labels_of_another_size_are_left_out_of_every_accuracy(tmp_path: Path) -> None:
    labels = [*LABELS[:4], *(mask_of(index, (16, 24)) for index in (4, 5))]
    run = record(tmp_path, LABELS, labels, TIMINGS)
    assert run.losses == ['2 labels of another size than their image']
    assert run.quality.streaming is not None
    assert run.quality.streaming.label_pixels().sum() == 4 * SIZE[0] * SIZE[1]


def test_masks_of_another_size_are_compared_at_that_of_the_image(tmp_path: Path) -> None:
    small = [mask_of(index, (16, 24)) for index in range(6)]
    run = record(tmp_path, small, LABELS, TIMINGS)
    assert run.losses == [
        '6 masks of another size than their image, compared and drawn at that of the image'
    ]
    found = report_of(run)['accuracy']
    whole = report_of(record(tmp_path, LABELS, LABELS, TIMINGS))['accuracy']
    assert found == whole
    assert (found['miou'], found['labels_of_another_size']) == (1.0, 0)
    assert [frame.is_answered for frame in run.frames] == [True] * 6


def test_what_is_not_known_without_timing_is_none(tmp_path: Path) -> None:
    run = record(tmp_path, LABELS, LABELS, [None] * 6)
    report = write_report(tmp_path, run)
    assert run.losses == [
        '6 masks came without their timing (`publish_timing` of the node is false, or it was '
        'lost): not in the figures of keyframes, ages and stages'
    ]
    for name in ('keyframes', 'keyframe_share', 'deep_share'):
        assert report[name] is None, name
    for name in ('latency_ms_key', 'latency_ms_nonkey', 'keyframe_age'):
        assert set(report[name].values()) == {None}, name
    accuracy = report['accuracy']
    assert (accuracy['miou'], accuracy['labelled_frames'], accuracy['by_age']) == (1.0, 6, [])
    for name in ('miou_key', 'miou_nonkey', 'mask_hold_miou'):
        assert accuracy[name] is None, name
    header, *lines = (tmp_path / 'frames.csv').read_text().splitlines()
    column = header.split(',').index('keyframe')
    assert {line.split(',')[column] for line in lines} == {''}
    assert 'not known' in (tmp_path / 'report.html').read_text()


def test_frame_whose_timing_was_lost_is_left_out_alone(tmp_path: Path) -> None:
    wrong = [*LABELS[:4], 1 - LABELS[4], LABELS[5]]
    run = record(tmp_path, wrong, LABELS, [*TIMINGS[:4], None, TIMINGS[5]])
    report = report_of(run)
    assert (report['keyframes'], report['keyframe_share']) == (2, 2 / 5)
    accuracy = report['accuracy']
    assert [(row['age'], row['frames']) for row in accuracy['by_age']] == [(0, 2), (1, 1), (2, 2)]
    assert (accuracy['miou_nonkey'], accuracy['pixel_accuracy']) == (1.0, 5 / 6)
    # It may have been a keyframe, so nothing is held up to the next one.
    held = sum((LABELS[shown] == LABELS[i]).sum() for i, shown in enumerate((0, 0, 0, 3)))
    assert np.trace(run.quality.mask_hold.counts) == held
