import golden
import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_jaccard_index, multiclass_recall

from dcfm_ros.training.metrics import ConfusionMatrix, VideoConsistency


def add_clip(consistency, predictions, labels):
    for prediction, label in zip(predictions, labels, strict=True):
        consistency.add_frame(prediction, label)
    consistency.end_clip()


@pytest.fixture(scope='module')
def case():
    facts = golden.load()['metrics']
    predictions = [np.array(frame, np.uint8) for frame in facts['pred']]
    labels = [np.array(frame, np.uint8) for frame in facts['gt']]
    return facts['values'], predictions, labels, facts['C']


@golden.needs_golden
def test_golden_confusion_and_iou(case):
    values, predictions, labels, num_classes = case
    confusion = ConfusionMatrix(num_classes)
    for prediction, label in zip(predictions, labels, strict=True):
        confusion.update(prediction, label)
    assert confusion.counts.tolist() == values['confusion_rows_pred_cols_gt']
    np.testing.assert_allclose(confusion.iou_per_class(), values['iou_per_class'], atol=1e-12)
    assert confusion.miou() == pytest.approx(values['mIoU'], abs=1e-12)
    assert confusion.wiou() == pytest.approx(values['wIoU'], abs=1e-12)
    assert confusion.mean_accuracy() == pytest.approx(values['macc'], abs=1e-12)


@golden.needs_golden
@pytest.mark.parametrize('window', [2, 4, 8])
@pytest.mark.parametrize(
    ('suffix', 'options'),
    [
        ('', {}),
        ('_all_windows', {'form': 'paper'}),
    ],
)
def test_golden_video_consistency(case, window, suffix, options):
    values, predictions, labels, _ = case
    consistency = VideoConsistency(window, **options)
    add_clip(consistency, predictions, labels)
    assert consistency.value() == pytest.approx(values[f'VC{window}{suffix}'], abs=1e-12)


def test_iou_by_hand():
    confusion = ConfusionMatrix(3)
    confusion.update(np.array([[0, 0, 1, 1]]), np.array([[0, 1, 1, 255]]))
    assert confusion.iou_per_class() == pytest.approx([1 / 2, 1 / 2, 0])
    assert confusion.miou() == pytest.approx(1 / 3)
    assert confusion.miou(absent='ignore') == pytest.approx(1 / 2)
    assert confusion.wiou() == pytest.approx(1 / 2)


def test_unlabelled_prediction_is_a_miss():
    confusion = ConfusionMatrix(2)
    confusion.update(np.array([[0, 255]]), np.array([[0, 0]]))
    assert confusion.iou_per_class() == pytest.approx([1 / 2, 0])


def test_counts_do_not_overflow_32_bits():
    confusion = ConfusionMatrix(2)
    confusion.counts[0, 0] = 2**31 - 1
    confusion.update(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8))
    assert confusion.counts[0, 0] == 2**31 + 3


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r'`prediction` and `label` must share one shape'):
        ConfusionMatrix(2).update(np.zeros((2, 2), int), np.zeros((2, 3), int))


def test_official_form_leaves_out_the_last_window():
    still = [np.zeros((1, 2), np.uint8)] * 2
    label = [np.zeros((1, 2), np.uint8), np.zeros((1, 2), np.uint8)]
    official, paper = VideoConsistency(2), VideoConsistency(2, 'paper')
    add_clip(official, still, label)
    add_clip(paper, still, label)
    assert np.isnan(official.value())
    assert paper.value() == pytest.approx(1)


def test_paper_form_weighs_clips_alike_and_official_windows():
    label = [np.zeros((1, 1), np.uint8)] * 4
    flicker = [np.full((1, 1), i % 2, np.uint8) for i in range(4)]
    official, paper = VideoConsistency(2), VideoConsistency(2, 'paper')
    for consistency in (official, paper):
        add_clip(consistency, label, label)
        add_clip(consistency, flicker[:3], label[:3])
    assert official.value() == pytest.approx(2 / 3)
    assert paper.value() == pytest.approx(1 / 2)


