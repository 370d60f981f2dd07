from __future__ import annotations

from dataclasses import asdict, replace
from importlib.util import find_spec
import json
import pickle
import weakref

from checkpoint_files import rewrite
from command import dcfm
import cv2
import numpy as np
import pytest
import repository
from settings import cpu_engine, schedule, setting
import torch
import torch.nn.functional as F

from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.models.checkpoint import save_checkpoint
from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.training.ablated_network import AblatedConfig, build_network, make_engine
from dcfm_ros.training.evaluation.averaged_views import FlippedEngine, MultiScaleEngine
from dcfm_ros.training.evaluation.clip_choice import ClipChoice
from dcfm_ros.training.evaluation.clip_passes import (
    needed_spans,
    score_label_hold,
    score_pass,
    segment_clip,
)
from dcfm_ros.training.evaluation.evaluate import (
    evaluate_clips,
    evaluate_dataset,
)
from dcfm_ros.training.evaluation.frame_times import FrameTimes
from dcfm_ros.training.evaluation.jobs import Options
from dcfm_ros.training.evaluation.scores import LabelHold, PassScores
from dcfm_ros.training.footage.clips import Frame
from dcfm_ros.training.footage.datasets import find_clips
from dcfm_ros.training.footage.label_sets import CAMVID
from dcfm_ros.training.metrics import ConfusionMatrix

pytestmark = pytest.mark.train

DATA = repository.CAMVID
DESIGN_KEYS = {
    'interval', 'mode', 'schedule', 'miou', 'wiou', 'miou_key', 'miou_nonkey', 'mvc8', 'mvc16',
    'keyframe_share', 'frames',
}  # fmt: skip
ABSENT = "no counted label has class 'bicyclist'"
CPU = EngineOptions(device='cpu')
FAST = Options(engine=CPU, streaming=False)


def other_notes(figures):
    """The notes without that on the class that the labels of these tests never have."""
    notes = [note for note in figures['notes'] if not note.startswith(ABSENT)]
    assert len(notes) == len(figures['notes']) - 1
    return notes


def tiny_net(**changes):
    torch.manual_seed(0)
    config = AblatedConfig(backbone='mit_b0', num_classes=11, fuse_channels=32, **changes)
    return build_network(config).eval()


@pytest.fixture(scope='module')
def net():
    return tiny_net()


@pytest.fixture(scope='module')
def camvid(tmp_path_factory):
    """CamVid's layout: 20 frames, brighter ever faster; labels have classes 0 to 9 of 11."""
    root = tmp_path_factory.mktemp('camvid')
    rng = np.random.default_rng(0)
    for folder in ('val', 'valannot'):
        (root / folder).mkdir()
    texture = rng.integers(0, 60, (32, 64, 3))
    for index in range(20):
        image = texture + rng.integers(0, 10, texture.shape) + 0.45 * index**2
        label = cv2.resize(rng.integers(0, 10, (4, 8)).astype(np.uint8), (64, 32), None, 0, 0, 0)
        cv2.imwrite(str(root / 'val' / f'0016E5_{2 * index:05d}.jpg'), image.astype(np.uint8))
        cv2.imwrite(str(root / 'valannot' / f'0016E5_{2 * index:05d}.png'), label)
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


def keep_labels(clip, *labelled):
    frames = tuple(f if i in labelled else Frame(f.image) for i, f in enumerate(clip.frames))
    return replace(clip, frames=frames)


def row_of(net, clips, setting, options=FAST):
    [row] = evaluate_clips({'net': net}, clips, [setting], floors=False, options=options)['rows']
    return row


def miou_of(masks, labels):
    confusion = ConfusionMatrix(11)
    for mask, label in zip(masks, labels, strict=True):
        confusion.update(mask, label)
    return pytest.approx(confusion.miou(), abs=1e-12)


def stepped(net, images, interval):
    engine = cpu_engine(net, interval)
    return [engine.step(image, index).mask for index, image in enumerate(images)]


def test_row_is_what_the_engine_says(net, clip, images, labels):
    row = row_of(net, [clip], setting(interval=3, phases='first'))
    masks = stepped(net, images, 3)
    assert row.keys() >= DESIGN_KEYS
    assert row['miou'] == miou_of(masks, labels)
    assert row['miou_key'] == miou_of(masks[::3], labels[::3])
    others = [i for i in range(20) if i % 3]
    assert row['miou_nonkey'] == miou_of([masks[i] for i in others], [labels[i] for i in others])
    assert (row['frames'], row['keyframe_share']) == (20, 7 / 20)
    assert (row['schedule'], row['mode'], row['interval']) == ('fixed', 'past', 3)


