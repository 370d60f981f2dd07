"""The paper's figures by their numbers: what is plotted, what is claimed, what is left out."""

from __future__ import annotations

import csv
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
from dcfm_ros.models.checkpoint import find_checkpoint, save_checkpoint
from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.training.evaluation.clip_choice import ClipChoice
from dcfm_ros.training.footage.clips import Clip, Frame
from dcfm_ros.training.footage.label_sets import CAMVID
from dcfm_ros.training.plots.features import FeatureExtractor, Sample, sample_vectors
from dcfm_ros.training.plots.figures import FIGURES, make_figures, parse_figures
from dcfm_ros.training.plots.points import cityscapes_points, vspw_points
from dcfm_ros.training.plots.request import FigureRequest, checkpoint_pair
from dcfm_ros.training.plots.rows import mean_frame_ms, read_evaluation, short_names
from dcfm_ros.training.plots.schedules import gain_over_fixed, group_curves
from dcfm_ros.training.plots.similarity import neighbour_similarity
from dcfm_ros.training.plots.strips import Strip, figure_10_rows
from dcfm_ros.training.plots.tradeoff import draw_figure_1, draw_figure_6a, draw_figure_6b
from dcfm_ros.training.plots.tsne import dispersion
from dcfm_ros.training.studies.published import published

NAMES = ('1', '6a', '6b', '7', '8', '9', '10', 'curves')


def camvid_in(root):
    return ClipChoice(dataset='camvid', root=root)


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


def save_net(path, seed, **training):
    torch.manual_seed(seed)
    net = DCFM(DCFMConfig(backbone='mit_b0', num_classes=11, fuse_channels=16)).eval()
    save_checkpoint(path, net, training)
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
            told = [float(row[key]) for key in ('fps', 'miou', 'mvc8', 'params_m')]
            assert told == [wanted.fps, wanted.miou, wanted.mvc8, wanted.params_m]
    for row, wanted in zip(
        read_csv(without_inputs / 'figure_6b.csv'), published('table3_cityscapes'), strict=True
    ):
        assert (float(row['fps']), float(row['miou'])) == (wanted.fps, wanted.miou)


def test_points_lie_where_their_numbers_are() -> None:
    points = vspw_points()
    axes = draw_figure_1(points).axes[0]
    drawn = {tuple(c.get_offsets()[0]) for c in axes.collections if len(c.get_offsets())}
    assert drawn == {(point.fps, 100 * point.miou) for point in points}


@pytest.mark.parametrize(
    ('draw', 'points'),
    [
        (draw_figure_1, vspw_points),
        (draw_figure_6a, vspw_points),
        (draw_figure_6b, cityscapes_points),
    ],
)
def test_no_label_covers_another(draw, points) -> None:
    figure = draw(points())
    figure.draw_without_rendering()
    labels = {t.get_text(): Text.get_window_extent(t) for t in figure.axes[0].texts}
    assert len(labels) == len(points())
    boxes = {name: box.padded(-1) for name, box in labels.items()}
    assert not [pair for pair in combinations(boxes, 2) if boxes[pair[0]].overlaps(boxes[pair[1]])]


def test_own_evaluations_of_the_dataset_lie_over_the_published(tmp_path: Path) -> None:
    rows = [fixed(2, 0.5, mvc8=0.9), fixed(1, 0.5, ms_key=None)]
    vspw = write_evaluation(tmp_path / 'vspw.json', rows, 'vspw')
    other = write_evaluation(tmp_path / 'camvid.json', [fixed(2, 0.7, mvc8=0.9)])
    request = FigureRequest(output=tmp_path, figures=('1',), evaluations=(vspw, other))
    (outcome,) = make_figures(request)
    own = [r for r in read_csv(tmp_path / 'figure_1.csv') if r['kind'] == 'own evaluation']
    assert [(row['method'], row['miou']) for row in own] == [('small K=2', '0.5')]
    assert float(own[0]['fps']) == pytest.approx(1000 / 35)
    assert outcome.note.startswith('2 of 3 evaluated rows are not shown')


