"""What `dcfm bench` computes without timing: operations, parameters, ratios, bars, tables."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from small_net import make_images, make_net, to_tensor
import torch

from dcfm_ros.benchmark.image_network import ImageNetwork
from dcfm_ros.benchmark.interleave import Record, Rival
from dcfm_ros.benchmark.memory import growth
from dcfm_ros.benchmark.operations import count_engine, count_parameters, count_plain
from dcfm_ros.benchmark.paper_tables import paper_tables
from dcfm_ros.benchmark.ratios import BARS, bar_of, ratios_between, ratios_within
from dcfm_ros.benchmark.sections import Section, cell, to_markdown
from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.keyframes.options import EngineOptions, ScheduleOptions
from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.models.dcfm import DCFM, normalise
from dcfm_ros.training.studies.published import published

EVERY_FRAME = ScheduleOptions(keyframe_interval=1)
B2 = {'model': 'vspw_mit_b2', 'backbone': 'mit_b2', 'num_classes': 124}


def empty_net(preset):
    """Without values, which is quick: shapes are enough to count."""
    with torch.device('meta'):
        net = DCFM(DCFMConfig.preset(preset))
    return net.to_empty(device='cpu').eval()


@cache
def counts_of(preset, size):
    return count_plain(empty_net(preset), size)


def record(what, ms, backend='torch'):
    found = Record(Rival(what=what, run=lambda frame: None, backend=backend))
    found.ms.extend(ms)
    return found


# Specification 5.3: keyframe and B-mode frame at 480x853, 1e9 multiply-adds of convolutions and
# linear maps, measured on the official network.
@pytest.mark.parametrize(
    ('preset', 'size', 'key', 'nonkey'),
    [
        ('vspw_mit_b0', (480, 853), 13.1, 5.6),
        ('vspw_mit_b2', (480, 853), 36.0, 6.9),
        ('camvid_resnet50', (720, 960), 375.5, 104.1),
    ],
)
def test_plain_order_has_the_operations_of_the_official_network(preset, size, key, nonkey):
    counts = counts_of(preset, size)
    assert counts['key'] == pytest.approx(key, abs=0.06)
    assert counts['nonkey_both'] == pytest.approx(nonkey, abs=0.06)


def test_operations_of_the_fusion_are_those_by_hand():
    net = make_net('mit_b0', num_classes=19)
    plain, engine = count_plain(net, (64, 96)), count_engine(net, (64, 96))
    pixels = 16 * 24
    assert plain['fusion'] == pytest.approx(pixels * (256 + 16) * 256 / 1e9)
    assert plain['head'] == pytest.approx(pixels * 256 * 19 / 1e9)
    # The engine has 16 of the 272 channels left to do, and one head for both keyframes.
    decode = pixels * (16 * 256 + 256 * 19) / 1e9
    assert engine['nonkey_past'] == pytest.approx(plain['shallow'] + decode)
    assert engine['nonkey_both'] == pytest.approx(plain['shallow'] + decode)
    assert plain['nonkey_both'] == pytest.approx(
        plain['shallow'] + 2 * (plain['fusion'] + plain['head'])
    )


def test_keyframe_of_the_engine_saves_the_tail_only():
    net = make_net('mit_b0', num_classes=19)
    plain, engine = count_plain(net, (64, 96)), count_engine(net, (64, 96))
    pixels, wide = 16 * 24, 256
    # Merged: no 1x1 convolution of four times 256 channels, but the products of the weights.
    merged = wide * wide * (32 + 64 + 160 + 256)
    saved = (pixels * 4 * wide * wide - merged) / 1e9
    deep_and_shallow = plain['key'] - plain['fusion'] - plain['head']
    expected = deep_and_shallow - saved + plain['head']
    assert engine['image_baseline'] == pytest.approx(expected, rel=1e-6)
    assert engine['key'] == pytest.approx(expected + plain['fusion'], rel=1e-6)


def test_attention_is_told_apart():
    assert count_plain(make_net('timm:mobilenetv4_conv_small'), (64, 64))['attention'] == 0
    # At 64x64 every stage has 4 keys left and two blocks, each of two products.
    queries, channels = (256, 64, 16, 4), (32, 64, 160, 256)
    by_hand = sum(2 * 2 * q * 4 * c for q, c in zip(queries, channels, strict=True))
    assert count_plain(make_net('mit_b0'), (64, 64))['attention'] == pytest.approx(by_hand / 1e9)


def test_parameters_are_counted_by_part():
    net = make_net('mit_b0', num_classes=19)
    counts = count_parameters(net)
    shallow = [
        *net.encoder.patch_embed.parameters(),
        *net.encoder.stages[0].blocks[0].parameters(),
    ]
    assert counts['shallow'] == pytest.approx(sum(w.numel() for w in shallow) / 1e6)
    assert counts['fusion'] == pytest.approx(((256 + 16) * 256 + 256 + 2 * 256) / 1e6)
    assert counts['head'] == pytest.approx(256 * 19 / 1e6)
    parts = sum(counts[part] for part in ('shallow', 'deep', 'fusion', 'head'))
    assert parts == pytest.approx(counts['total'])
    assert counts['image_network'] == pytest.approx(counts['total'] - counts['fusion'])


def printed(backbone):
    """Rows of Table II by method."""
    return {row.method: row for row in published('table2_vspw') if row.backbone == backbone}


@pytest.mark.parametrize('interval', [1, 2, 6])
def test_paper_counts_a_keyframe_twice(interval):
    counts = counts_of('vspw_mit_b2', (480, 853))
    twice = counts['key'] + counts['fusion'] + counts['head']
    mean = (twice + (interval - 1) * counts['nonkey_both']) / interval
    # The paper adds the normalisations, .2 here.
    assert printed('MiT-B2')[f'DCFM K={interval}'].gflops == pytest.approx(mean, abs=0.25)


@pytest.mark.parametrize('backbone', ['mit_b2', 'mit_b5'])
def test_published_parameters_are_those_of_the_networks(backbone):
    net = empty_net(f'vspw_{backbone}')
    millions = sum(weight.numel() for weight in net.parameters()) / 1e6
    rows = printed(f'MiT-{backbone[-2:].upper()}')
    assert rows['DCFM K=2'].params_m == pytest.approx(millions, abs=0.2)


def test_image_network_runs_in_another_backend():
    pytest.importorskip('openvino')
    net = make_net('mit_b0', num_classes=5)
    (image,) = make_images(1, size=(64, 96))
    results = []
    for backend in ('torch', 'openvino'):
        options = EngineOptions(device='cpu', backend=backend, precision='fp32')
        engine = SegmentationEngine(ImageNetwork(net), options, EVERY_FRAME)
        results.append(engine.step(image, 0))
        assert (engine.backend.name, engine.backend.failure) == (backend, '')
    assert (results[0].mask == results[1].mask).mean() > 0.999


@pytest.mark.parametrize('head', ['linear', 'mlp'])
def test_image_network_is_backbone_and_head_without_fusion(head):
    net = make_net('mit_b0', head=head)
    (image,) = make_images(1, size=(64, 96))
    options = EngineOptions(device='cpu', backend='torch')
    engine = SegmentationEngine(ImageNetwork(net), options, EVERY_FRAME)
    result = engine.step(image, 0)
    with torch.no_grad():
        state = net.encode_independent(to_tensor(image)).state
        expected = net.classify(normalise(net.encoder.deep(state)))
    torch.testing.assert_close(result.logits, expected, rtol=1e-4, atol=1e-5)


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
    b5 = {**B2, 'backbone': 'mit_b5'}
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
    default = {'model': 'default', 'backbone': 'mit_b0', 'num_classes': 11}
    assert limit('torch/openvino sync_k2', default, '360x480', 'cpu', None) == (2.0, False)
    assert limit('torch/openvino sync_k2', B2, '480x853', 'cpu', None) is None


def test_every_bar_is_of_a_ratio_that_exists():
    whats = ('paper_key', 'paper_nonkey_past', 'paper_nonkey_both', 'image_baseline', 'key')
    whats += ('nonkey_past', 'nonkey_both', 'sync_k2', 'sync_k6', 'amortised_k6')
    records = [record(what, [1.0]) for what in whats]
    known = ratios_within(records).keys()
    known |= {f'torch/openvino {what}' for what in ratios_between(records, records)}
    assert {bar.ratio for bar in BARS} <= known


def tables(intervals=(), num_classes=124, is_timed=True):
    """One network of MiT-B5 whose engine takes 100 and 10 ms."""
    ms = {'image_baseline': 80.0, 'key': 100.0, 'nonkey_past': 8.0, 'nonkey_both': 10.0}
    rows = [{'what': what, 'ms_p50': value, 'stage_ms': {}} for what, value in ms.items()]
    rows[1]['stage_ms'] = {'independent': 3.0, 'common': 90.0, 'decode': 5.0, 'mask': 2.0}
    plain = {'what': 'paper_nonkey_both', 'ms_p50': 50.0}
    plain['stage_ms'] = {'independent': 4.0, 'fusion': 12.0, 'head': 30.0, 'mask': 4.0}
    network = {
        'model': 'x',
        'backbone': 'mit_b5',
        'num_classes': num_classes,
        'params_m': {'total': 82.0, 'image_network': 81.9},
        'gmacs': {
            'plain': {
                'shallow': 1.5, 'deep': 100.0, 'fusion': 1.9, 'head': 0.8, 'key': 104.2,
                'nonkey_both': 6.9,
            },
            'engine': {'image_baseline': 95.0, 'key': 98.0, 'nonkey_both': 2.5},
        },
    }  # fmt: skip
    return paper_tables(network, 'torch', [*rows, plain] if is_timed else [], intervals)


def test_table_2_has_the_printed_figures_beside_ours():
    rows = {row['method']: row for row in tables((2, 6))['II']}
    assert list(rows) == ['SegFormer', 'DCFM K=1', 'DCFM K=2', 'DCFM K=6']
    assert rows['DCFM K=2']['fps'] == pytest.approx(1000 / 55)
    assert rows['DCFM K=2']['fps_printed'] == 25.4
    assert rows['DCFM K=6']['gmacs'] == pytest.approx((98 + 5 * 2.5) / 6)
    assert rows['DCFM K=6']['gmacs_plain'] == pytest.approx((104.2 + 5 * 6.9) / 6)
    assert rows['SegFormer']['gmacs_plain'] == pytest.approx(102.3)
    assert rows['SegFormer']['gmacs_printed'] == 102.3


def test_table_2_names_the_double_count():
    (row,) = (row for row in tables()['II'] if row['method'] == 'DCFM K=1')
    assert row['gmacs_plain_twice'] - row['gmacs_plain'] == pytest.approx(1.9 + 0.8)
    assert row['gmacs_printed'] == 107.0


def test_table_8_has_every_stage():
    rows = {row['stage']: row for row in tables()['VIII']}
    assert rows['encoder_low']['key'] == 3.0
    assert rows['encoder_high']['key_printed'] == 68.6
    assert rows['encoder_high']['paper_nonkey_both'] is None
    assert rows['fusion']['nonkey_printed'] == 1.6
    assert rows['fusion']['key'] is None
    assert rows['fusion to mask']['key'] == 7.0
    assert rows['fusion to mask']['paper_nonkey_both'] == 46.0
    assert rows['total']['key'] == 100.0
    assert rows['total']['nonkey_printed'] == 5.8


def test_table_9_has_both_modes():
    both, past = tables()['IX']
    assert (both['mode'], both['frame_ms'], both['frame_ms_printed']) == ('both', 55.0, 39.4)
    assert both['latency_ms'] == pytest.approx(100 + 1000 / 15)
    assert both['latency_ms_printed'] == 136.7
    assert (past['frame_ms'], past['latency_ms'], past['latency_ms_printed']) == (54, 100, 70.0)


def test_tables_of_another_network_have_nothing_printed():
    rows = tables((2,), num_classes=11, is_timed=False)['II']
    assert {row['fps_printed'] for row in rows} == {row['fps'] for row in rows} == {None}


def test_growth_is_from_the_second_fifth_to_the_last():
    assert growth([9, 9, 1, 2, 3, 3, 3, 3, 5, 6]) == 4.0


def test_markdown_has_a_cell_for_every_column():
    text = to_markdown([Section('T', [{'a': 1.23456, 'b': True}, {'a': 123.456}], 'note')])
    assert text == '## T\n\nnote\n\n| a | b |\n| --- | --- |\n| 1.235 | yes |\n| 123.5 | - |\n'
    assert cell([0.5, 'x']) == '0.500, x'
