"""What `dcfm bench` computes without timing: ratios, bars, tables."""

from __future__ import annotations

import numpy as np
import pytest
from small_net import make_images, make_net, to_tensor
import torch

from dcfm_ros.benchmark.image_baseline import ImageBaseline
from dcfm_ros.benchmark.interleave import Record, Rival
from dcfm_ros.benchmark.memory import growth
from dcfm_ros.benchmark.ratios import BARS, bar_of, ratios_between, ratios_within
from dcfm_ros.benchmark.sections import Section, cell, to_markdown
from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.models.dcfm import DCFM, normalise
from dcfm_ros.training.studies.published import published

EVERY_FRAME = ScheduleOptions(keyframe_interval=1)
B2 = {'model': 'vspw_mit_b2', 'title': 'mit_b2', 'num_classes': 124}


def record(what, ms, backend='torch'):
    found = Record(Rival(what=what, run=lambda frame: None, backend=backend))
    found.ms.extend(ms)
    return found


@pytest.mark.parametrize('backbone', ['mit_b2', 'mit_b5'])
def test_published_parameters_are_those_of_the_networks(backbone):
    with torch.device('meta'):  # shapes are enough to count
        net = DCFM(DCFMConfig.preset(f'vspw_{backbone}'))
    millions = sum(weight.numel() for weight in net.parameters()) / 1e6
    name = backbone.replace('mit_b', 'MiT-B')
    rows = {row.method: row for row in published('table2_vspw') if row.backbone == name}
    assert rows['DCFM K=2'].params_m == pytest.approx(millions, abs=0.2)


def test_image_network_runs_in_another_backend():
    pytest.importorskip('openvino')
    net = make_net('mit_b0', num_classes=5)
    (image,) = make_images(1, size=(64, 96))
    results = []
    for backend in ('torch', 'openvino'):
        options = EngineOptions(device='cpu', backend=backend, precision='fp32')
        engine = SegmentationEngine(ImageBaseline(net), options, EVERY_FRAME)
        results.append(engine.step(image, 0))
        assert (engine.backend.name, engine.backend.failure) == (backend, '')
    assert (results[0].mask == results[1].mask).mean() > 0.999


@pytest.mark.parametrize('head', ['linear', 'mlp'])
def test_image_network_is_backbone_and_head_without_fusion(head):
    net = make_net('mit_b0', head=head)
    (image,) = make_images(1, size=(64, 96))
    options = EngineOptions(device='cpu', backend='torch')
    engine = SegmentationEngine(ImageBaseline(net), options, EVERY_FRAME)
    result = engine.step(image, 0)
    with torch.no_grad():
        state = net.encode_independent(to_tensor(image)).state
        expected = net.classify(normalise(net.encoder.deep(state)))
    torch.testing.assert_close(torch.from_numpy(result.logits), expected, rtol=1e-4, atol=1e-5)


def test_ratios_of_frames_are_medians_pair_by_pair():
    ratios = ratios_within([record('paper_key', [2, 9, 100]), record('key', [1, 10, 3])])
    assert ratios['paper_key/key'] == 2.0  # of 2, .9 and 33.3; the medians are 9 and 3
    assert ratios['key ms'] == 3.0


def test_ratios_of_streams_are_of_means():
    ratios = ratios_within([
        record('image_baseline', [10, 10, 40]),
        record('sync_k3', [9, 3, 3]),
    ])  # fmt: skip
    assert ratios['image_baseline/sync_k3'] == pytest.approx(4.0)
    assert ratios['sync_k3 p99/mean'] == pytest.approx(np.percentile([9, 3, 3], 99) / 5)


def test_ratios_of_two_backends():
    torch_rows = [record('key', [2, 9, 100]), record('sync_k2', [8, 2])]
    torch_rows.append(record('paper_key', [4, 10, 12]))
    rows = [record('key', [1, 10, 3], 'openvino'), record('sync_k2', [1, 4], 'openvino')]
    ratios = ratios_between(torch_rows, rows)
    assert ratios == {'key': 2.0, 'sync_k2': 2.0, 'paper_key/key': 4.0}


@pytest.mark.parametrize(
    ('ratio', 'value', 'holds'),
    [
        ('paper_nonkey_both/nonkey_both', 2.0, True),
        ('paper_nonkey_both/nonkey_both', 1.99, False),
        ('image_baseline/sync_k2', 1.5, True),
    ],
)
def test_bar_is_judged(ratio, value, holds):
    bar = bar_of(ratio, B2, '480x853', 'cpu', None)
    assert bar is not None
    assert bar.judge(value)['holds'] is holds


def test_bars_are_for_their_network_size_and_device():
    b5 = {**B2, 'title': 'mit_b5'}
    h200 = ('cuda:0', 'NVIDIA H200')

    def limit(*arguments):
        bar = bar_of(*arguments)
        return None if bar is None else (bar.limit, bar.is_most)

    assert limit('nonkey_past/key', b5, '480x853', 'cpu', None) == (0.1, True)
    assert limit('nonkey_past/key', b5, '480x853', *h200) == (0.04, True)
    assert limit('nonkey_past/key', b5, '360x480', 'cpu', None) is None
    assert limit('nonkey_past/key', B2, '480x853', 'cpu', None) is None
    assert limit('image_baseline/sync_k6', B2, '480x853', *h200) == (4.0, False)
    assert limit('key ms', b5, '480x853', *h200) == (8.0, True)
    assert limit('key ms', b5, '480x853', 'cuda:0', 'NVIDIA T4') is None
    assert limit('key ms', b5, '480x853', 'cpu', 'NVIDIA H200') is None
    default = {'model': 'default', 'title': 'mit_b0', 'num_classes': 11}
    assert limit('torch/openvino sync_k2', default, '360x480', 'cpu', None) == (2.0, False)
    assert limit('torch/openvino sync_k2', B2, '480x853', 'cpu', None) is None


def test_every_bar_is_of_a_ratio_that_exists():
    whats = ('paper_key', 'paper_nonkey_past', 'paper_nonkey_both', 'image_baseline', 'key')
    whats += ('nonkey_past', 'nonkey_both', 'sync_k2', 'sync_k6', 'amortised_k6')
    records = [record(what, [1.0]) for what in whats]
    known = ratios_within(records).keys()
    known |= {f'torch/openvino {what}' for what in ratios_between(records, records)}
    assert {bar.ratio for bar in BARS} <= known


def test_growth_is_from_the_second_fifth_to_the_last():
    assert growth([9, 9, 1, 2, 3, 3, 3, 3, 5, 6]) == 4.0


def test_markdown_has_a_cell_for_every_column():
    text = to_markdown([Section('T', [{'a': 1.23456, 'b': True}, {'a': 123.456}], 'note')])
    assert text == '## T\n\nnote\n\n| a | b |\n| --- | --- |\n| 1.235 | yes |\n| 123.5 | - |\n'
    assert cell([0.5, 'x']) == '0.500, x'
