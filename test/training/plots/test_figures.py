"""The paper's figures by their numbers: what is plotted, what is claimed, what is left out."""

from __future__ import annotations

import csv
from dataclasses import replace
from itertools import combinations
import json
from pathlib import Path

import cv2
from matplotlib.text import Text
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from dcfm_ros.cli import main as cli
from dcfm_ros.models.checkpoint import save_checkpoint
from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.training.evaluation.clip_choice import ClipChoice
from dcfm_ros.training.plots.evaluations import mean_frame_ms, read_evaluation, short_names
from dcfm_ros.training.plots.figures import FIGURES, make_figures, parse_figures
from dcfm_ros.training.plots.schedules import gain_over_fixed, group_curves
from dcfm_ros.training.plots.strips import Excerpt, Strip, figure_10, strip_rows
from dcfm_ros.training.plots.tradeoff import figure_1, figure_6a, figure_6b
from dcfm_ros.training.studies.published import published

NAMES = ('1', '6a', '6b', '9', '10', 'curves')


def excerpt_of(root, **changes):
    values = {'clip': '', 'start': 0, 'frames': 6, 'interval': 2, 'device': 'cpu'}
    values |= {'checkpoint': None, 'compare': ()} | changes
    return Excerpt(data=ClipChoice(dataset='camvid', root=root), **values)


def fixed(interval, miou, **values):
    row = {'schedule': 'fixed', 'mode': 'past', 'interval': interval, 'miou': miou}
    return row | {'average_interval': interval, 'ms_key': 60.0, 'ms_nonkey': 10.0} | values


def adaptive(threshold, average, miou, min_interval=1, **values):
    row = {'schedule': 'adaptive', 'mode': 'past', 'interval': None, 'threshold': threshold}
    row |= {'min_interval': min_interval, 'miou': miou, 'average_interval': average}
    return row | {'ms_key': 60.0, 'ms_nonkey': 10.0} | values


def write_evaluation(path, rows, dataset='camvid'):
    content = {'dataset': dataset, 'split': 'val', 'checkpoint': 'small.safetensors'}
    path.write_text(json.dumps(content | {'rows': rows}))
    return path


def read_csv(path):
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def save_net(path, seed):
    torch.manual_seed(seed)
    net = DCFM(DCFMConfig(backbone='mit_b0', num_classes=11, fuse_channels=16)).eval()
    save_checkpoint(path, net)
    return path


@pytest.fixture(scope='module')
def without_inputs(tmp_path_factory):
    """What the command makes of nothing, with figures.json; that it succeeds, too."""
    folder = tmp_path_factory.mktemp('figures')
    command = ['figures', '--output', str(folder), '--json', str(folder / 'figures.json')]
    result = CliRunner().invoke(cli.app, command)
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """A drive of six frames in CamVid's layout, two classes, and two networks."""
    root = tmp_path_factory.mktemp('camvid')
    random = np.random.default_rng(0)
    for folder in ('val', 'valannot'):
        (root / folder).mkdir()
    for index in range(6):
        image = random.integers(0, 256, (64, 96, 3), np.uint8)
        label = np.full((64, 96), 3, np.uint8)
        label[:, 16 + 4 * index :] = 8
        name = f'0016E5_{2 * index:05}'
        cv2.imwrite(str(root / 'val' / f'{name}.jpg'), image)
        cv2.imwrite(str(root / 'valannot' / f'{name}.png'), label)
    return root, save_net(root / 'a.safetensors', 0), save_net(root / 'b.safetensors', 1)


def test_mean_time_is_the_papers_formula() -> None:
    assert mean_frame_ms(60.0, 10.0, 1) == 60.0
    assert mean_frame_ms(60.0, 10.0, 2) == 35.0
    assert mean_frame_ms(60.0, 10.0, 2.5) == pytest.approx(30.0)


def test_figures_1_and_6_plot_the_published_numbers(without_inputs: Path) -> None:
    for name in ('1', '6a'):
        for row, wanted in zip(
            read_csv(without_inputs / f'figure_{name}.csv'), published('table2_vspw'), strict=True
        ):
            assert (row['method'], row['backbone']) == (wanted.method, wanted.backbone)
            plotted = [float(row[key]) for key in ('fps', 'miou', 'mvc8', 'params_m')]
            assert plotted == [wanted.fps, wanted.miou, wanted.mvc8, wanted.params_m]
    for row, wanted in zip(
        read_csv(without_inputs / 'figure_6b.csv'), published('table3_cityscapes'), strict=True
    ):
        assert (float(row['fps']), float(row['miou'])) == (wanted.fps, wanted.miou)


