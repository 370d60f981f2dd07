"""Curves of a training: which events count, what is written and how large it is."""

from __future__ import annotations

import csv
from pathlib import Path

from command import dcfm
import cv2
from lightning.pytorch.loggers import TensorBoardLogger
import numpy as np
import pytest

from dcfm_ros.training.plots.curves import curve_rows, draw_curves, read_curves
from dcfm_ros.training.plots.figures import make_figures


def log(folder: Path, metrics: dict[int, dict[str, float]]) -> Path:
    """What a training of these metrics, by step, leaves in its folder; returns the event file."""
    logger = TensorBoardLogger(folder, 'log')
    logger.log_hyperparams({})  # as Lightning does; writes hp_metric at step 0
    for step, values in metrics.items():
        logger.log_metrics({'epoch': 0.0, **values}, step)
    logger.finalize('success')
    (path,) = Path(logger.log_dir).glob('events.*')
    return path


def losses(*steps: int, value: float = 1.0) -> dict[int, dict[str, float]]:
    return {step: {'loss': value} for step in steps}


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """Two versions: the first was killed after step 29, and resumed from step 15."""
    first = losses(9, 19, 29, value=3.0) | {14: {'val_miou_key': 0.5, 'val_miou': 0.25}}
    first[27] = {'val_miou_key': 0.9, 'val_miou': 0.9}
    second = losses(19, 39, value=2.0) | {34: {'val_miou_key': 0.75, 'val_miou': 0.5}}
    second[39] |= {'lr': 0.0012345678, 'train/agreement': 0.875}
    log(tmp_path / 'run', dict(sorted(first.items())))
    log(tmp_path / 'run', dict(sorted(second.items())))
    return tmp_path / 'run'


def test_resumed_training_is_one_curve(training: Path) -> None:
    curves = read_curves(training)
    assert list(curves) == [9, 14, 19, 34, 39]
    assert [row['loss'] for row in curves.values() if 'loss' in row] == [3.0, 2.0, 2.0]
    assert curves[14] == {'val_miou_key': 0.5, 'val_miou': 0.25}


def test_version_without_values_cuts_nothing(training: Path) -> None:
    before = read_curves(training)
    log(training, {})
    assert read_curves(training) == before


def test_training_that_was_begun_again_replaces_the_old_one(training: Path) -> None:
    log(training, losses(5))
    assert read_curves(training) == losses(5)


def test_files_of_one_second_are_read_in_the_order_of_their_writers(tmp_path: Path) -> None:
    for number, steps in ((9, (5, 9)), (10, (5,))):
        path = log(tmp_path, losses(*steps))
        path.rename(path.with_name(f'events.out.tfevents.1795985000.host.77.{number}'))
    assert read_curves(tmp_path) == losses(5)


@pytest.mark.parametrize('place', ['.', 'log', 'log/version_0'])
def test_events_are_found_from_any_folder_above(tmp_path: Path, place: str) -> None:
    log(tmp_path, losses(1, 2))
    assert read_curves(tmp_path / place) == losses(1, 2)


def test_file_that_was_cut_off_is_read_up_to_there(tmp_path: Path) -> None:
    path = log(tmp_path, losses(*range(100)))
    path.write_bytes(path.read_bytes()[:-70])
    steps = list(read_curves(tmp_path))
    assert steps == list(range(len(steps)))
    assert 95 <= len(steps) < 100


def test_folder_without_events_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf'events in log/version_\* .*, got {tmp_path}$'):
        read_curves(tmp_path)


def test_csv_has_a_row_per_step_and_known_columns_first(training: Path) -> None:
    output = training / 'figures'
    run = dcfm('figures', '--figures', 'curves', '--training', training, '--output', output)
    assert run.returncode == 0, run.stderr
    with (output / 'figure_curves.csv').open(newline='') as file:
        rows = list(csv.reader(file))
    columns = ['step', 'loss', 'val_miou_key', 'val_miou', 'lr', 'train/agreement']
    assert rows[0] == columns
    assert rows[1:3] == [['9', '3', '', '', '', ''], ['14', '', '0.5', '0.25', '', '']]
    assert rows[-1] == ['39', '2', '', '', '0.00123457', '0.875']


def test_best_validation_is_reported(training: Path) -> None:
    (outcome,) = make_figures(training, ['curves'], training=training)
    # Not the .9 of step 27, which was lost.
    assert outcome.numbers == {'best val_miou': 0.5, 'at step': 34}


def test_lines_have_their_values_and_few_points() -> None:
    curves = {step: {'loss': float(step % 2), 'val_miou_key': 0.5} for step in range(3000)}
    left, right = draw_curves(curves).axes
    (loss,), (miou,) = left.lines, right.lines
    np.testing.assert_allclose(loss.get_ydata(), 0.5)
    np.testing.assert_allclose(loss.get_xdata()[:2], [9.5, 29.5])
    np.testing.assert_allclose(miou.get_ydata(), 50)
    few = draw_curves(losses(3, 8, value=2.0)).axes[0].lines[0]
    assert few.get_xydata().tolist() == [[3, 2], [8, 2]]


def test_events_of_something_else_are_refused() -> None:
    with pytest.raises(ValueError, match='must hold loss, mIoU or learning rate, got speed'):
        draw_curves({1: {'speed': 2.0}})


def test_picture_of_a_long_noisy_training_is_small(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    names = ('loss', 'train/keyframe', 'train/nonkey', 'lr', 'decoder_lr')
    metrics = {step: dict(zip(names, random.random(5), strict=True)) for step in range(2000)}
    for step in range(0, 2000, 5):
        metrics[step] |= {'val_miou_key': random.random(), 'val_miou_nonkey': random.random()}
    log(tmp_path, metrics)
    (outcome,) = make_figures(tmp_path, ['curves'], training=tmp_path)
    picture = outcome.files[-1]
    assert picture.stat().st_size <= 100_000
    assert cv2.imread(str(picture)).shape == (360, 1305, 3)
    assert len(curve_rows(read_curves(tmp_path))) == 2000
