from __future__ import annotations

from contextlib import contextmanager
import csv
from dataclasses import replace
import errno
import hashlib
import json
import math
import os
import resource

from command import dcfm
import cv2
import numpy as np
import pytest
from small_net import make_images, make_net

from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.keyframes.schedule import FixedScheduler
from dcfm_ros.models.checkpoint import save_checkpoint
from dcfm_ros.recordings.bag_writer import write_bag
from dcfm_ros.recordings.bags import BagReader
from dcfm_ros.recordings.sources import SourceError, SourceFrame
from dcfm_ros.replay.figures import benchmark_figures, run_figures, stamp_figures
from dcfm_ros.replay.fleet import replay_fleet
from dcfm_ros.replay.offline import ReplayOptions, replay_bag
from dcfm_ros.replay.provenance import fingerprint
from dcfm_ros.replay.quality import RunQuality
from dcfm_ros.replay.recorder import FrameEntry
from dcfm_ros.replay.report import report_folder, write_replay_report
from dcfm_ros.replay.streaming import score_streaming
from dcfm_ros.training.metrics import ConfusionMatrix

SIZE = (67, 91)
STEP_NS = 100_000_000


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp('net') / 'net.safetensors'
    save_checkpoint(path, make_net(), training={})
    return path


def make_frames(count=10, labelled=range(100), stamps=None, size=SIZE):
    random = np.random.default_rng(1)
    label = random.integers(0, 11, size, dtype=np.uint8)
    label[:5] = 255
    for index, image in enumerate(make_images(count, size)):
        yield SourceFrame(
            image=image,
            stamp_ns=1_000_000_000 + (index if stamps is None else stamps[index]) * STEP_NS,
            label=label if index in labelled else None,
        )


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    path = tmp_path_factory.mktemp('bags') / 'drive'
    write_bag(path, make_frames())
    return path


def make_options(checkpoint, interval=3, *, labels=True, **more):
    return ReplayOptions(
        checkpoint=checkpoint,
        schedule=FixedScheduler(interval),
        device='cpu',
        backend='torch',
        topic='/camera/image_raw',
        label_topic='/camera/label' if labels else None,
        **more,
    )


@pytest.fixture(scope='module')
def run(bag, checkpoint, tmp_path_factory):
    return replay_bag(bag, tmp_path_factory.mktemp('run'), make_options(checkpoint, fidelity=True))


def entry(time_s=0.0, latency_ms=1.0, **more):
    values = {
        'time_s': time_s,
        'stamp_ns': round(time_s * 1e9),
        'is_answered': True,
        'is_keyframe': False,
        'keyframe_age': 1,
        'latency_ms': latency_ms,
        'stage_ms': {},
        'class_shares': None,
    }
    return FrameEntry(**(values | more))


def test_replay_gives_the_masks_of_the_engine_on_every_frame(run, checkpoint):
    engine = SegmentationEngine(make_net(), device='cpu', backend='torch', schedule=3)
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


def test_interval_1_is_the_per_frame_network(bag, checkpoint, tmp_path):
    run = replay_bag(bag, tmp_path, make_options(checkpoint, 1, labels=False))
    figures = run.quality.fidelity_figures(run.class_names)
    assert (figures['pixel_accuracy'], figures['compared_frames']) == (1, 10)
    assert figures['miou'] == pytest.approx(1)
    assert all(frame.quality['agreement'] == 1 for frame in run.frames)
    assert run_figures([run.frames])['temporal']['relative_to_reference'] == 1