def test_points_lie_where_their_numbers_are() -> None:
    drawing = figure_1([])
    axes = drawing.figure.axes[0]
    drawn = {tuple(c.get_offsets()[0]) for c in axes.collections if len(c.get_offsets())}
    assert drawn == {(row['fps'], 100 * row['miou']) for row in drawing.rows}


@pytest.mark.parametrize('draw', [figure_1, figure_6a, figure_6b])
def test_no_label_covers_another(draw) -> None:
    drawing = draw([])
    drawing.figure.draw_without_rendering()
    texts = [text for text in drawing.figure.axes[0].texts if text.get_text()]  # not arrows
    labels = {text.get_text(): Text.get_window_extent(text) for text in texts}
    assert len(labels) == len(drawing.rows)
    boxes = {name: box.padded(-1) for name, box in labels.items()}
    assert not [pair for pair in combinations(boxes, 2) if boxes[pair[0]].overlaps(boxes[pair[1]])]


def test_own_evaluations_of_the_dataset_lie_over_the_published(tmp_path: Path) -> None:
    rows = [fixed(2, 0.5, mvc8=0.9), fixed(1, 0.5, ms_key=None)]
    vspw = write_evaluation(tmp_path / 'vspw.json', rows, 'vspw')
    other = write_evaluation(tmp_path / 'camvid.json', [fixed(2, 0.7, mvc8=0.9)])
    (outcome,) = make_figures(tmp_path, ['1'], evaluations=(vspw, other))
    own = [r for r in read_csv(tmp_path / 'figure_1.csv') if r['kind'] == 'own evaluation']
    assert [(row['method'], row['miou']) for row in own] == [('small K=2', '0.5')]
    assert float(own[0]['fps']) == pytest.approx(1000 / 35)
    assert outcome.note.startswith('2 of 3 evaluated rows are not shown')


def test_figure_without_its_inputs_is_left_out_with_the_reason(without_inputs: Path) -> None:
    entries = json.loads((without_inputs / 'figures.json').read_text())['figures']
    status = {entry['figure']: entry['status'] for entry in entries}
    assert tuple(status) == NAMES == tuple(FIGURES)
    made = [name for name in NAMES if status[name] == 'made']
    assert made == ['1', '6a', '6b']
    assert [path.stem for path in sorted(without_inputs.glob('*.png'))] == [
        f'figure_{name}' for name in made
    ]
    reasons = {e['figure']: e['note'] for e in entries if e['status'] == 'left out'}
    assert set(reasons) == {'9', '10', 'curves'}
    assert reasons['curves'] == 'it needs --training'
    assert reasons['10'] == 'it needs --root'
    assert '--evaluation' in reasons['9']


def test_files_of_a_figure_replace_the_old_ones(tmp_path: Path) -> None:
    (tmp_path / 'figure_6b.png').write_text('old')
    (outcome,) = make_figures(tmp_path, ['6b'], svg=True)
    assert outcome.status == 'made'
    assert [path.suffix for path in outcome.files] == ['.csv', '.svg', '.png']
    assert sorted(outcome.files) == sorted(tmp_path.iterdir())
    assert (tmp_path / 'figure_6b.svg').read_text().startswith('<?xml')
    assert cv2.imread(str(tmp_path / 'figure_6b.png')).shape == (810, 1260, 3)  # 150 dpi


def test_one_figure_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    ten, one = make_figures(tmp_path, ['10', '1'], excerpt=excerpt_of(tmp_path / 'nowhere'))
    assert (ten.status, one.status) == ('failed', 'made')
    assert 'nowhere' in ten.note


def test_names_of_figures() -> None:
    assert parse_figures('all') == NAMES
    assert parse_figures('9, 6,6a') == ('9', '6a', '6b')
    with pytest.raises(ValueError, match=r'must be some of all, 1.*got 2, x'):
        parse_figures('1,2,x')


def test_evaluation_of_another_form_is_refused_with_every_problem(tmp_path: Path) -> None:
    rows = [fixed(2, None), adaptive(0.1, 2.0, 0.5, average_interval=None), {'schedule': 'some'}]
    path = write_evaluation(tmp_path / 'e.json', rows)
    with pytest.raises(ValueError, match=r'row 0: `miou`(.|\n)*row 1(.|\n)*row 2: `schedule`'):
        read_evaluation(path)
    path.write_text('{')
    with pytest.raises(ValueError, match='not JSON'):
        read_evaluation(path)