def test_frame_of_another_size_starts_a_clip():
    small, large = np.zeros((2, 2), np.uint8), np.zeros((4, 4), np.uint8)
    consistency, apart = VideoConsistency(2, 'paper'), VideoConsistency(2, 'paper')
    add_clip(consistency, [small, small + 1, large, large], [small, small, large, large])
    add_clip(apart, [small, small + 1], [small, small])
    add_clip(apart, [large, large], [large, large])
    assert consistency.value() == apart.value() == pytest.approx(1 / 2)


def test_void_that_stays_void_counts_as_still():
    label = [np.array([[255, 0]], np.uint8)] * 2
    predictions = [np.array([[1, 0]], np.uint8), np.array([[2, 0]], np.uint8)]
    consistency = VideoConsistency(2, 'paper')
    add_clip(consistency, predictions, label)
    assert consistency.value() == pytest.approx(1 / 2)


def test_window_without_a_still_pixel_is_skipped():
    label = [np.full((1, 1), i, np.uint8) for i in (0, 1, 1)]
    consistency = VideoConsistency(2, 'paper')
    add_clip(consistency, label, label)
    assert consistency.value() == pytest.approx(1)


def test_torchmetrics_agrees():
    rng = np.random.default_rng(0)
    prediction, label = rng.integers(0, 6, (2, 40, 50))  # of 7 classes, one is absent
    label[rng.random(label.shape) < 0.1] = 255
    confusion = ConfusionMatrix(7)
    confusion.update(prediction, label)
    pair = torch.from_numpy(prediction), torch.from_numpy(label)
    options = {'num_classes': 7, 'average': 'none', 'ignore_index': 255}
    iou = multiclass_jaccard_index(*pair, **options)
    counts = torch.bincount(pair[1][pair[1] < 255], minlength=7)
    assert confusion.miou() == pytest.approx(iou.mean().item(), abs=1e-6)
    weighted = (iou * counts).sum() / counts.sum()
    assert confusion.wiou() == pytest.approx(weighted.item(), abs=1e-6)
    recall = multiclass_recall(*pair, **options)
    assert confusion.mean_accuracy() == pytest.approx(recall.mean().item(), abs=1e-6)


def test_merged_confusions_are_those_of_all_frames():
    parts, whole = [ConfusionMatrix(3), ConfusionMatrix(3)], ConfusionMatrix(3)
    rng = np.random.default_rng(0)
    for part in parts:
        prediction, label = rng.integers(0, 4, (2, 5, 6))  # 3 is no class
        part.update(prediction, label)
        whole.update(prediction, label)
    parts[0].merge(parts[1])
    assert parts[0].counts.tolist() == whole.counts.tolist()
    assert parts[0].union_pixels().tolist() == whole.union_pixels().tolist()


@pytest.mark.parametrize('form', ['official', 'paper'])
def test_merged_consistency_is_that_of_all_clips(form):
    parts, whole = [VideoConsistency(2, form) for _ in range(2)], VideoConsistency(2, form)
    rng = np.random.default_rng(0)
    for part, length in zip(parts, (4, 7), strict=True):
        predictions, labels = rng.integers(0, 2, (2, length, 5, 6))
        add_clip(part, predictions, labels)
        add_clip(whole, predictions, labels)
    parts[0].merge(parts[1])
    assert parts[0].value() == whole.value()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((1,), '`window` must be at least 2, got 1'),
        ((8, 'papr'), "`form` must be 'official' or 'paper', got 'papr'"),
    ],
)
def test_other_windows_and_forms_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        VideoConsistency(*arguments)


def test_only_alike_counts_are_merged():
    with pytest.raises(ValueError, match=r"form \(8, 'official'\), got \(8, 'paper'"):
        VideoConsistency(8).merge(VideoConsistency(8, 'paper'))
    with pytest.raises(ValueError, match='must have 3 classes, got 1'):
        ConfusionMatrix(3).merge(ConfusionMatrix(1))