def test_fidelity_is_of_the_same_weights_frame_by_frame(run):
    video = SegmentationEngine(make_net(), device='cpu', backend='torch', schedule=3)
    single = SegmentationEngine(make_net(), device='cpu', backend='torch', schedule=1)
    agreement, changed, before = [], [], None
    for frame in make_frames():
        mask = video.step(frame.image, frame.stamp_ns).mask
        agreement.append((mask == single.step(frame.image, frame.stamp_ns).mask).mean())
        if before is not None:
            changed.append((mask != before).mean())
        before = mask
    figures = run.quality.fidelity_figures(run.class_names)
    assert figures['pixel_accuracy'] == pytest.approx(np.mean(agreement))
    assert figures['miou_key'] == pytest.approx(1)
    assert figures['miou_nonkey'] < 0.999
    assert [row['frames'] for row in figures['by_age']] == [4, 3, 3]
    told = run_figures([run.frames])['temporal']
    assert told['changed'] == pytest.approx(np.mean(changed))
    assert told['label_changed'] == 0


def test_accuracy_is_that_of_the_labels(run):
    figures = run.quality.accuracy_figures(run.class_names)
    assert figures['labelled_frames'] == 10
    assert 0 < figures['pixel_accuracy'] < 1
    shares = [frame.quality['accuracy'] for frame in run.frames]
    assert figures['pixel_accuracy'] == pytest.approx(np.mean(shares))
    assert figures['mvc8'] is not None
    assert figures['mvc16'] is None  # ten frames hold no window of sixteen
    assert 0 < figures['streaming_miou'] < 1


def test_video_consistency_needs_neighbouring_labels():
    mask = np.zeros((4, 4), np.uint8)
    quality = RunQuality(2)
    for index in range(30):
        quality.add(mask, label=mask if index % 2 else None)
    quality.end()
    figures = quality.accuracy_figures(('a', 'b'))
    assert (figures['labelled_frames'], figures['mvc8']) == (15, None)


def test_dropped_frame_parts_its_neighbours():
    quality = RunQuality(2)
    first, second = np.zeros((2, 2), np.uint8), np.ones((2, 2), np.uint8)
    assert quality.add(first) == {}
    assert quality.add(None) == {}
    assert quality.add(second) == {}
    assert quality.add(np.array([[1, 1], [1, 0]], np.uint8)) == {'changed': 0.25}


def test_label_of_another_size_is_counted_and_not_used():
    quality = RunQuality(2)
    quality.add(np.zeros((4, 4), np.uint8), label=np.zeros((2, 2), np.uint8))
    assert (quality.num_labelled, quality.num_unfit_labels) == (0, 1)


def test_fidelity_is_left_out_where_there_are_labels(bag, checkpoint, tmp_path):
    run = replay_bag(bag, tmp_path, make_options(checkpoint))
    assert run.quality.fidelity_figures(run.class_names) is None
    assert run.quality.accuracy_figures(run.class_names)['labelled_frames'] == 10
    assert 'agreement' not in run.frames[1].quality


def test_streaming_accuracy_needs_rising_stamps(bag):
    frames = [entry(0.0), entry(0.2), entry(0.1)]
    reader, nothing = BagReader(bag), SegmentationEngine(make_net(), device='cpu', backend='torch')
    assert score_streaming(reader, nothing, [b'label'] * 3, frames, lambda _: 1.0, 11) is None
    assert stamp_figures([frames])['steps_back'] == 1


def test_engine_that_keeps_pace_streams_the_mask_of_the_frame_before(bag, checkpoint):
    """A frame takes 30 ms of the 100 until the next: a label is met by the mask before it."""
    engine = SegmentationEngine(make_net(), device='cpu', backend='torch', schedule=1)
    frames = list(make_frames())
    masks = [engine.step(frame.image, frame.stamp_ns).mask for frame in frames]
    expected = ConfusionMatrix(11)
    for shown, frame in zip([np.full(SIZE, 255, np.uint8), *masks], frames, strict=False):
        expected.update(shown, frame.label)
    labels = [cv2.imencode('.png', frame.label)[1].tobytes() for frame in frames]
    entries = [entry(frame.stamp_ns / 1e9) for frame in frames]
    reader = BagReader(bag, topic='/camera/image_raw')
    found = score_streaming(reader, engine, labels, entries, lambda _: 30.0, 11)
    np.testing.assert_array_equal(found.counts, expected.counts)
    assert found.miou('ignore') == expected.miou('ignore')