def test_interval_that_counts_is_the_one_that_was_run(tmp_path: Path) -> None:
    rows = [
        fixed(4, 0.5, average_interval=3.75), fixed(1, 0.6, schedule='per_frame', ms_nonkey=None),
        adaptive(0.2, 2.5, 0.55), {'schedule': 'hold', 'miou': 0.4},
        fixed(4, 0.45, execution='amortised'),
    ]  # fmt: skip
    found = read_evaluation(write_evaluation(tmp_path / 'e.json', rows))
    assert [row.average_interval for row in found] == [3.75, 1, 2.5]
    assert [row.schedule_name for row in found] == ['K=4', 'per frame', 'AKS 0.2']
    fps = [1000 / ms for ms in ((60 + 2.75 * 10) / 3.75, 60.0, 30.0)]
    assert [row.fps for row in found] == pytest.approx(fps)


def test_figure_9_compares_at_equal_average_interval(tmp_path: Path) -> None:
    rows = [fixed(k, 0.6 - 0.02 * k) for k in (3, 1, 2)]
    rows[2]['ms_key'] = 600.0
    rows += [adaptive(0.3, 2.5, 0.56), adaptive(0.1, 1.5, 0.58), adaptive(0.9, 9.0, 0.3)]
    rows += [adaptive(0.2, 2.0, 0.55, min_interval=2)]
    path = write_evaluation(tmp_path / 'e.json', rows)
    (curves,) = group_curves(read_evaluation(path)).values()
    assert list(curves) == ['fixed K', 'AKS, MinK 1', 'AKS, MinK 2']
    assert [row.interval for row in curves['fixed K']] == [1, 2, 3]
    # Fixed, between its intervals: 0.55 at 2.5 and 0.57 at 1.5; 9.0 is beyond it.
    assert gain_over_fixed(curves['AKS, MinK 1'], curves['fixed K']) == pytest.approx(0.01)
    assert gain_over_fixed(curves['AKS, MinK 2'], curves['fixed K']) == pytest.approx(-0.01)
    # One network: a busy moment (600 ms at K=2) does not bend the curves over speed.
    assert [row.fps for row in curves['fixed K']] == pytest.approx([1000 / 60, 1000 / 35, 37.5])
    (outcome,) = make_figures(tmp_path, ['9'], evaluations=[path])
    assert list(outcome.numbers.values()) == pytest.approx([0.01, -0.01])
    plotted = [(row['threshold'], row['miou']) for row in read_csv(tmp_path / 'figure_9.csv')]
    assert plotted[3:6] == [('0.1', '0.58'), ('0.3', '0.56'), ('0.9', '0.3')]


def test_figure_9_keeps_networks_and_caps_apart(tmp_path: Path) -> None:
    rows = [
        row | {'checkpoint': f'out/{name}/best.safetensors', 'ms_key': key_ms}
        for name, key_ms, miou in (('small', 60.0, 0.5), ('large', 300.0, 0.6))
        for row in (
            fixed(1, miou), fixed(2, miou), adaptive(0.3, 1.5, miou + 0.02),
            adaptive(0.3, 1.5, miou, max_interval=8, ms_key=900.0),
        )
    ]  # fmt: skip
    groups = group_curves(read_evaluation(write_evaluation(tmp_path / 'e.json', rows)))
    assert list(groups) == [
        f'{name}/best, camvid val, past keyframe' for name in ('small', 'large')
    ]
    for curves, key_ms in zip(groups.values(), (60.0, 300.0), strict=True):
        assert list(curves) == ['fixed K', 'AKS, MinK 1', 'AKS, MinK 1, MaxK 8']
        assert gain_over_fixed(curves['AKS, MinK 1'], curves['fixed K']) == pytest.approx(0.02)
        assert {row.ms_key for curve in curves.values() for row in curve} == {key_ms}


def test_short_names_are_as_long_as_needed() -> None:
    paths = ['a/x/best.safetensors', 'b/x/best.safetensors']
    assert list(short_names(paths).values()) == ['a/x/best', 'b/x/best']
    assert list(short_names([*paths[:1], 'b/y.safetensors']).values()) == ['best', 'y']
    assert list(short_names(['y.pth', 'y.safetensors']).values()) == ['y.pth', 'y.safetensors']


