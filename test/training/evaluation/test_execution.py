"""Evaluation where the deep encoder is spread over frames, by age of feature, and its times."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import count
import json

from command import dcfm
import cv2
import numpy as np
import pytest
from settings import cpu_engine, schedule, setting
from small_net import make_net

from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.models.checkpoint import save_checkpoint
from dcfm_ros.training.evaluation.clip_passes import needed_spans
from dcfm_ros.training.evaluation.evaluate import evaluate_clips
from dcfm_ros.training.evaluation.frame_times import FrameTimes, MeasuredTimes
from dcfm_ros.training.evaluation.jobs import Options
from dcfm_ros.training.evaluation.setting import settings_of
from dcfm_ros.training.footage.clips import Frame
from dcfm_ros.training.footage.datasets import find_clips
from dcfm_ros.training.metrics import ConfusionMatrix

OPTIONS = Options(engine=EngineOptions(device='cpu', backend='torch'))
FAST = replace(OPTIONS, streaming=False)


@pytest.fixture(scope='module')
def net():
    return make_net()


@pytest.fixture(scope='module')
def camvid(net, tmp_path_factory):
    """CamVid's layout: 16 frames, each unlike the others; labels are what the network sees."""
    root = tmp_path_factory.mktemp('camvid')
    rng = np.random.default_rng(0)
    for folder in ('val', 'valannot'):
        (root / folder).mkdir()
    engine = cpu_engine(net, 1, backend='torch')
    for index in range(16):
        image = cv2.resize(rng.integers(0, 256, (4, 8, 3), np.uint8), (64, 32))
        for folder, pixels in (
            ('val', image[..., ::-1]),
            ('valannot', engine.step(image, 0).mask),
        ):
            cv2.imwrite(str(root / folder / f'0016E5_{2 * index:05d}.png'), pixels)
    for path in (root / 'val').iterdir():
        path.rename(path.with_suffix('.jpg'))  # OpenCV reads what a file is, whatever its name
    return root


@pytest.fixture(scope='module')
def clip(camvid):
    [clip] = find_clips('camvid', camvid, 'val')
    return clip


@pytest.fixture(scope='module')
def images(clip):
    return [cv2.imread(str(frame.image), cv2.IMREAD_COLOR_RGB) for frame in clip.frames]


@pytest.fixture(scope='module')
def labels(clip):
    return [cv2.imread(str(frame.label), cv2.IMREAD_UNCHANGED) for frame in clip.frames]


def amortised(interval, slices=0, **options):
    return setting(interval=interval, execution='amortised', slices=slices, **options)


def row_of(net, clip, setting, options=FAST):
    figures = evaluate_clips({'net': net}, [clip], [setting], floors=False, options=options)
    [row] = figures['rows']
    return row


def keep_labels(clip, *labelled):
    frames = tuple(f if i in labelled else Frame(f.image) for i, f in enumerate(clip.frames))
    return replace(clip, frames=frames)


@pytest.fixture(scope='module')
def live(net, images):
    """Gives the results of a stream that begins at `start`, by number of the frame."""

    @cache
    def run(interval, slices, start=0):
        keyframes = schedule(interval) if interval else schedule(1, 0.1)
        how = {'execution': 'amortised', 'execution_slices': slices, 'backend': 'torch'}
        engine = cpu_engine(net, keyframes, **how)
        return {i: engine.step(images[i], i) for i in range(start, len(images))}

    return run


def miou_of(masks, labels):
    confusion = ConfusionMatrix(11)
    for mask, label in zip(masks, labels, strict=True):
        confusion.update(mask, label)
    # Engines round by where in memory their weights lie, which may turn a pixel or two.
    return pytest.approx(confusion.miou(), abs=3e-3)


@pytest.mark.parametrize(
    ('labelled', 'slices', 'start', 'spans'),
    [
        ([19], 0, 0, [(16, 20)]),  # 16 is done with its last slice, on 19
        ([18], 0, 0, [(12, 19)]),  # 16 is not: 12 is in use
        ([18], 2, 0, [(16, 19)]),
        ([16], 2, 0, [(12, 17)]),
        ([18], 0, 2, [(14, 19)]),
        ([2], 0, 0, []),  # in a long run, no feature of this clip would be there
        ([3, 4], 0, 0, [(0, 5)]),
        ([7, 18], 0, 0, [(4, 8), (12, 19)]),
    ],
)
def test_only_what_labels_depend_on_is_run(labelled, slices, start, spans):
    how = replace(amortised(4, slices), is_stream=False)
    found = needed_spans(labelled, 30, how, start)
    assert [(span.start, span.stop) for span in found] == spans


@pytest.mark.parametrize('slices', [2, 4])
def test_row_is_what_the_engine_says(net, clip, live, labels, slices):
    row = row_of(net, clip, amortised(4, slices, phases='first'))
    results = live(4, slices)
    counted = range(slices - 1, 16)
    assert row['miou'] == miou_of([results[i].mask for i in counted], labels[slices - 1 :])
    assert (row['frames'], row['average_interval']) == (len(counted), 4)
    assert (row['execution'], row['slices']) == ('amortised', slices)
    assert row['miou_key'] is None
    assert row['miou'] != row_of(net, clip, setting(interval=4, phases='first'))['miou']