def test_amortised_spreads_the_deep_encoder(bag, checkpoint, tmp_path):
    options = make_options(checkpoint, 4, labels=False, execution='amortised', slices=2)
    run = replay_bag(bag, tmp_path, options)
    figures = run_figures([run.frames])
    assert figures['keyframes'] == 3
    assert figures['deep_share'] > figures['keyframe_share']
    assert run.metadata['config']['execution'] == 'amortised'


def test_async_is_refused_offline(checkpoint):
    with pytest.raises(ValueError, match="must be 'sync' or 'amortised', got 'async'"):
        make_options(checkpoint, execution='async')


def test_recording_may_change_its_size(checkpoint, tmp_path):
    frames = [*make_frames(2), *make_frames(2, size=(40, 60), stamps=[5, 6])]
    write_bag(tmp_path / 'bag', frames)
    with report_folder(tmp_path / 'report') as part:
        run = replay_bag(tmp_path / 'bag', part, make_options(checkpoint, fidelity=True))
        write_replay_report(part, run)
    assert [f.reason for f in run.frames][2] == 'size_change'
    assert run.quality.num_labelled == 4
    assert (tmp_path / 'report/overlay.mp4').stat().st_size > 0


@pytest.mark.parametrize(('max_gap_s', 'reason'), [(1.0, 'time_gap'), (0.0, '')])
def test_gap_between_stamps_makes_a_keyframe_as_in_the_node(
    checkpoint, tmp_path, max_gap_s, reason
):
    write_bag(tmp_path / 'bag', make_frames(3, stamps=[0, 1, 20]))
    options = make_options(checkpoint, 9, fidelity=False, max_time_gap_s=max_gap_s)
    run = replay_bag(tmp_path / 'bag', tmp_path, options)
    assert [frame.reason for frame in run.frames] == ['first', '', reason]


def test_bag_without_an_image_is_an_error(checkpoint, tmp_path):
    write_bag(tmp_path / 'bag', make_frames(2))
    options = ReplayOptions(checkpoint=checkpoint, topic='/nothing')
    with pytest.raises(SourceError, match=r'no image topic /nothing; it holds /camera/image'):
        replay_bag(tmp_path / 'bag', tmp_path, options)


def test_image_size_that_changes_starts_a_keyframe_and_no_pair_crosses_it(checkpoint, tmp_path):
    sizes = [(64, 96), (32, 48), (64, 96)]
    frames = [frame for size in sizes for frame in make_frames(10, size=size)]
    frames = [replace(f, stamp_ns=(i + 1) * STEP_NS) for i, f in enumerate(frames)]
    write_bag(tmp_path / 'bag', frames)
    run = replay_bag(tmp_path / 'bag', tmp_path, make_options(checkpoint, 4, fidelity=True))
    reasons = {i: frame.reason for i, frame in enumerate(run.frames) if frame.reason}
    assert reasons == {
        **{0: 'first', 4: 'interval', 8: 'interval', 10: 'size_change', 14: 'interval'},
        **{18: 'interval', 20: 'size_change', 24: 'interval', 28: 'interval'},
    }
    unpaired = [i for i, frame in enumerate(run.frames) if 'changed' not in frame.quality]
    assert unpaired == [0, 10, 20]
    # Windows of 8 within 10 frames of one size; none of 16.
    figures = run.quality.accuracy_figures(run.class_names)
    assert (figures['labelled_frames'], figures['mvc16']) == (30, None)
    assert 0 <= figures['mvc8'] <= 1
    video = cv2.VideoCapture(str(tmp_path / 'overlay.mp4'))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 30
    assert video.get(cv2.CAP_PROP_FRAME_HEIGHT) == 64