def test_strip_is_measured_against_its_labels() -> None:
    label = np.array([[3, 3, 8, 255]], np.uint8)
    wrong = np.array([[3, 8, 8, 0]], np.uint8)
    strip = Strip('net', [label, wrong, wrong], [0, 1, 2])
    rows = list(strip_rows([label, label, None], [strip], 11, 5))
    assert [row['frame'] for row in rows] == [5, 6, 7]
    assert [row['keyframe_age'] for row in rows] == [0, 1, 2]
    assert [row['miou'] for row in rows] == [pytest.approx(1.0), pytest.approx(0.5), None]
    assert [row['pixel_accuracy'] for row in rows] == [1.0, pytest.approx(2 / 3), None]


def test_strip_counts_no_sets_of_classes() -> None:
    label = np.array([[3, 8, 12, 255]], np.uint8)  # 12 is a set
    strip = Strip('net', [np.array([[3, 3, 8, 8]], np.uint8)] * 2, [0, 1])
    first, second = strip_rows([label, np.full((1, 4), 12, np.uint8)], [strip], 11, 0)
    assert first['pixel_accuracy'] == 0.5
    assert (second['miou'], second['pixel_accuracy']) == (None, None)


def test_figure_of_stills_whose_labels_are_sets(tmp_path: Path, data) -> None:
    for kind, pixels in (
        ('val', np.zeros((64, 96, 3), np.uint8)),
        ('valannot', np.full((64, 96), 3, np.uint8)),
    ):
        (tmp_path / kind).mkdir()
        cv2.imwrite(str(tmp_path / kind / '1_1.png'), pixels)
    choice = ClipChoice(dataset='idd_lite', root=tmp_path)
    excerpt = replace(excerpt_of(tmp_path, checkpoint=data[1], frames=1), data=choice)
    drawing = figure_10(excerpt)
    assert not isinstance(drawing, str)
    legend = {
        text.get_text(): patch.get_facecolor()[:3]
        for text, patch in zip(
            drawing.figure.legends[0].get_texts(),
            drawing.figure.legends[0].get_patches(),
            strict=True,
        )
    }
    assert legend['car or bicyclist'] == pytest.approx((32 / 255, 64 / 255, 160 / 255), abs=0.01)


@pytest.mark.slow
def test_figure_of_networks(tmp_path: Path, data) -> None:
    root, first, second = data
    excerpt = excerpt_of(root, checkpoint=first, compare=(second,), frames=3, start=1)
    (outcome,) = make_figures(tmp_path, ['10'], excerpt=excerpt)
    assert outcome.status == 'made', outcome
    strips = read_csv(tmp_path / 'figure_10.csv')
    ages = {}
    for row in strips:
        ages.setdefault(row['network'].replace('\n', ' '), []).append(row['keyframe_age'])
    per_frame = ['0', '0', '0']
    expected = {'b per frame': per_frame, 'DCFM per frame': per_frame, 'DCFM K=2': ['0', '1', '0']}
    assert ages == expected
    assert [row['frame'] for row in strips[:3]] == ['1', '2', '3']


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'clip': 'other'}, "got 'other'"),
        ({'start': 3, 'frames': 4}, 'at most 6 here, got 7'),
        ({'compare': (Path('best'),)}, 'no such checkpoint file: best; packaged are'),
    ],
)
def test_excerpt_that_does_not_exist_is_refused(tmp_path: Path, data, changes, reason) -> None:
    excerpt = excerpt_of(data[0], **{'checkpoint': data[1]} | changes)
    (outcome,) = make_figures(tmp_path, ['10'], excerpt=excerpt)
    assert outcome.status == 'failed' and reason in outcome.note


def test_network_of_other_classes_is_refused(tmp_path: Path, data) -> None:
    net = DCFM(DCFMConfig(backbone='mit_b0', num_classes=5, fuse_channels=16))
    five = tmp_path / 'five.safetensors'
    save_checkpoint(five, net)
    (outcome,) = make_figures(tmp_path, ['10'], excerpt=excerpt_of(data[0], checkpoint=five))
    assert 'five.safetensors must have the 11 classes of CamVid, got 5' in outcome.note


def test_command_fails_if_a_figure_that_it_names_is_missing(without_inputs: Path) -> None:
    command = ['figures', '--output', str(without_inputs), '--figures', '6,9']
    result = CliRunner().invoke(cli.app, command)
    assert isinstance(result.exception, RuntimeError)
    assert 'not made: figure 9;' in str(result.exception)
