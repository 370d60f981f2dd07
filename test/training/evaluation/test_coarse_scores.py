"""Labels of another taxonomy: what `dcfm evaluate` counts where a label is a set of classes."""

from __future__ import annotations

import json

from command import dcfm
import cv2
import numpy as np
import pytest
from settings import setting
from small_net import make_net

from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.models.checkpoint import load_checkpoint, save_checkpoint
from dcfm_ros.models.labels import CAMVID_NAMES, CAMVID_PALETTE
from dcfm_ros.training.evaluation.coarse_scores import CoarseScores
from dcfm_ros.training.evaluation.evaluate import evaluate_clips
from dcfm_ros.training.evaluation.jobs import Options
from dcfm_ros.training.evaluation.scores import LabelHold, PassScores
from dcfm_ros.training.footage.datasets import find_clips
from dcfm_ros.training.footage.label_sets import CAMVID, IDD_LITE, label_set_of

ROAD, CAR, BUS, RIDER, SKY = range(5)
LABELS = label_set_of(
    'own',
    ('road', 'car', 'bus', 'rider', 'sky'),
    ((0, 0, 0),) * 5,
    {0: ROAD, 1: (CAR, RIDER), 2: (BUS, CAR), 3: RIDER},
)
"""Sky is in no entry; car is in two, rider in two."""
VEHICLE, BIG = 6, 5
"""Label ids of 'car or rider' and 'car or bus'."""
FAST = Options(engine=EngineOptions(device='cpu'), streaming=False)


def test_entries_are_in_the_order_of_the_file():
    names = CoarseScores(LABELS).names
    assert names == ('road', 'car or rider', 'car or bus', 'rider')
    assert LABELS.id_names[BIG] == 'car or bus' and LABELS.id_names[VEHICLE] == 'car or rider'
    assert CoarseScores(IDD_LITE).names == (
        'road', 'pavement', 'pedestrian or bicyclist', 'car or bicyclist',
        'building or pole or sign or fence', 'building or tree', 'sky',
    )  # fmt: skip


def test_a_class_counts_as_its_entry_or_as_the_first_that_has_it():
    pixels = [  # label, mask, as what it counts
        (ROAD, ROAD, 'road'),
        (ROAD, CAR, 'car or rider'),
        (ROAD, RIDER, 'car or rider'),
        (ROAD, BUS, 'car or bus'),
        (ROAD, SKY, None),
        (ROAD, 255, None),
        (VEHICLE, CAR, 'car or rider'),
        (VEHICLE, RIDER, 'car or rider'),
        (VEHICLE, BUS, 'car or bus'),
        (BIG, CAR, 'car or bus'),
        (BIG, BUS, 'car or bus'),
        (BIG, RIDER, 'car or rider'),
        (RIDER, RIDER, 'rider'),
        (RIDER, CAR, 'car or rider'),
        (255, CAR, None),
    ]
    scores = CoarseScores(LABELS)
    label, mask = (np.array([[p[i] for p in pixels]], np.uint8) for i in (0, 1))
    scores.update(mask, label)
    counted = scores.confusion.counts.sum(axis=1)
    for name, count in zip(scores.names, counted.tolist(), strict=True):
        assert count == sum(pixel[2] == name for pixel in pixels), name
    assert scores.confusion.label_pixels().tolist() == [6, 3, 3, 2]


def test_golden_figures():
    label = np.array([[ROAD, ROAD, VEHICLE, VEHICLE], [BIG, RIDER, 255, ROAD]], np.uint8)
    mask = np.array([[ROAD, CAR, CAR, SKY], [BUS, RIDER, CAR, ROAD]], np.uint8)
    scores = PassScores(LABELS).engine
    scores.add_frame(mask, label, age=0)
    values = scores.values(LABELS.class_names)
    assert values['coarse_iou'] == {
        'road': pytest.approx(2 / 3),
        'car or rider': pytest.approx(1 / 3),  # one right, one is sky, one road is said to be it
        'car or bus': pytest.approx(1.0),
        'rider': pytest.approx(1.0),
    }
    assert values['coarse_miou'] == pytest.approx((2 / 3 + 1 / 3 + 1 + 1) / 4)
    # Only the three pixels of road and that of rider count there; sky, car and bus are absent.
    assert values['miou'] == pytest.approx((2 / 3 + 1) / 5)


def test_parts_add_up():
    rng = np.random.default_rng(0)
    frames = [
        (rng.integers(0, 5, (9, 9), np.uint8), rng.integers(0, 7, (9, 9), np.uint8))
        for _ in range(4)
    ]
    whole, first, second = (PassScores(LABELS) for _ in range(3))
    for index, (mask, label) in enumerate(frames):
        for scores in (whole, (first, second)[index % 2]):
            scores.engine.add_frame(mask, label, age=index % 3)
            scores.hold.add_frame(mask[::-1], label, age=index % 3)
    first.merge(second)
    for part in ('engine', 'hold'):
        values = getattr(whole, part).values(LABELS.class_names)
        assert 0 < values['coarse_miou'] < 1
        assert getattr(first, part).values(LABELS.class_names) == values