def test_absent_class_counts_0_or_is_ignored(net, clip):
    row = row_of(net, [clip], setting(interval=3, phases='first'))
    by_name = row['iou'] | {'bicyclist': row['iou']['bicyclist'] or 0.0}
    assert list(by_name) == list(CAMVID.class_names)
    assert row['miou'] == pytest.approx(sum(by_name.values()) / 11)
    assert row['miou_labelled'] == pytest.approx(sum(list(by_name.values())[:10]) / 10)


def test_all_phases_pool_every_start(net, clip, images, labels):
    row = row_of(net, [clip], setting(interval=3))
    passes = [(stepped(net, images[start:], 3), labels[start:]) for start in range(3)]
    assert row['frames'] == 20 + 19 + 18
    assert row['keyframe_share'] == pytest.approx((7 + 7 + 6) / 57)
    masks, truth = ([x for part in passes for x in part[i]] for i in range(2))
    assert row['miou'] == miou_of(masks, truth)
    mean = sum(miou_of(*part).expected for part in passes) / 3
    assert row['miou_phase_mean'] == pytest.approx(mean, abs=1e-12)


def test_both_mode_uses_the_following_keyframe(net, clip, images, labels):
    row = row_of(net, [clip], setting(interval=4, mode='both', phases='first'))
    engine = cpu_engine(net, 4)
    masks = [result.mask for result in engine.segment_clip(images)]
    assert row['miou'] == miou_of(masks, labels)
    assert not np.array_equal(masks, stepped(net, images, 4))


def test_sparse_label_is_met_at_every_age(net, clip, images, labels):
    row = row_of(net, [keep_labels(clip, 7)], setting(interval=3))
    masks = [stepped(net, images[first:8], 3)[-1] for first in (5, 6, 7)]
    assert row['miou'] == miou_of(masks, [labels[7]] * 3)
    assert row['miou_key'] == miou_of(masks[2:], [labels[7]])
    assert (row['frames'], row['keyframe_share']) == (3, 1 / 3)
    assert row['mvc8'] is row['label_hold_miou'] is None


def test_sparse_label_in_both_mode_is_as_in_the_whole_clip(net, clip, images, labels):
    row = row_of(net, [keep_labels(clip, 7)], setting(interval=3, mode='both'))
    engine = cpu_engine(net, 3)
    masks = [list(engine.segment_clip(images, start))[7].mask for start in range(3)]
    assert row['miou'] == miou_of(masks, [labels[7]] * 3)


@pytest.mark.parametrize(
    ('labelled', 'options', 'start', 'spans'),
    [
        ([19], {}, 0, [(18, 20)]),  # keyframes at 0, 3, ..., 18
        ([19], {}, 1, [(19, 20)]),
        ([19], {}, 2, [(17, 20)]),
        ([19], {'mode': 'both'}, 0, [(18, 22)]),
        ([19], {'mode': 'both'}, 1, [(19, 20)]),
        ([28], {'mode': 'both'}, 0, [(27, 29)]),  # the next keyframe would be 30
        ([1], {'mode': 'both'}, 2, [(1, 3)]),
        ([1, 2, 3], {}, 2, [(2, 4)]),  # a label before the first keyframe has no mask
        ([1], {}, 2, []),
        ([2, 4, 10], {}, 0, [(0, 5), (9, 11)]),
        ([19], {'threshold': 0.1}, 0, [(0, 20)]),
        ([19], {'threshold': 0.1, 'mode': 'both'}, 0, [(0, 30)]),
        ([19], {'threshold': 0.1, 'score': 'feature'}, 0, [(0, 30)]),
        ([], {'threshold': 0.1, 'score': 'feature'}, 0, []),
    ],
)
def test_only_what_labels_depend_on_is_run(labelled, options, start, spans):
    how = replace(setting(interval=3, **options), is_stream=False)
    found = needed_spans(labelled, 30, how, start)
    assert [(span.start, span.stop) for span in found] == spans


@pytest.mark.parametrize(
    ('labelled', 'start', 'spans'),
    [([19], 0, [(0, 20)]), ([2, 10], 2, [(2, 11)]), ([1], 2, []), ([], 0, [])],
)
def test_blended_scores_depend_on_all_frames_before(labelled, start, spans):
    found = needed_spans(labelled, 30, setting(interval=3), start)
    assert [(span.start, span.stop) for span in found] == spans


def test_adaptive_row_is_what_the_engine_says(net, clip, images, labels):
    row = row_of(net, [clip], setting(threshold=0.3, interval=2, max_interval=5))
    engine = cpu_engine(net, schedule(2, 0.3, 5))
    results = [engine.step(image, index) for index, image in enumerate(images)]
    keys = [result.is_keyframe for result in results]
    assert 2 < 20 / sum(keys) < 5
    assert row['miou'] == miou_of([result.mask for result in results], labels)
    assert row['keyframe_share'] == sum(keys) / 20
    assert row['average_interval'] == pytest.approx(20 / sum(keys))
    told = [row[key] for key in ('schedule', 'interval', 'threshold', 'min_interval', 'phases')]
    assert told == ['adaptive', None, 0.3, 2, 'first']


