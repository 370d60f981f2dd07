from __future__ import annotations

from dataclasses import replace
import hashlib
import shutil

from checkpoint_files import rewrite
import cv2
import numpy as np
import pytest
from small_net import make_images, make_net
from small_recording import STEP_NS, TORCH, make_frames, make_options, replay

from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.models.checkpoint_header import CheckpointError
from dcfm_ros.recordings.bag_writer import write_bag
from dcfm_ros.recordings.frame import SourceError, SourceFrame
from dcfm_ros.replay.offline import replay_offline
from dcfm_ros.replay.options import RecordingOptions
from dcfm_ros.replay.recording import open_recording
from dcfm_ros.replay.statistics import run_statistics


def test_replay_gives_the_masks_of_the_engine_on_every_frame(run, weights):
    engine = SegmentationEngine(make_net(), TORCH, ScheduleOptions(keyframe_interval=3))
    digest = hashlib.sha256()
    for frame in make_frames():
        mask = engine.step(frame.image, frame.stamp_ns).mask
        digest.update(f'{mask.shape}'.encode() + mask.tobytes())
    assert run.masks_sha256 == digest.hexdigest()
    assert [f.keyframe_age for f in run.frames] == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    assert [f.reason for f in run.frames] == ['first', '', ''] + ['interval', '', ''] * 2 + [
        'interval'
    ]
    assert [f.time_s for f in run.frames] == pytest.approx([i / 10 for i in range(10)])


def test_interval_1_is_the_per_frame_network(small_bag, weights, tmp_path):
    run = replay(small_bag, tmp_path, make_options(weights, 1), labels=False)
    figures = run.quality.fidelity_statistics(run.class_names)
    assert (figures['pixel_accuracy'], figures['compared_frames']) == (1, 10)
    assert figures['miou'] == pytest.approx(1)
    assert all(frame.quality['agreement'] == 1 for frame in run.frames)
    assert run_statistics([run.frames])['temporal']['relative_to_reference'] == 1


def test_fidelity_is_of_the_same_weights_frame_by_frame(run):
    video = SegmentationEngine(make_net(), TORCH, ScheduleOptions(keyframe_interval=3))
    single = SegmentationEngine(make_net(), TORCH, ScheduleOptions(keyframe_interval=1))
    agreement, changed, before = [], [], None
    for frame in make_frames():
        mask = video.step(frame.image, frame.stamp_ns).mask
        agreement.append((mask == single.step(frame.image, frame.stamp_ns).mask).mean())
        if before is not None:
            changed.append((mask != before).mean())
        before = mask
    figures = run.quality.fidelity_statistics(run.class_names)
    assert figures['pixel_accuracy'] == pytest.approx(np.mean(agreement))
    assert figures['miou_key'] == pytest.approx(1)
    assert figures['miou_nonkey'] < 0.999
    assert [row['frames'] for row in figures['by_age']] == [4, 3, 3]
    reported = run_statistics([run.frames])['temporal']
    assert reported['changed'] == pytest.approx(np.mean(changed))
    assert reported['label_changed'] == 0


def test_accuracy_is_that_of_the_labels(run):
    figures = run.quality.accuracy_statistics(run.class_names)
    assert figures['labelled_frames'] == 10
    assert 0 < figures['pixel_accuracy'] < 1
    shares = [frame.quality['accuracy'] for frame in run.frames]
    assert figures['pixel_accuracy'] == pytest.approx(np.mean(shares))
    assert figures['mvc8'] is not None
    assert figures['mvc16'] is None  # ten frames hold no window of sixteen
    assert 0 <= figures['streaming_miou'] < 1  # 0 on a machine too slow to keep pace


def test_fidelity_is_left_out_where_there_are_labels(small_bag, weights, tmp_path):
    run = replay(small_bag, tmp_path, make_options(weights))
    assert run.quality.fidelity_statistics(run.class_names) is None
    assert run.quality.accuracy_statistics(run.class_names)['labelled_frames'] == 10
    assert 'agreement' not in run.frames[1].quality


def test_amortised_spreads_the_deep_encoder(small_bag, weights, tmp_path):
    engine = EngineOptions(
        device='cpu', backend='torch', execution='amortised', execution_slices=2
    )
    run = replay(small_bag, tmp_path, make_options(weights, 4, engine), labels=False)
    figures = run_statistics([run.frames])
    assert figures['keyframes'] == 3
    assert figures['deep_share'] > figures['keyframe_share']
    assert run.metadata['config']['execution'] == 'amortised'


def test_report_has_the_options_as_in_effect(small_bag, weights, tmp_path):
    engine = EngineOptions(device='cpu', backend='torch', execution='amortised', motion='none')
    config = replay(small_bag, tmp_path, make_options(weights, 4, engine)).metadata['config']
    shown = [config[name] for name in ('execution_slices', 'motion', 'mask_blending')]
    assert shown == [4, 'none', 0.0]


@pytest.mark.parametrize(('max_gap_s', 'reason'), [(1.0, 'time_gap'), (0.0, '')])
def test_gap_between_stamps_makes_a_keyframe_as_in_the_node(weights, tmp_path, max_gap_s, reason):
    write_bag(tmp_path / 'bag', make_frames(3, stamps=[0, 1, 20]))
    options = make_options(weights, 9, fidelity=False, max_time_gap_s=max_gap_s)
    run = replay(tmp_path / 'bag', tmp_path, options)
    assert [frame.reason for frame in run.frames] == ['first', '', reason]


def test_bag_without_an_image_is_an_error(tmp_path):
    write_bag(tmp_path / 'bag', make_frames(2))
    recording = open_recording(str(tmp_path / 'bag'), RecordingOptions(topic='/nothing'))
    with pytest.raises(SourceError, match=r'no image topic /nothing; it holds /camera/image'):
        recording.open()