def test_figure_without_its_inputs_is_left_out_with_the_reason(without_inputs: Path) -> None:
    told = json.loads((without_inputs / 'figures.json').read_text())['figures']
    status = {entry['figure']: entry['status'] for entry in told}
    assert tuple(status) == NAMES == tuple(FIGURES)
    made = [name for name in NAMES if status[name] == 'made']
    assert made == ['1', '6a', '6b']
    assert [path.stem for path in sorted(without_inputs.glob('*.png'))] == [
        f'figure_{name}' for name in made
    ]
    reasons = {e['figure']: e['note'] for e in told if e['status'] == 'left out'}
    assert set(reasons) == {'7', '8', '9', '10', 'curves'}
    assert reasons['curves'] == 'it needs --training'
    for name in ('7', '8'):
        assert '--root' in reasons[name] and '--without-consistency' in reasons[name]
    assert '--evaluation' in reasons['9']
    assert '--root' in reasons['10'] and '--without-consistency' not in reasons['10']


def test_figure_that_is_there_is_kept_unless_told(tmp_path: Path) -> None:
    request = {'output': tmp_path, 'figures': ('6b',)}
    (tmp_path / 'figure_6b.png').write_text('old')
    assert [o.status for o in make_figures(FigureRequest(**request))] == ['kept']
    assert (tmp_path / 'figure_6b.png').read_text() == 'old'
    (outcome,) = make_figures(FigureRequest(**request, overwrite=True, svg=True))
    assert outcome.status == 'made'
    assert [path.suffix for path in outcome.files] == ['.csv', '.svg', '.png']
    assert (tmp_path / 'figure_6b.svg').read_text().startswith('<?xml')
    assert cv2.imread(str(tmp_path / 'figure_6b.png')).shape == (810, 1260, 3)  # 150 dpi


def test_one_figure_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    request = FigureRequest(
        output=tmp_path, figures=('10', '1'), data=camvid_in(tmp_path / 'nowhere')
    )
    ten, one = make_figures(request)
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
    request = FigureRequest(output=tmp_path, figures=('9',), evaluations=(path,))
    (outcome,) = make_figures(request)
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
        assert {row.key_ms for curve in curves.values() for row in curve} == {key_ms}


def test_short_names_are_as_long_as_needed() -> None:
    paths = ['a/x/best.safetensors', 'b/x/best.safetensors']
    assert list(short_names(paths).values()) == ['a/x/best', 'b/x/best']
    assert list(short_names([*paths[:1], 'b/y.safetensors']).values()) == ['best', 'y']
    assert list(short_names(['y.pth', 'y.safetensors']).values()) == ['y.pth', 'y.safetensors']


def test_similarity_with_the_neighbours_of_a_hand_made_feature() -> None:
    feature = np.zeros((2, 3, 3), np.float32)
    feature[0] = 5.0  # the length of a vector does not matter
    feature[:, 0, 0] = (0.0, 2.0)
    expected = np.ones((3, 3))
    expected[0, 0] = 0.0
    expected[0, 1] = expected[1, 0] = 4 / 5
    expected[1, 1] = 7 / 8
    np.testing.assert_allclose(neighbour_similarity(feature), expected, atol=1e-12)


def test_similarity_counts_only_neighbours_that_there_are() -> None:
    feature = np.array([[[1.0, 1.0, -1.0]]], np.float32)
    np.testing.assert_allclose(neighbour_similarity(feature), [[1.0, 0.0, -1.0]])


def test_dispersion_of_a_known_cloud() -> None:
    vectors = np.array([[1, 0], [-1, 0], [10, 3], [10, -3], [0, 24]], np.float32)
    two = dispersion(Sample(vectors[:4], np.array([4, 4, 7, 7])))
    assert (two.within, two.between, two.ratio) == pytest.approx((2.0, 10.0, 0.2))
    three = dispersion(Sample(vectors, np.array([4, 4, 7, 7, 9])))
    assert (three.within, three.between) == pytest.approx((4 / 3, (10 + 24 + 26) / 3))