@pytest.mark.parametrize('mode', ['past', 'both'])
def test_row_of_a_schedule_that_compares_features(net, clip, images, labels, mode):
    seen = cpu_engine(net, schedule(1, 9.0, score='feature'))
    scores = [seen.step(image, index).change_score for index, image in enumerate(images)]
    how = setting(threshold=scores[3], interval=1, score='feature', mode=mode)
    row = row_of(net, [clip], how)
    engine = cpu_engine(net, how.keyframes)
    results = list(engine.segment_clip(images, mode=mode))
    keys = [result.is_keyframe for result in results]
    if mode == 'past':
        results = [engine.step(image, index) for index, image in enumerate(images)]
        keys = [result.is_keyframe for result in results]
    assert 1 < 20 / sum(keys) < 7
    assert row['miou'] == miou_of([result.mask for result in results], labels)
    assert row['keyframe_share'] == sum(keys) / 20
    assert row['keyframe_score'] == 'feature'


def test_adaptive_keyframe_share_is_of_all_frames_run(net, clip, images):
    whole = row_of(net, [clip], setting(threshold=0.3))
    row = row_of(net, [keep_labels(clip, 19)], setting(threshold=0.3))
    assert row['frames'] == 1
    assert row['keyframe_share'] == whole['keyframe_share']


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        ({'interval': 3, 'phases': 'first'}, 20 / 7),
        ({'interval': 3}, 57 / 20),  # 20 + 19 + 18 frames, 7 + 7 + 6 keyframes
        ({'interval': 3, 'mode': 'both'}, 60 / 20),
        ({'threshold': 99.0, 'interval': 1, 'max_interval': 3}, 20 / 7),
        ({'threshold': 99.0, 'interval': 1, 'max_interval': 3, 'mode': 'both'}, 20 / 8),
        ({'threshold': 99.0, 'interval': 1, 'max_interval': 3, 'score': 'feature'}, 20 / 7),
        (
            {
                'threshold': 99.0,
                'interval': 1,
                'max_interval': 3,
                'score': 'feature',
                'mode': 'both',
            },
            20 / 8,
        ),
    ],
)
def test_average_interval_is_that_of_the_schedule_whatever_is_labelled(
    net, clip, options, expected
):
    without_labels = keep_labels(clip)
    for labelled in (range(20), (4, 9)):
        clips = [keep_labels(clip, *labelled), without_labels]  # the second one is not run
        assert row_of(net, clips, setting(**options))['average_interval'] == expected


def test_pass_keeps_no_more_frames_than_a_window_needs(net, clip):
    class Watched(SegmentationEngine):
        masks, most = (), 0

        def step(self, image, stamp_ns):
            result = super().step(image, stamp_ns)
            alive = [mask for mask in self.masks if mask() is not None]
            self.masks = [*alive, weakref.ref(result.mask)]
            self.most = max(self.most, len(self.masks))
            return result

    long = replace(clip, frames=clip.frames * 2)
    sparse = replace(long, frames=(*long.frames, Frame(clip.frames[0].image), clip.frames[0]))
    for frames, most in ((long, 19), (sparse, 3)):  # a keyframe, 17 or 1, and the one that comes
        engine = Watched(net, CPU)
        score_pass(engine, frames, setting(interval=4), 0)
        assert 1 < engine.most <= most


def test_adaptive_in_both_mode_stops_behind_the_last_label(net, clip):
    engine = cpu_engine(net)
    how = setting(threshold=0.3, mode='both')
    assert len(list(segment_clip(engine, keep_labels(clip, 7), how, 0))) == 8


def test_video_index_shifts_the_first_keyframe(net, clip):
    how = setting(interval=3, mode='both', phases='video-index')
    assert [list(how.starts(20, index)) for index in range(4)] == [[0], [1], [2], [0]]
    row = row_of(net, [clip, clip], how)
    assert (row['frames'], row['keyframe_share']) == (40, (7 + 7) / 40)


def test_held_mask_and_label_are_those_of_the_keyframe(net, clip, images, labels):
    row = row_of(net, [clip], setting(interval=4, phases='first'))
    masks = stepped(net, images, 4)
    assert row['hold_miou'] == miou_of([masks[i - i % 4] for i in range(20)], labels)
    assert row['label_hold_miou'] == miou_of([labels[i - i % 4] for i in range(20)], labels)