def test_image_size_that_changes_starts_a_keyframe_and_no_pair_crosses_it(weights, tmp_path):
    sizes = [(64, 96), (32, 48), (64, 96)]
    frames = [frame for size in sizes for frame in make_frames(10, size=size)]
    frames = [replace(f, stamp_ns=(i + 1) * STEP_NS) for i, f in enumerate(frames)]
    write_bag(tmp_path / 'bag', frames)
    run = replay(tmp_path / 'bag', tmp_path, make_options(weights, 4, fidelity=True))
    reasons = {i: frame.reason for i, frame in enumerate(run.frames) if frame.reason}
    assert reasons == {
        **{0: 'first', 4: 'interval', 8: 'interval', 10: 'size_change', 14: 'interval'},
        **{18: 'interval', 20: 'size_change', 24: 'interval', 28: 'interval'},
    }
    unpaired = [i for i, frame in enumerate(run.frames) if 'changed' not in frame.quality]
    assert unpaired == [0, 10, 20]
    # Windows of 8 within 10 frames of one size; none of 16.
    figures = run.quality.accuracy_statistics(run.class_names)
    assert (figures['labelled_frames'], figures['mvc16']) == (30, None)
    assert 0 <= figures['mvc8'] <= 1
    video = cv2.VideoCapture(str(tmp_path / 'overlay.mp4'))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 30
    assert video.get(cv2.CAP_PROP_FRAME_HEIGHT) == 64


def test_image_folder_is_replayed_like_its_bag(run, weights, tmp_path):
    images, labels = tmp_path / 'images', tmp_path / 'labels'
    images.mkdir(), labels.mkdir()
    for index, frame in enumerate(make_frames()):
        cv2.imwrite(str(images / f'{index}.png'), frame.image[..., ::-1])
        cv2.imwrite(str(labels / f'{index}.png'), frame.label)
    recording = open_recording(str(images), RecordingOptions(labels=str(labels), rate_hz=10.0))
    options = make_options(weights, fidelity=True, masks=tmp_path / 'masks')
    other = replay_offline(recording, tmp_path / 'seen.mp4', options)
    assert other.masks_sha256 == run.masks_sha256
    assert other.video == 'seen.mp4'
    assert other.quality.accuracy_statistics(other.class_names)['labelled_frames'] == 10
    assert len(other.metadata['data']['files']) == 10
    assert len(list((tmp_path / 'masks').iterdir())) == 10


def test_replay_says_that_labels_of_0_and_255_lack_a_class(weights, tmp_path):
    frames = [replace(f, label=(f.label > 5) * np.uint8(255)) for f in make_frames(3)]
    write_bag(tmp_path / 'bag', frames)
    run = replay(tmp_path / 'bag', tmp_path, make_options(weights))
    (note,) = run.losses
    assert note == "the labels have class 'class 0' alone, beside 255, which means ignored"


def test_groups_are_counted_against_labels_and_the_per_frame_network(
    run, small_bag, weights, tmp_path
):
    (tmp_path / 'groups.yaml').write_text(
        'first: [class 0]\nall: [' + ', '.join(f'class {i}' for i in range(1, 11)) + ']'
    )
    options = make_options(weights, fidelity=True, groups=tmp_path / 'groups.yaml')
    grouped = replay(small_bag, tmp_path, options)
    assert 'group_miou' not in run.quality.accuracy_statistics(run.class_names)
    for figures in (
        grouped.quality.accuracy_statistics(run.class_names),
        grouped.quality.fidelity_statistics(run.class_names),
    ):
        of_groups = figures['group_iou']
        assert of_groups['first'] == figures['iou']['class 0']
        assert of_groups['all'] > max(v or 0 for v in list(figures['iou'].values())[1:])
        seen = [v for v in of_groups.values() if v is not None]
        assert figures['group_miou'] == pytest.approx(np.mean(seen))


def test_groups_of_other_classes_are_refused_before_the_network_is_loaded(
    small_bag, weights, tmp_path
):
    header_only = tmp_path / 'header.safetensors'
    shutil.copy(weights, header_only)
    rewrite(header_only, change_tensors=dict.clear)
    groups = tmp_path / 'groups.yaml'
    groups.write_text('first: [class 0]')
    with pytest.raises(CheckpointError):
        replay(small_bag, tmp_path, make_options(header_only, groups=groups))
    groups.write_text('person: [human]')
    with pytest.raises(ValueError, match="group person has 'human', which is no class"):
        replay(small_bag, tmp_path, make_options(header_only, groups=groups))
    assert not (tmp_path / 'overlay.mp4').exists()


def test_reference_knows_nothing_of_the_frames_before(weights, tmp_path):
    random, images = np.random.default_rng(2), make_images(1, (64, 96)) * 4
    calm = [(image // 2 + random.integers(0, 9, image.shape)).astype(np.uint8) for image in images]
    frames = [SourceFrame(image=x, stamp_ns=(i + 1) * STEP_NS) for i, x in enumerate(calm)]
    write_bag(tmp_path / 'calm', frames)
    blended = replace(TORCH, motion='flow', mask_blending=0.7)
    options = replace(make_options(weights, 1, fidelity=True), engine=blended)
    run = replay(tmp_path / 'calm', tmp_path, options, labels=False)
    engine = SegmentationEngine(make_net(), blended, ScheduleOptions(keyframe_interval=1))
    expected = []
    for frame in frames:
        alone = SegmentationEngine(make_net(), TORCH).step(frame.image, 0).mask
        expected.append((engine.step(frame.image, frame.stamp_ns).mask == alone).mean())
    assert [frame.quality['agreement'] for frame in run.frames] == pytest.approx(expected)
    assert expected[0] == 1 > expected[-1]