def test_sparse_label_is_met_at_the_ages_of_a_long_run(net, clip, live, labels):
    row = row_of(net, keep_labels(clip, 14), amortised(4))
    results = [live(4, 4, start)[14] for start in range(4)]
    assert [result.keyframe_age for result in results] == [6, 5, 4, 3]
    assert row['miou'] == miou_of([result.mask for result in results], [labels[14]] * 4)
    by_age = [(item['age'], item['frames'], item['miou']) for item in row['by_age']]
    assert by_age == [
        (result.keyframe_age, 1, miou_of([result.mask], [labels[14]]))
        for result in reversed(results)
    ]


@pytest.mark.parametrize(
    ('setting', 'ages'),
    [
        (setting(interval=3), [0, 1, 2]),
        (amortised(4), [3, 4, 5, 6]),
        (amortised(4, 2), [1, 2, 3, 4]),
    ],
)
def test_ages_are_those_of_a_running_stream(net, clip, live, labels, setting, ages):
    by_age = row_of(net, clip, setting)['by_age']
    assert [item['age'] for item in by_age] == ages
    runs = [live(setting.interval, setting.num_slices, s) for s in range(setting.interval)]
    counted = [
        (i, run[i]) for start, run in enumerate(runs) for i in range(start + setting.delay, 16)
    ]
    for item in by_age:
        chosen = [(i, r.mask) for i, r in counted if r.keyframe_age == item['age']]
        assert item['frames'] == len(chosen)
        assert item['miou'] == miou_of([m for _, m in chosen], [labels[i] for i, _ in chosen])


def test_adaptive_schedule_may_be_amortised(net, clip, live, labels):
    how = setting(threshold=0.1, interval=1, execution='amortised', slices=3)
    sparse = keep_labels(clip, 9, 12)
    row = row_of(net, sparse, how)
    results = live(None, 3)
    keyframes = [i for i, result in results.items() if result.is_keyframe]
    assert keyframes == [0, 1, 4, 7, 10, 13]
    assert row['miou'] == miou_of([results[i].mask for i in (9, 12)], [labels[9], labels[12]])
    assert row['average_interval'] == 16 / len(keyframes)
    assert row['keyframe_share'] == len(keyframes) / 16


def test_nothing_is_held_where_keyframes_are_spread(net, clip):
    settings = [setting(interval=4), amortised(4)]
    rows = evaluate_clips({'net': net}, [clip], settings, options=FAST)['rows']
    assert [(row['schedule'], row['execution']) for row in rows] == [
        ('per_frame', 'sync'),
        ('hold', 'sync'),
        ('fixed', 'sync'),
        ('fixed', 'amortised'),
    ]
    assert rows[2]['hold_miou'] is not None
    assert rows[3]['hold_miou'] is rows[3]['label_hold_miou'] is None


def test_one_slice_is_sync():
    assert amortised(1) == setting(interval=1)
    assert amortised(4, 1) == setting(interval=4)


def test_clip_that_is_too_short_is_no_error(net, clip):
    row = row_of(net, keep_labels(clip, 1), amortised(4))
    assert (row['frames'], row['by_age'], row['miou']) == (0, [], None)
    assert row['keyframe_share'] is row['ms_mean'] is row['ms_key'] is None


@pytest.fixture
def clockwork(monkeypatch):
    """Frames take 20 ms, a keyframe's deep encoder 80 ms, or 20 ms for each of 4 slices."""
    step = SegmentationEngine.step

    def timed(self, image, stamp_ns):
        result = step(self, image, stamp_ns)
        stages = {'independent': 20.0}
        if 'common' in result.stage_ms:
            stages['common'] = 80.0 if result.keyframe_age == 0 else 20.0
        result.stage_ms = stages
        return result

    monkeypatch.setattr(SegmentationEngine, 'step', timed)


@pytest.mark.usefixtures('clockwork')
def test_times_are_told_by_age(net, clip):
    def times(setting):
        row = row_of(net, clip, setting)
        ms = {item['age']: item['ms'] for item in row['by_age']}
        return ms, row['ms_key'], row['ms_nonkey'], round(row['ms_mean'], 3)

    key = row_of(net, clip, setting(interval=4))['by_age'][0]['frames']
    mean = round((key * 100 + (58 - key) * 20) / 58, 3)  # 16 + 15 + 14 + 13 frames
    assert times(setting(interval=4)) == ({0: 100, 1: 20, 2: 20, 3: 20}, 100, 20, mean)
    assert times(amortised(4)) == ({3: 40, 4: 40, 5: 40, 6: 40}, 40, 20, 40)
    ms, *_ = times(amortised(6, 4))
    assert ms == {3: 40, 4: 20, 5: 20, 6: 40, 7: 40, 8: 40}