def test_floors_and_baselines_come_first(clip):
    image_net = tiny_net(key_uses_independent=False)
    nets = {'video': tiny_net(), 'image': image_net}
    settings = [setting(interval=1), setting(interval=2)]
    rows = evaluate_clips(nets, [clip], settings, options=FAST)['rows']
    told = [(row['checkpoint'], row['schedule'], row['interval']) for row in rows]
    assert told == [
        ('image', 'per_frame', 1),
        ('video', 'per_frame', 1),
        ('video', 'hold', 2),
        ('video', 'fixed', 1),
        ('video', 'fixed', 2),
    ]
    assert rows[0]['miou'] == row_of(image_net, [clip], setting(interval=1))['miou']
    assert rows[1]['miou'] == rows[3]['miou'] == rows[4]['miou_key'] != rows[0]['miou']
    assert rows[2]['miou'] == rows[4]['hold_miou'] != rows[4]['miou']


def test_image_baseline_is_encoder_and_head_alone(clip, images, labels):
    baseline = tiny_net(key_uses_independent=False)
    masks = []
    for image in images:
        tensor = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
        with torch.inference_mode():
            common = baseline.encode_common(baseline.encode_independent(tensor))
            masks.append(baseline.decode(common, (32, 64))[0].argmax(0).numpy())
    row = row_of(baseline, [clip], setting(interval=1))
    assert row['miou'] == pytest.approx(miou_of(masks, labels).expected, abs=1e-4)  # ties
    assert row['miou_nonkey'] is None


def test_streaming_is_measured_in_past_mode_only(net, clip):
    options = Options(engine=CPU, frame_times=FrameTimes(100, 30))
    settings = [setting(interval=2, mode=mode) for mode in ('past', 'both')]
    figures = evaluate_clips({'net': net}, [clip], settings, floors=False, options=options)
    past, both = figures['rows']
    assert past['streaming_processed'] + past['streaming_dropped'] == 20
    assert 0 < past['streaming_miou'] < past['miou']
    assert both['streaming_miou'] is None


def test_flip_gives_a_mirrored_mask_for_a_mirrored_image(net, images):
    engines = FlippedEngine(cpu_engine(net)), FlippedEngine(cpu_engine(net))
    for engine in engines:
        engine.schedule = schedule(1, 0.3)
    keys = []
    for index, image in enumerate(images[8:14]):
        one = engines[0].step(image, index)
        other = engines[1].step(np.ascontiguousarray(image[:, ::-1]), index)
        np.testing.assert_allclose(one.logits, other.logits[..., ::-1], atol=1e-4, rtol=1e-4)
        keys.append(one.is_keyframe)
    assert 1 < sum(keys) < 6


@pytest.mark.parametrize('mode', ['past', 'both'])
def test_flip_averages_with_the_mirrored_clip(net, clip, images, mode):
    how = setting(interval=3, mode=mode, phases='first')
    flipped = [result for _, result in segment_clip(FlippedEngine(cpu_engine(net)), clip, how, 0)]
    logits = []
    for sources in (images, [np.ascontiguousarray(image[:, ::-1]) for image in images]):
        engine = cpu_engine(net, 3)
        logits.append([result.logits for result in engine.segment_clip(sources, 0, mode)])
    for result, plain, mirrored in zip(flipped, *logits, strict=True):
        expected = (plain + mirrored[..., ::-1]) / 2
        np.testing.assert_allclose(result.logits, expected, atol=1e-5, rtol=1e-5)


def test_mirrored_views_of_a_clip_cannot_compare_features(net, clip):
    how = setting(threshold=0.1, score='feature', mode='both')
    with pytest.raises(ValueError, match='`flip` must be off where features are compared'):
        row_of(net, [clip], how, replace(FAST, flip=True))


@pytest.mark.parametrize('flip', [False, True])
def test_scales_average_the_resized_logits(net, images, flip):
    result = MultiScaleEngine(cpu_engine(net), (1.0, 2.0), flip=flip).step(images[0], 0)
    views = []
    for size in ((64, 32), (128, 64)):
        view = cv2.resize(images[0], size)
        for step in (1, -1) if flip else (1,):
            engine = cpu_engine(net)
            logits = engine.step(np.ascontiguousarray(view[:, ::step]), 0).logits
            logits = torch.from_numpy(logits)
            logits = logits.flip(-1) if step < 0 else logits
            views.append(F.interpolate(logits, (32, 64), mode='bilinear'))
    mean = torch.stack(views).mean(0)
    torch.testing.assert_close(torch.from_numpy(result.logits), mean, atol=1e-5, rtol=1e-5)
    assert (result.mask == mean[0].argmax(0).numpy()).mean() > 0.999
    confidence = mean[0].softmax(0).amax(0).numpy()
    np.testing.assert_allclose(result.confidence, confidence, rtol=1e-4)