def test_percentiles_and_jitter_are_exact():
    latencies = [10.0, 20.0, 10.0, 40.0]
    frames, busy_s = [], 0.0
    for index, latency_ms in enumerate(latencies):
        received_s = busy_s + latency_ms / 1e3
        stages = {'common': 5.0} if index == 3 else {}
        frames.append(
            entry(index, latency_ms, sent_s=busy_s, received_s=received_s, stage_ms=stages)
        )
        busy_s = received_s
    figures = run_figures([frames])
    assert figures['latency_ms']['mean'] == 20
    assert figures['latency_ms']['p50'] == 15
    assert figures['latency_ms']['max'] == 40
    assert figures['latency_ms_key']['p99'] == 40
    assert figures['latency_ms_nonkey']['max'] == 20
    # Steps between masks: 20, 10 and 40 ms.
    assert figures['jitter_ms']['mean'] == pytest.approx(20)
    benchmark = {k.partition('.')[2]: v for k, v in benchmark_figures([frames]).items()}
    assert benchmark['RECEIVED_DURATION'] == pytest.approx(70)
    assert benchmark['MEAN_FRAME_RATE'] == pytest.approx(4 / 0.07)
    assert benchmark['MEAN_PLAYBACK_FRAME_RATE'] == pytest.approx(4 / 0.04)
    assert (benchmark['NUM_FRAMES_SENT'], benchmark['NUM_MISSED_FRAMES']) == (4, 0)
    assert benchmark['FIRST_SENT_RECEIVED_LATENCY'] == pytest.approx(10)
    assert benchmark['LAST_SENT_RECEIVED_LATENCY'] == pytest.approx(40)
    assert benchmark['MAX_JITTER'] == pytest.approx(30)
    assert benchmark['MIN_JITTER'] == pytest.approx(10)
    assert benchmark['STD_DEV_JITTER'] == pytest.approx(10)


def test_percentiles_of_many_recordings_are_over_all_frames():
    short = [entry(0, 100.0)]
    long = [entry(index, 1.0) for index in range(99)]
    assert run_figures([short, long])['latency_ms']['p50'] == 1
    assert run_figures([short, long])['latency_ms']['p95'] == 1
    assert run_figures([short, long])['jitter_ms']['max'] is None


def test_drops_are_counted_by_cause():
    frames = [
        entry(0),
        entry(1, math.nan, is_answered=False, drop_cause='busy'),
        entry(2, math.nan, is_answered=False),
    ]
    figures = run_figures([frames])
    assert (figures['frames_sent'], figures['masks_received']) == (3, 1)
    assert figures['dropped_by_cause'] == {'busy': 1, 'unknown': 1}
    assert benchmark_figures([frames])['BasicPerformanceMetrics.NUM_MISSED_FRAMES'] == 2


def test_gaps_between_stamps_are_told_and_never_cross_recordings():
    times = [0.0, 0.1, 0.2, 0.5, 0.6]
    recordings = [[entry(time_s) for time_s in times], [entry(90 + t) for t in times]]
    figures = stamp_figures(recordings)
    assert figures['rate_hz'] == pytest.approx(10)
    assert (figures['gaps'], figures['frames_missing'], figures['steps_back']) == (2, 4, 0)
    assert figures['longest_gaps'][0] == {'time_s': 0.5, 'gap_ms': 300.0, 'missing': 2}
    assert figures['duration_s'] == pytest.approx(1.2)


def test_slow_recording_beside_a_fast_one_has_no_gaps():
    recordings = [[entry(i / rate_hz) for i in range(20)] for rate_hz in (30, 30, 10)]
    figures = stamp_figures(recordings)
    assert (figures['gaps'], figures['frames_missing']) == (0, 0)
    assert figures['rate_hz'] == pytest.approx(30, abs=1e-3)