class ColourFeatures:
    """In place of a network: the red channel of every second pixel, and what it was asked for."""

    def __init__(self) -> None:
        self.keyframes: list[int | None] = []

    def fused(self, image, keyframe=None):
        self.keyframes.append(None if keyframe is None else int(keyframe[0, 0, 2]))
        return image[1::2, 1::2, :1].transpose(2, 0, 1).astype(np.float32)


def colour_clip(folder):
    """Red says the class of the pixel, blue the number of the frame; every second is labelled."""
    frames = []
    for index in range(6):
        label = np.full((8, 12), 3, np.uint8)
        label[:, :4], label[0] = 8, 255
        image = np.zeros((8, 12, 3), np.uint8)
        image[..., 2], image[..., 0] = label, index  # OpenCV writes BGR
        cv2.imwrite(str(folder / f'{index}.png'), image)
        label[label == 255] = 11  # CamVid's void
        cv2.imwrite(str(folder / f'{index}_label.png'), label)
        path = folder / f'{index}_label.png' if index % 2 else None
        frames.append(Frame(folder / f'{index}.png', path))
    return Clip('drive', tuple(frames), 15.0, CAMVID)


def test_vectors_carry_the_class_of_their_pixel(tmp_path: Path) -> None:
    clips = [colour_clip(tmp_path)]
    sample = sample_vectors(ColourFeatures(), clips, per_class=20, interval=2)
    np.testing.assert_array_equal(sample.vectors[:, 0], sample.classes)
    # Class 8 has 4 x 2 cells in each of 3 frames, class 3 has 4 x 4: more than asked for.
    assert [(sample.classes == i).sum() for i in (3, 8)] == [20, 20]
    every = sample_vectors(ColourFeatures(), clips, per_class=1000, interval=2)
    assert [(every.classes == i).sum() for i in (3, 8)] == [48, 24]


def test_vectors_come_from_every_frame_and_the_same_for_a_seed(tmp_path: Path) -> None:
    class FrameFeatures(ColourFeatures):
        def fused(self, image, keyframe=None):
            return image[1::2, 1::2, 2:].transpose(2, 0, 1).astype(np.float32)

    clips = [colour_clip(tmp_path)]
    draws = [
        sample_vectors(FrameFeatures(), clips, per_class=20, interval=1, seed=seed).vectors
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    assert set(draws[0].ravel()) == {1, 3, 5}


def test_labelled_frames_use_the_keyframe_before_them(tmp_path: Path) -> None:
    for interval, expected in ((1, [None, None, None]), (3, [0, None, 3]), (4, [0, 0, 4])):
        extractor = ColourFeatures()
        sample_vectors(extractor, [colour_clip(tmp_path)], per_class=5, interval=interval)
        assert extractor.keyframes == expected


def test_fused_feature_is_that_of_the_network_at_its_trained_height(tmp_path: Path) -> None:
    path = save_net(tmp_path / 'net.safetensors', 0, image_height=32)
    extractor = FeatureExtractor(path, 'cpu')
    image, keyframe = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), np.uint8)
    found = extractor.fused(image, keyframe)

    def encode(rgb):
        small = cv2.resize(rgb, (48, 32), interpolation=cv2.INTER_AREA)
        tensor = torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255
        return extractor.net.encode_independent(tensor)

    with torch.no_grad():
        common = extractor.net.encode_common(encode(keyframe))
        expected = extractor.net.fuse(common, encode(image))[0]
    assert found.shape == (16, 8, 12)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)
    assert not np.allclose(found, extractor.fused(image), atol=1e-3)


def test_strip_is_measured_against_its_labels() -> None:
    label = np.array([[3, 3, 8, 255]], np.uint8)
    wrong = np.array([[3, 8, 8, 0]], np.uint8)
    strip = Strip('net', [label, wrong, wrong], [0, 1, 2])
    rows = figure_10_rows([label, label, None], [strip], 11)
    assert [row['keyframe_age'] for row in rows] == [0, 1, 2]
    assert [row['miou'] for row in rows] == [pytest.approx(1.0), pytest.approx(0.5), None]
    assert [row['pixel_accuracy'] for row in rows] == [1.0, pytest.approx(2 / 3), None]