def test_multi_scale_video_is_refused(net, clip):
    with pytest.raises(ValueError, match=r'`scales` must be empty .* no multi-scale video mode'):
        row_of(net, [clip], setting(interval=2), replace(FAST, scales=(0.5, 1.0)))
    row = row_of(net, [clip], setting(interval=1), replace(FAST, scales=(1.0,)))
    assert row['miou'] == pytest.approx(row_of(net, [clip], setting(interval=1))['miou'], rel=1e-3)


def test_masks_through_torchmetrics_agree(net, clip, images, labels):
    torchmetrics = pytest.importorskip('torchmetrics.classification')
    row = row_of(net, [clip], setting(interval=3, phases='first'))
    count = torchmetrics.MulticlassConfusionMatrix(11)
    count.update(
        *(torch.from_numpy(np.stack(x)).long() for x in (stepped(net, images, 3), labels))
    )
    matrix = count.compute().double()  # rows are labels
    iou = matrix.diag() / (matrix.sum(0) + matrix.sum(1) - matrix.diag()).clamp_min(1)
    assert row['miou'] == pytest.approx(iou.mean().item(), abs=1e-9)
    assert row['wiou'] == pytest.approx((iou @ matrix.sum(1) / matrix.sum()).item(), abs=1e-9)


def test_label_hold_leaves_out_what_was_unlabelled():
    hold = LabelHold(2)
    hold.add_clip([np.array([[0, 255]], np.uint8), np.array([[0, 1]], np.uint8)])
    assert hold.values()['1'] == pytest.approx(1 / 2)  # class 1 is never counted
    assert hold.values()['2'] is None


def test_label_hold_keeps_the_newest_labels_only():
    alive = weakref.WeakSet()

    class Label(np.ndarray):
        __hash__ = object.__hash__

    def labels():
        for _ in range(20):
            label = np.zeros((1, 2), np.uint8).view(Label)
            alive.add(label)
            assert len(alive) <= 10
            yield label

    hold = LabelHold(2)
    hold.add_clip(labels())
    assert hold.values()['8'] == 1 / 2


def test_early_labels_are_told_of(net, clip):
    def notes(clips, interval):
        settings = [setting(interval=interval)]
        return other_notes(evaluate_clips({'net': net}, clips, settings, options=FAST))

    early = [keep_labels(clip, 0)]
    assert notes([clip], 4) == notes([keep_labels(clip, 3)], 4) == notes(early, 1) == []
    [note] = notes(early, 4)
    assert note.startswith('interval 4: 100% of the counted labels are met by keyframes')


def test_held_masks_of_fewer_frames_are_told_of(net, clip):
    clips = [replace(clip, frames=clip.frames[:6])]

    def figures(**changes):
        return evaluate_clips({'net': net}, clips, [setting(interval=3, **changes)], options=FAST)

    both = figures(mode='both')
    assert [row['frames'] for row in both['rows'] if row['schedule'] != 'per_frame'] == [15, 18]
    [note] = other_notes(both)
    assert note.startswith(
        'interval 3, mode both: figures of `hold` are of 15 frames, `miou` is of 18'
    )
    assert other_notes(figures(mode='past')) == []
    assert other_notes(figures(mode='both', phases='first')) == []


def test_short_clip_has_no_consistency(net, clip):
    cut = replace(clip, frames=(clip.frames[0],) * 10)  # a label that stands still
    row = row_of(net, [cut], setting(interval=2, phases='first'))
    assert (row['mvc8'], row['mvc8_paper']) == pytest.approx((1, 1), abs=1e-8)
    assert row['mvc16'] is None


def without_times(figures):
    rows = [{k: v for k, v in row.items() if not k.startswith('ms_')} for row in figures['rows']]
    for row in rows:
        row['by_age'] = [item | {'ms': None} for item in row['by_age']]
    return json.dumps(figures | {'rows': rows})


def test_figures_are_the_same_when_all_is_pickled(net, clip, monkeypatch):
    def map_pickled(function, items, *_, **__):
        work = pickle.loads(pickle.dumps(function))
        return [pickle.loads(pickle.dumps(work(item))) for item in items]

    options = Options(engine=CPU, frame_times=FrameTimes(100, 30))
    clips = [replace(clip, frames=clip.frames[:10]), keep_labels(clip, 4, 9)]
    settings = [setting(interval=2), setting(threshold=0.3)]
    here = evaluate_clips({'net': net}, clips, settings, options=options)
    monkeypatch.setattr('dcfm_ros.training.evaluation.evaluate.map_in_order', map_pickled)
    there = evaluate_clips({'net': net}, clips, settings, options=options, jobs=2)
    assert without_times(there) == without_times(here)
    assert there['rows'][-1]['streaming_miou'] > 0