def test_labels_of_classes_have_no_coarse_figures():
    scores = PassScores(CAMVID).engine
    scores.add_frame(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8), age=0)
    assert not [key for key in scores.values(CAMVID.class_names) if 'coarse' in key]


def test_a_label_that_was_a_set_is_not_held():
    hold = LabelHold(5)
    old, new = np.array([[ROAD, VEHICLE, CAR]], np.uint8), np.array([[ROAD, CAR, CAR]], np.uint8)
    hold.add_clip([old, new])
    assert hold.values()['1'] == pytest.approx(2 / 5)


@pytest.fixture(scope='module')
def stills(tmp_path_factory):
    """IDD-lite's layout: ten stills of blocks, all seven values and void among them."""
    root = tmp_path_factory.mktemp('idd_lite')
    rng = np.random.default_rng(0)
    for kind in ('train', 'trainannot'):
        (root / kind).mkdir()
    for index in range(10):
        small = rng.integers(0, 8, (4, 6)).astype(np.uint8)
        small[small == 7] = 255
        label = np.kron(small, np.ones((12, 12), np.uint8))
        image = (30 * (label[..., None] % 8) + rng.integers(0, 30, (48, 72, 3))).astype(np.uint8)
        cv2.imwrite(str(root / f'train/{index}_0.jpg'), image)
        cv2.imwrite(str(root / f'trainannot/{index}_0.png'), label)
    return root


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp('weights') / 'tiny.safetensors'
    net = make_net(fuse_channels=32, class_names=CAMVID_NAMES, palette=CAMVID_PALETTE)
    save_checkpoint(path, net, {'image_height': 48})
    return path


def by_hand(net, clips):
    """IoU of each value of the files, with the rule spelt out pixel by pixel."""
    engine = SegmentationEngine(net, EngineOptions(device='cpu'), setting(interval=1).keyframes)
    entries = [set(IDD_LITE.classes_of(value)) for value in range(7)]
    hits, truth, said = (np.zeros(7, int) for _ in range(3))
    for index, clip in enumerate(clips):
        image = cv2.imread(str(clip.frames[0].image))[..., ::-1]
        values = cv2.imread(str(clip.frames[0].label), cv2.IMREAD_UNCHANGED)
        mask = engine.step(np.ascontiguousarray(image), index).mask
        for value, class_id in zip(values.ravel().tolist(), mask.ravel().tolist(), strict=True):
            if value == 255:
                continue
            first = next(i for i, classes in enumerate(entries) if class_id in classes)
            seen = value if class_id in entries[value] else first
            truth[value] += 1
            said[seen] += 1
            hits[value] += seen == value
    return hits / (truth + said - hits)


def test_command_reports_coarse_figures(stills, weights, tmp_path):
    done = dcfm(
        'evaluate', '--dataset', 'idd_lite', '--root', stills, '--split', 'train',
        '--checkpoint', weights, '--intervals', '1', '--device', 'cpu', '--hold-out', '0.3',
        '--json', tmp_path / 'figures.json',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / 'figures.json').read_text())
    clips = find_clips('idd_lite', stills, 'train')[-3:]
    expected = by_hand(load_checkpoint(weights), clips)
    for row in figures['rows']:
        assert list(row['coarse_iou'].values()) == pytest.approx(expected.tolist(), abs=1e-12)
        assert row['coarse_miou'] == pytest.approx(expected.mean(), abs=1e-12)
        assert list(row['coarse_iou'])[2:4] == ['pedestrian or bicyclist', 'car or bicyclist']
        assert row['frames'] == 3
    assert 'coarse_miou' in done.stdout
    assert 'all figures but `coarse_miou` and `coarse_iou` count no others' in ' '.join(
        figures['notes']
    )
    [absent] = [note for note in figures['notes'] if 'no counted label has class' in note]
    assert "'tree' (only building or tree)" in absent and '255' not in absent


@pytest.mark.slow
def test_several_workers_count_the_same(stills, weights):
    clips = find_clips('idd_lite', stills, 'train')
    net = load_checkpoint(weights)
    rows = [
        evaluate_clips({'net': net}, clips, [setting(interval=1)], options=FAST, jobs=jobs)['rows']
        for jobs in (1, 2)
    ]
    figures = [[(row['coarse_miou'], row['coarse_iou'], row['miou']) for row in of] for of in rows]
    assert figures[0] == figures[1]


def test_sets_that_no_label_has_are_told_of(stills, weights):
    clips = find_clips('idd_lite', stills, 'train')[:1]
    values = cv2.imread(str(clips[0].frames[0].label), cv2.IMREAD_UNCHANGED)
    missing = sorted(set(range(2, 6)) - set(np.unique(values).tolist()))
    names = [IDD_LITE.entry_name(IDD_LITE.classes_of(value)) for value in missing]
    figures = evaluate_clips(
        {'net': load_checkpoint(weights)}, clips, [setting(interval=1)], floors=False, options=FAST
    )
    [note] = [note for note in figures['notes'] if 'coarse_miou' in note]
    found = note.partition('; no counted label is ')[2].partition(', which counts 0')[0]
    assert sorted(filter(None, found.split(', '))) == sorted(names)