@pytest.mark.slow
def test_figures_of_networks_and_their_claims(tmp_path: Path, data) -> None:
    root, first, second = data
    request = FigureRequest(
        output=tmp_path, figures=('7', '8', '10'), checkpoint=first, without_consistency=second,
        compare=(second,), data=camvid_in(root), frames=3, start=1, interval=2, per_class=20,
        device='cpu',
    )  # fmt: skip
    seven, eight, ten = make_figures(request)
    assert [o.status for o in (seven, eight, ten)] == ['made'] * 3, (seven, eight, ten)

    maps = read_csv(tmp_path / 'figure_7.csv')
    for name in ('with L_con', 'without L_con'):
        told = [float(row['mean_similarity']) for row in maps if row['network'] == name]
        assert len(told) == 3
        assert seven.numbers[f'similarity {name}'] == pytest.approx(np.mean(told))

    points = read_csv(tmp_path / 'figure_8.csv')
    for name in ('with L_con', 'without L_con'):
        within = [
            [float(p['distance_to_centre']) for p in points if (p['network'], p['class']) == key]
            for key in ((name, 'road'), (name, 'car'))
        ]
        assert [len(distances) for distances in within] == [20, 20]
        assert eight.numbers[f'within {name}'] == pytest.approx(np.mean(within))

    strips = read_csv(tmp_path / 'figure_10.csv')
    ages = {}
    for row in strips:
        ages.setdefault(row['network'].replace('\n', ' '), []).append(row['keyframe_age'])
    per_frame = ['0', '0', '0']
    expected = {'b per frame': per_frame, 'DCFM per frame': per_frame, 'DCFM K=2': ['0', '1', '0']}
    assert ages == expected
    assert [row['frame'] for row in strips[:3]] == ['1', '2', '3']
    assert maps[0]['frame'] == 'frame 1, keyframe'


def test_clip_must_be_there_and_long_enough(tmp_path: Path, data) -> None:
    root, first, _ = data
    common = {'output': tmp_path, 'figures': ('10',), 'data': camvid_in(root), 'checkpoint': first}
    (outcome,) = make_figures(FigureRequest(**common, clip='other'))
    assert outcome.status == 'failed' and "got 'other'" in outcome.note
    (outcome,) = make_figures(FigureRequest(**common, start=3, frames=4))
    assert outcome.status == 'failed' and 'at most 6 here, got 7' in outcome.note


def test_packaged_networks_are_known_by_name(tmp_path: Path, data) -> None:
    request = FigureRequest(output=tmp_path, without_consistency=Path('default'))
    assert set(checkpoint_pair(request).values()) == {find_checkpoint('default')}
    request = FigureRequest(
        output=tmp_path, figures=('10',), data=camvid_in(data[0]), compare=('best',)
    )
    (outcome,) = make_figures(request)
    assert 'no such checkpoint file: best; packaged are' in outcome.note


def test_network_of_other_classes_is_refused(tmp_path: Path, data) -> None:
    net = DCFM(DCFMConfig(backbone='mit_b0', num_classes=5, fuse_channels=16))
    save_checkpoint(tmp_path / 'five.safetensors', net)
    request = FigureRequest(
        output=tmp_path,
        figures=('10',),
        data=camvid_in(data[0]),
        checkpoint=tmp_path / 'five.safetensors',
    )
    (outcome,) = make_figures(request)
    assert 'five.safetensors must have the 11 classes of CamVid, got 5' in outcome.note


def test_command_fails_if_a_figure_that_it_names_is_missing(without_inputs: Path) -> None:
    command = ['figures', '--output', str(without_inputs), '--figures', '6,9']
    result = CliRunner().invoke(cli.app, command)
    assert isinstance(result.exception, RuntimeError)
    assert 'not made: figure 9;' in str(result.exception)