@pytest.mark.parametrize(
    'workers',
    [
        {'jobs': 2},
        pytest.param(
            {'ray_address': 'local'},
            marks=pytest.mark.skipif(find_spec('ray') is None, reason='ray is not installed'),
        ),
    ],
)
def test_workers_find_the_same_but_measure_no_streaming(net, clip, workers):
    def figures(options, **workers):  # of one job, for every process spends seconds on imports
        settings = [setting(interval=2, phases='first')]
        return evaluate_clips(
            {'net': net}, [clip], settings, floors=False, options=options, **workers
        )

    there = figures(Options(engine=CPU), **workers)
    assert there['streaming_times'] is there['rows'][0]['streaming_miou'] is None
    assert 'streaming_miou is left out' in there.pop('notes')[0]
    here = figures(FAST)
    assert here.pop('notes')[0].startswith(ABSENT)
    assert without_times(there) == without_times(here)


def test_rows_say_what_computed_them(net, clip, tmp_path):
    other = build_network(AblatedConfig(**asdict(net.config) | {'nonkey_uses_common': False}))
    options = Options(engine=replace(CPU, backend='torch', precision='bf16'), streaming=False)
    nets, settings = {'net': net, 'other': other}, [setting(interval=2, phases='first')]
    clips = [keep_labels(clip, 1, 2)]
    for flip in (False, True):
        figures = evaluate_clips(nets, clips, settings, options=replace(options, flip=flip))
        assert {(row['backend'], row['precision']) for row in figures['rows']} == {
            ('torch', 'bf16')
        }
    figures = evaluate_clips(nets, clips, settings, options=FAST)
    assert (figures['backend'], figures['precision']) == ('auto', 'auto')
    for row in figures['rows']:
        used = make_engine(nets[row['checkpoint']], CPU, schedule(2)).backend
        assert (row['backend'], row['precision']) == (used.name, used.precision)


def test_a_backend_that_fails_is_in_the_row_with_what_went_on():
    scores = [PassScores(CAMVID) for _ in range(3)]
    assert scores[0].backends() == {'backend': None, 'precision': None}
    for one, used in zip(scores[1:], [('torch', 'fp32'), ('openvino', 'int8')], strict=True):
        one.computed_by.add(used)
        scores[0].merge(one)
    assert scores[0].backends() == {'backend': 'openvino + torch', 'precision': 'int8 + fp32'}


def test_network_of_other_classes_is_refused(clip):
    other = DCFM(DCFMConfig(backbone='mit_b0', num_classes=5, fuse_channels=32))
    with pytest.raises(ValueError, match=r'net must have the 11 classes of CamVid, got 5'):
        row_of(other, [clip], setting())


def test_check_of_classes_names_network_and_labels():
    CAMVID.check_classes('net', 11)
    with pytest.raises(ValueError, match=r'net must have the 11 classes of CamVid, got 5'):
        CAMVID.check_classes('net', 5)


def test_every_network_works_at_the_height_of_its_training(net, camvid, tmp_path):
    paths = [tmp_path / f'{name}.safetensors' for name in ('small', 'unknown')]
    save_checkpoint(paths[0], net, {'image_height': 30})
    save_checkpoint(paths[1], net)

    def rows(first, *others, height=0):
        options = replace(FAST, engine=replace(CPU, inference_height=height))
        choice, settings = ClipChoice(dataset='camvid', root=camvid), [setting(interval=1)]
        return evaluate_dataset(first, choice, settings, baselines=others, options=options)['rows']

    unknown, small, main = rows(*paths)
    assert [row['height'] for row in (unknown, small, main)] == [None, 30, 30]
    assert unknown['miou'] == rows(paths[1])[0]['miou'] != small['miou']
    assert small['miou'] == rows(paths[1], height=30)[0]['miou']


def test_times_are_refused_where_nothing_is_streamed(net, clip):
    options = Options(engine=CPU, frame_times=FrameTimes(100, 30))
    with pytest.raises(ValueError, match=r'`key_ms` and `nonkey_ms` must not be given where'):
        row_of(net, [clip], setting(mode='both'), options)
    with pytest.raises(ValueError, match=r'`key_ms` and `nonkey_ms` must not be given where'):
        row_of(net, [clip], setting(), replace(options, streaming=False))