@pytest.mark.usefixtures('clockwork')
def test_stream_takes_the_time_of_each_frame(net, clip):
    options = replace(OPTIONS, rate_hz=20.0)  # a frame every 50 ms
    figures = evaluate_clips(
        {'net': net}, [clip], [setting(interval=4), amortised(4)], floors=False, options=options
    )
    sync, spread = figures['rows']
    # Every keyframe of 100 ms makes the worker late for one frame, later ones catch up; spread,
    # only the first keyframe of the stream does.
    assert sync['streaming_dropped'] > spread['streaming_dropped'] == 1
    assert figures['streaming_rate_hz'] == 20.0


def test_assumed_times_are_shared_by_the_slices(net, clip, live):
    times = FrameTimes(100, 20)
    results = live(4, 4)
    told = [times.of(result, 4) for result in results.values()]
    assert told == [100, 20, 20, 20, *[40] * 12]
    options = replace(FAST, streaming=True, frame_times=times, rate_hz=20.0)
    row = row_of(net, clip, amortised(4), options)
    assert row['streaming_dropped'] == 1


def test_hiccup_of_the_machine_drops_no_frame(live):
    times = MeasuredTimes()
    results = [replace(result) for result in live(4, 4).values()][:8]
    for spent, result in zip((90, 20, 21, 22, 9000, 41, 42, 43), results, strict=True):
        result.stage_ms = {
            name: float(spent) if name == 'mask' else 0.0 for name in result.stage_ms
        }
        times.add(result)
    more = MeasuredTimes()
    for spent in (39, 40):  # two more frames like the one with the hiccup
        results[4].stage_ms['mask'] = float(spent)
        more.add(results[4])
    times.merge(more)
    assert times.of(results[4]) == 40
    assert times.at_age(4) == 40
    assert times.at_age(3) == 43  # the last slice, not the shallow frame behind the first keyframe
    assert times.medians() == {'ms_key': pytest.approx(42), 'ms_nonkey': 21}
    unknown = replace(results[4], keyframe_age=99)
    assert times.of(unknown) == 40


def test_hiccup_in_a_live_run_drops_no_frame(net, clip, monkeypatch):
    step, calls = SegmentationEngine.step, count()

    def timed(self, image, stamp_ns):
        result = step(self, image, stamp_ns)
        # The live run comes after the pass of 16 frames.
        result.stage_ms = {name: 5000.0 * (next(calls) == 20) for name in ('common',)}
        return result

    monkeypatch.setattr(SegmentationEngine, 'step', timed)
    row = row_of(net, clip, setting(interval=4, phases='first'), OPTIONS)
    assert next(calls) > 21
    assert (row['streaming_processed'], row['streaming_dropped']) == (16, 0)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'execution': 'some'}, r"`execution` must be one of sync, amortised, got 'some'"),
        ({'slices': 2}, r"`slices` must be 0 where `execution` is 'sync'"),
        (
            {'execution': 'amortised', 'slices': 3},
            r'`slices` must be from 1 to the interval \(2\), got 3',
        ),
        (
            {'execution': 'amortised', 'mode': 'both'},
            r"`execution` must be 'sync' in mode 'both', which is not live",
        ),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        setting(**options)


def test_mirrored_views_cannot_be_amortised(net, clip):
    with pytest.raises(ValueError, match=r"`flip` must be off unless every `execution` is 'sync'"):
        row_of(net, clip, amortised(4), replace(FAST, flip=True))


def test_slices_without_amortised_are_refused():
    with pytest.raises(ValueError, match=r'`slices` \(2\) needs `executions` with amortised'):
        settings_of([schedule(2)], slices=2)


def test_command_compares_executions(camvid, net, tmp_path):
    save_checkpoint(tmp_path / 'net.safetensors', make_net())
    run = dcfm(
        *('evaluate', '--root', camvid, '--device', 'cpu', '--no-floors', '--by-age'),
        *('--checkpoint', tmp_path / 'net.safetensors', '--json', tmp_path / 'figures.json'),
        *('--execution', 'sync, amortised', '--intervals', '1,4', '--phases', 'first'),
        *('--key-ms', '100', '--nonkey-ms', '30', '--rate', '30', '--backend', 'torch'),
    )
    assert run.returncode == 0, run.stderr
    figures = json.loads((tmp_path / 'figures.json').read_text())
    told = [(row['interval'], row['execution'], row['slices']) for row in figures['rows']]
    assert told == [(1, 'sync', None), (4, 'sync', None), (4, 'amortised', 4)]
    assert figures['streaming_rate_hz'] == 30.0
    assert figures['backend'] == 'torch'
    oldest = figures['rows'][2]['by_age'][-1]
    assert oldest['age'] == 6
    assert f'{oldest["miou"]:.3f}' in run.stdout
    assert 'amortised' in run.stdout


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--execution', 'async'], "`execution` must be one of sync, amortised, got 'async'"),
        (['--slices', '2'], '--slices (2) needs --execution amortised'),
        (['--rate', '30', '--no-streaming'], '--rate (30.0) needs --streaming'),
    ],
)
def test_command_refuses_options_that_it_would_not_use(tmp_path, options, message):
    run = dcfm('evaluate', '--root', tmp_path, *options)
    assert run.returncode != 0
    assert message in run.stderr