def test_fingerprint_of_one_file_is_what_md5sum_tells(tmp_path):
    (tmp_path / 'a').write_bytes(b'abc')
    (tmp_path / 'b').write_bytes(b'd')
    one = fingerprint([tmp_path / 'a', tmp_path / 'gone'])
    assert one['md5'] == hashlib.md5(b'abc').hexdigest()
    assert (one['size_bytes'], one['files']) == (3, ['a'])
    both = fingerprint([tmp_path / 'a', tmp_path / 'b'])
    assert both['sha256'] == hashlib.sha256(b'abcd').hexdigest()


def test_report_is_whole(bag, checkpoint, tmp_path):
    folder = tmp_path / 'report'
    outcome = dcfm(
        'replay', bag, '--topic', '/camera/image_raw', '--truth-topic', '/camera/label',
        '--fidelity', '--interval', 3, '--checkpoint', checkpoint, '--backend', 'torch',
        '--report', folder, '--json', tmp_path / 'copy.json',
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    names = {path.name for path in folder.iterdir()}
    assert names == {'report.html', 'report.json', 'frames.csv', 'overlay.mp4'}
    report = json.loads((folder / 'report.json').read_text())
    assert json.loads((tmp_path / 'copy.json').read_text()) == report
    assert report['BasicPerformanceMetrics.NUM_FRAMES_SENT'] == 10
    assert report['keyframe_reasons'] == {'first': 1, 'interval': 3}
    assert report['stage_ms']['common']['nonkey'] is None
    assert report['resources']['cpu_s'] > 0
    assert report['resources']['peak_memory_mb'] > 50
    metadata = report['metadata']
    (file,) = bag.glob('*.mcap')
    assert metadata['data']['sha256'] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert metadata['data']['md5'] == hashlib.md5(file.read_bytes()).hexdigest()
    assert metadata['checkpoint_sha256'] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert metadata['config']['keyframe_interval'] == 3
    assert (metadata['rmw'], metadata['qos'], report['transport']) == (None, None, None)
    assert {'hostname', 'architecture', 'os', 'datetime', 'input_path'} <= metadata.keys()
    page = (folder / 'report.html').read_text()
    for heading in ('Latency', 'Keyframes', 'Accuracy', 'Fidelity', 'Header stamps', 'IoU per'):
        assert f'<h2>{heading}' in page
    assert page.count('<svg') == 10


def test_csv_has_a_line_for_every_frame(run, tmp_path):
    write_replay_report(tmp_path, run)
    rows = list(csv.DictReader((tmp_path / 'frames.csv').open()))
    assert len(rows) == 10
    assert rows[3]['reason'] == 'interval'
    assert float(rows[3]['common_ms']) > 0
    assert rows[4]['common_ms'] == ''
    assert int(rows[4]['stamp_ns']) == 1_400_000_000
    assert float(rows[4]['agreement']) == pytest.approx(
        run.frames[4].quality['agreement'], abs=1e-4
    )


def test_lost_frames_are_told_in_the_report(checkpoint, tmp_path):
    write_bag(tmp_path / 'bag', make_frames(8))
    (file,) = (tmp_path / 'bag').glob('*.mcap')
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    outcome = dcfm(
        'replay', tmp_path / 'bag', '--topic', '/camera/image_raw', '--no-fidelity',
        '--checkpoint', checkpoint, '--backend', 'torch', '--report', tmp_path / 'report',
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    report = json.loads((tmp_path / 'report/report.json').read_text())
    assert 1 <= report['frames_sent'] < 8
    missing = (
        f'{8 - report["frames_sent"]} of 8 messages on /camera/image_raw '
        'that metadata.yaml promises are missing'
    )
    assert missing in report['losses']
    assert missing in (tmp_path / 'report/report.html').read_text()
    assert f'note: {missing}' in outcome.stderr


def test_failed_report_leaves_nothing_and_the_old_one(tmp_path):
    with report_folder(tmp_path / 'report') as part:
        (part / 'report.json').write_text('old')
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with (
        pytest.raises(OSError, match='the disk is full') as raised,
        report_folder(tmp_path / 'report') as part,
    ):
        (part / 'report.json').write_text('new')
        raise full
    assert raised.value.errno == errno.ENOSPC
    assert [path.name for path in tmp_path.iterdir()] == ['report']
    assert (tmp_path / 'report/report.json').read_text() == 'old'


@contextmanager
def file_size_limit(size):
    """Writes beyond it fail, as they do on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize('size', [2_000, 150_000])
def test_full_disk_is_told_and_leaves_no_half_report(bag, checkpoint, tmp_path, size):
    """It gets full in the midst of the video, or of the page."""
    with file_size_limit(size):
        outcome = dcfm(
            'replay', bag, '--topic', '/camera/image_raw', '--no-fidelity', '--checkpoint',
            checkpoint, '--backend', 'torch', '--report', tmp_path / 'report',
        )  # fmt: skip
    assert outcome.returncode == 1, outcome.stderr
    assert 'the disk is full, nothing of the report was kept' in outcome.stderr
    assert not list(tmp_path.iterdir())


def test_fleet_merges_its_bags_and_tells_those_that_fail(bag, checkpoint, tmp_path):
    write_bag(tmp_path / 'drive', make_frames(4))
    (tmp_path / 'broken.mcap').write_bytes(b'nothing')
    outcome = dcfm(
        'replay', bag, tmp_path / 'broken.mcap', tmp_path / 'drive', '--topic',
        '/camera/image_raw', '--interval', 3, '--checkpoint', checkpoint, '--backend', 'torch',
        '--report', tmp_path / 'fleet',
    )  # fmt: skip
    assert outcome.returncode == 1
    assert '1 of 3 bags failed' in outcome.stderr
    assert 'broken.mcap cannot be read as a bag' in outcome.stderr
    folder = tmp_path / 'fleet'
    assert {path.name for path in folder.iterdir()} == {
        'drive', 'drive_2', 'fleet.html', 'fleet.json',
    }  # fmt: skip
    fleet = json.loads((folder / 'fleet.json').read_text())
    reports = [json.loads((folder / n / 'report.json').read_text()) for n in ('drive', 'drive_2')]
    totals = fleet['totals']
    assert [row['frames'] for row in fleet['rows'] if not row['error']] == [10, 4]
    assert totals['frames_sent'] == 14
    assert totals['keyframe_share'] == pytest.approx((4 + 2) / 14)
    shares = [report['fidelity']['pixel_accuracy'] for report in reports]
    weighted = (10 * shares[0] + 4 * shares[1]) / 14
    assert totals['fidelity']['pixel_accuracy'] == pytest.approx(weighted)
    assert totals['latency_ms']['max'] == max(r['latency_ms']['max'] for r in reports)
    page = (folder / 'fleet.html').read_text()
    assert 'href="drive_2/report.html"' in page
    assert 'broken.mcap cannot be read' in page


def test_processes_give_the_masks_of_one(bag, checkpoint, tmp_path):
    options = make_options(checkpoint, labels=False, fidelity=False)
    rows = [
        replay_fleet([bag], tmp_path / str(jobs), options, jobs=jobs, threads=1)['rows'][0]
        for jobs in (1, 2)
    ]
    assert rows[0]['masks_sha256'] == rows[1]['masks_sha256']
    assert rows[0]['masks_sha256'] is not None


def test_unknown_option_pairs_are_refused(bag, tmp_path):
    assert '--force (True) needs --compare' in dcfm('replay', bag, '--force').stderr
    assert 'name at least one bag' in dcfm('replay').stderr
    assert '--slices (2) needs' in dcfm('replay', bag, '--slices', 2).stderr
    outcome = dcfm('replay', bag, '--compare', tmp_path, tmp_path)
    assert '--compare takes two reports and no bags' in outcome.stderr


def test_labels_of_the_bag_are_joined(bag):
    reader = BagReader(bag, topic='/camera/image_raw', label_topic='/camera/label')
    assert all(frame.label is not None for frame in reader.frames())