def test_frames_without_neighbours_are_keyframes_at_any_interval(net, clip):
    alone = [replace(clip, frames=(frame,)) for frame in clip.frames[:2]]
    options = replace(FAST, streaming=True)

    def figures(*settings, clips=alone):
        return evaluate_clips({'net': net}, clips, settings, floors=False, options=options)

    every, fourth = (figures(setting(interval=interval)) for interval in (1, 4))
    assert other_notes(every) == []
    [note] = other_notes(fourth)
    assert note.endswith('figures are of keyframes, and there are none of non-key frames')
    assert other_notes(figures(setting(threshold=0.1))) == [note]
    [row] = fourth['rows']
    assert row['miou'] == row['miou_key'] == every['rows'][0]['miou'] > 0
    assert (row['frames'], row['keyframe_share']) == (2, 1)
    assert row['miou_nonkey'] is row['mvc8'] is row['streaming_miou'] is None
    both = [*alone, replace(clip, frames=clip.frames[:2])]
    assert note not in figures(setting(interval=4), clips=both)['notes']


def test_held_out_part_is_what_a_training_keeps_for_validation(net, camvid, clip, tmp_path):
    save_checkpoint(tmp_path / 'net', net)
    choice = ClipChoice(dataset='camvid', root=camvid)
    whole, figures = (
        evaluate_dataset(
            tmp_path / 'net', chosen, [setting(interval=2)], floors=False, options=FAST
        )
        for chosen in (choice, replace(choice, hold_out_share=0.35))
    )
    assert (whole['hold_out_share'], figures['hold_out_share']) == (None, 0.35)
    last = replace(clip, frames=clip.frames[13:])
    assert figures['rows'][0]['miou'] == row_of(net, [last], setting(interval=2))['miou']
    assert whole['rows'][0]['miou'] != figures['rows'][0]['miou']
    assert other_notes(whole) == []
    assert other_notes(figures) == [
        'only what a training with hold_out_share 0.35 keeps for validation: 7 labelled frames'
    ]


@pytest.mark.parametrize(
    ('share', 'message'),
    [
        (0.0, r'`hold_out_share` must be in \(0, 1\), got 0.0'),
        (1.0, r'`hold_out_share` must be in \(0, 1\), got 1.0'),
        (0.02, '`hold_out_share` must be large enough for a labelled frame of .*, got 0.02'),
    ],
)
def test_share_that_holds_nothing_out_is_refused(camvid, share, message):
    with pytest.raises(ValueError, match=message):
        ClipChoice(dataset='camvid', root=camvid, hold_out_share=share).find()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'phases': 'some'}, r"`phases` must be 'all' or 'first' or 'video-index', got 'some'"),
        ({'mode': 'future'}, r"`mode` must be 'past' or 'both', got 'future'"),
        ({'phases': 'video-index'}, r"`phases` must be 'first' or 'all' in mode 'past'"),
        ({'interval': 0}, r'`keyframe_interval` must be a whole number from 1 to 1000, got 0'),
        ({'threshold': -1.0}, r'`change_threshold` must be a number from 0.0 to 100.0, got -1.0'),
        ({'threshold': 1.0, 'score': 'flow'}, '`keyframe_score` must be one of image, feature'),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        setting(**options)


def test_labels_can_be_read_as_other_classes(tmp_path, net):
    for folder in ('frames', 'network_labels'):
        (tmp_path / 'clip' / folder).mkdir(parents=True)
        for index in range(3):
            image = np.full((32, 64) + (3,) * (folder == 'frames'), 9, np.uint8)  # 9: terrain
            image[:, 32:] = 0  # road
            suffix = 'jpg' if folder == 'frames' else 'png'
            cv2.imwrite(str(tmp_path / 'clip' / folder / f'{index:03d}.{suffix}'), image)
    save_checkpoint(tmp_path / 'net.safetensors', net)
    [clip] = find_clips('cityscapes', tmp_path, 'all', classes='camvid')
    assert set(clip.labels.to_class[[0, 9]]) < set(range(11)) | {255}
    choice = ClipChoice(dataset='cityscapes', root=tmp_path, split='all', classes='camvid')
    figures = evaluate_dataset(
        tmp_path / 'net.safetensors', choice, [setting(interval=2)], options=FAST
    )
    assert 'CamVid' in figures['classes']
    assert list(figures['rows'][0]['iou']) == list(CAMVID.class_names)


def test_command_writes_json_and_prints_a_table(camvid, net, tmp_path):
    save_checkpoint(tmp_path / 'net.safetensors', net)
    run = dcfm(
        *('evaluate', '--root', camvid, '--device', 'cpu'),
        *('--checkpoint', tmp_path / 'net.safetensors', '--json', tmp_path / 'figures.json'),
        *('--schedule', 'adaptive', '--thresholds', '0.1,0.3', '--max-interval', '6'),
        *('--score', 'image', '--key-ms', '100', '--nonkey-ms', '30'),
    )
    assert run.returncode == 0, run.stderr
    figures = json.loads((tmp_path / 'figures.json').read_text())
    rows = [row for row in figures['rows'] if row['schedule'] == 'adaptive']
    assert [row['threshold'] for row in rows] == [0.1, 0.3]
    assert rows[0]['keyframe_share'] > rows[1]['keyframe_share'] > 1 / 6
    assert figures['streaming_times'] == {'key_ms': 100.0, 'nonkey_ms': 30.0}
    assert (figures['dataset'], figures['split'], figures['clips']) == ('camvid', 'val', 1)
    assert f'{rows[0]["miou"]:.3f}' in run.stdout
    assert 'streaming_miou' in run.stdout
    assert f'computed with backend {rows[0]["backend"]} in precision' in run.stdout


def test_command_also_counts_groups(camvid, net, tmp_path):
    save_checkpoint(tmp_path / 'net.safetensors', net)
    names = CAMVID.class_names
    (tmp_path / 'groups.yaml').write_text(
        '\n'.join(f'{name}: [{name}]' for name in names[:5]) + f'\nrest: [{", ".join(names[5:])}]'
    )
    run = dcfm(
        *('evaluate', '--root', camvid, '--device', 'cpu', '--intervals', '2', '--no-streaming'),
        *('--checkpoint', tmp_path / 'net.safetensors', '--json', tmp_path / 'figures.json'),
        *('--groups', tmp_path / 'groups.yaml'),
    )
    assert run.returncode == 0, run.stderr
    assert 'group_miou' in run.stdout
    rows = json.loads((tmp_path / 'figures.json').read_text())['rows']
    assert {row['schedule'] for row in rows} == {'fixed', 'hold', 'per_frame'}
    for row in rows:
        of_classes, of_groups = row['iou'], row['group_iou']
        assert {name: of_groups[name] for name in names[:5]} == pytest.approx(
            {name: of_classes[name] for name in names[:5]}
        )
        assert row['group_miou'] == pytest.approx(np.mean([v or 0 for v in of_groups.values()]))


def test_command_refuses_groups_of_other_classes(camvid, net, tmp_path):
    save_checkpoint(tmp_path / 'net.safetensors', net)
    # It has no weights: it could not be loaded.
    rewrite(tmp_path / 'net.safetensors', change_tensors=dict.clear)
    (tmp_path / 'groups.yaml').write_text('person: [human]')
    run = dcfm(
        *('evaluate', '--root', camvid, '--checkpoint', tmp_path / 'net.safetensors'),
        *('--groups', tmp_path / 'groups.yaml'),
    )
    assert run.returncode != 0
    assert "group person has 'human', which is no class; there are sky" in run.stderr


def test_command_prints_notes(camvid, net, tmp_path):
    save_checkpoint(tmp_path / 'net.safetensors', net)
    run = dcfm(
        *('evaluate', '--root', camvid, '--device', 'cpu', '--no-floors', '--no-streaming'),
        *('--checkpoint', tmp_path / 'net.safetensors', '--intervals', '60', '--phases', 'first'),
        *('--hold-out', '0.5', '--json', tmp_path / 'figures.json'),
    )
    assert run.returncode == 0, run.stderr
    assert 'note: only what a training with hold_out_share 0.5 keeps' in run.stdout
    assert 'note: interval 60: 10% of the counted labels are met by keyframes' in run.stdout
    assert json.loads((tmp_path / 'figures.json').read_text())['hold_out_share'] == 0.5


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--max-interval', '6'], '--max-interval (6) needs --schedule adaptive'),
        (['--min-interval', '1'], '--min-interval (1) needs --schedule adaptive'),
        (['--thresholds', '0.1'], '--thresholds (0.1) needs --schedule adaptive'),
        (['--schedule', 'adaptive'], '--schedule adaptive needs --thresholds'),
        (
            ['--schedule', 'adaptive', '--thresholds', '0.1', '--intervals', '2'],
            '--intervals (2) needs --schedule fixed',
        ),
        (['--schedule', 'some'], "`schedule` must be 'fixed' or 'adaptive', got 'some'"),
        (['--key-ms', '9'], '`key_ms` and `nonkey_ms` must be given both or not at all'),
    ],
)
def test_command_refuses_options_that_it_would_not_use(tmp_path, options, message):
    run = dcfm('evaluate', '--root', tmp_path, *options)
    assert run.returncode != 0
    assert message in run.stderr


@pytest.mark.skipif(not DATA.is_dir(), reason=f'real data absent: {DATA}')
def test_label_hold_floor_of_the_real_clip():
    [clip] = find_clips('camvid', DATA, 'val')
    floor = score_label_hold(clip).values()
    # The figures that come with the data.
    expected = {'1': 0.743, '2': 0.643, '3': 0.580, '4': 0.543, '8': 0.458}
    assert floor == pytest.approx(expected, abs=2e-3)
