"""`dcfm bench`: what is timed is what its row is called."""

from __future__ import annotations

from dataclasses import replace
import itertools
import json
import os
import subprocess
import sys
import time

from command import dcfm
import numpy as np
import pytest
from small_net import make_net
import torch

from dcfm_ros.benchmark.inputs import read_frames
from dcfm_ros.benchmark.interleave import Answer, Rival, measure
from dcfm_ros.benchmark.rivals import eager_rivals, engine_rivals, plain_rivals
from dcfm_ros.benchmark.run import BenchOptions, without_failures
from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.recordings.sources import SourceError, SourceFrame, folder_frames
from dcfm_ros.synthetic.drive import DriveConfig, write_drive

pytestmark = pytest.mark.slow

SIZE = (64, 96)
IN_TORCH = EngineOptions(device='cpu', backend='torch')
ROWS = (
    'paper_key', 'paper_nonkey_past', 'paper_nonkey_both', 'image_baseline', 'key', 'nonkey_past',
    'nonkey_both', 'sync_k2', 'sync_k6', 'amortised_k6',
)  # fmt: skip


@pytest.fixture(scope='module')
def frames():
    return read_frames(None, SIZE, 10)


@pytest.fixture(scope='module')
def figures(tmp_path_factory):
    """What the command writes."""
    folder = tmp_path_factory.mktemp('bench')
    options = ('--model', 'vspw_mit_b0', '--size', '64x96', '--frames', 5, '--memory', 10)
    run = dcfm('bench', *options, '--json', folder / 'all.json', '--figures', folder)
    assert run.returncode == 0, run.stderr
    found = json.loads((folder / 'all.json').read_text())
    written = json.loads((folder / 'bench_vspw_mit_b0.json').read_text())
    assert found.items() <= written.items()
    assert written['command'].startswith('dcfm bench --model vspw_mit_b0 --size 64x96')
    return found | {'markdown': (folder / 'bench_vspw_mit_b0.md').read_text()}


def still(count):
    image = np.zeros((2, 2, 3), np.uint8)
    return [SourceFrame(image=image, stamp_ns=index) for index in range(count)]


def rival(what, seconds=0.0, seen=None, mask=0, **options):
    def run(frame):
        time.sleep(seconds)
        if seen is not None:
            seen.append((what, frame.stamp_ns))
        return Answer(np.full((2, 2), mask, np.uint8), {'stage': seconds})

    return Rival(what=what, run=run, **options)


def test_every_row_of_the_design_is_there(figures):
    assert tuple(row['what'] for row in figures['rows']) == ROWS
    names = {'model', 'backend', 'precision', 'size', 'what', 'frames', 'stage_ms'}
    names |= {'ms_p50', 'ms_p95', 'ms_p99', 'ms_mean', 'ms_max'}
    for row in figures['rows']:
        assert names <= row.keys()
        assert 0 < row['ms_p50'] <= row['ms_p95'] <= row['ms_p99'] <= row['ms_max']
        assert (row['model'], row['backend']) == ('vspw_mit_b0', 'torch')
        assert (row['precision'], row['size']) == ('fp32', '64x96')


def test_frames_are_rounded_up_to_whole_intervals(figures):
    assert {row['frames'] for row in figures['rows']} == {6}
    assert BenchOptions(frames=61, intervals=(2, 3)).measured == 66
    assert BenchOptions(frames=60, intervals=(2, 9)).warm_up == 9


def test_stages_are_those_of_the_row(figures):
    stages = {row['what']: set(row['stage_ms']) for row in figures['rows']}
    plain = {'preprocess', 'independent', 'common', 'fusion', 'head', 'mask'}
    engine = {'preprocess', 'independent', 'common', 'decode', 'mask'}
    assert stages['paper_key'] == stages['paper_nonkey_both'] == plain
    assert stages['key'] == stages['sync_k6'] == stages['image_baseline'] == engine
    assert stages['nonkey_past'] == stages['nonkey_both'] == engine - {'common'}


def test_masks_are_those_of_the_plain_order(figures):
    equal = {row['what']: row.get('equal_pixels') for row in figures['rows']}
    for what in ('key', 'nonkey_past', 'nonkey_both'):
        assert equal[what] > 0.999
    assert equal['image_baseline'] is equal['sync_k2'] is None


def test_streams_really_have_their_interval(figures):
    ages = {row['what']: row.get('feature_age_mean') for row in figures['rows']}
    assert (ages['sync_k2'], ages['sync_k6']) == (0.5, 2.5)
    assert ages['amortised_k6'] == 7.5  # of slices that end on the last frame: 6..10, then 5


def test_ratios_are_by_model_and_backend(figures):
    ratios = figures['ratios']['vspw_mit_b0']['torch']
    named = {'paper_nonkey_both/nonkey_both', 'paper_nonkey_past/nonkey_past', 'nonkey_past/key'}
    named |= {'image_baseline/sync_k2', 'image_baseline/sync_k6'}
    named |= {'amortised_k6 p99/mean', 'sync_k6 p99/mean'}
    assert named <= ratios.keys()
    mean = {row['what']: row['ms_mean'] for row in figures['rows']}
    expected = mean['image_baseline'] / mean['sync_k6']
    assert ratios['image_baseline/sync_k6'] == pytest.approx(expected)


def test_ratios_name_the_precision_of_both_sides(figures):
    assert {row['precision'] for row in figures['checks']} == {'fp32'}


def test_machine_has_versions_and_load(figures):
    machine = figures['machine']
    assert machine['torch'] == torch.__version__.partition('+')[0]
    assert machine['threads'] == torch.get_num_threads()
    assert len(machine['load_average']) == 3
    assert {'processor', 'cores', 'openvino', 'onnxruntime', 'gpu', 'governor'} <= machine.keys()


def test_memory_is_that_of_the_engine_alone(figures):
    (memory,) = figures['memory']
    assert len(memory['rss_mb']) == 10
    assert memory['loaded_mb'] <= max(memory['rss_mb']) <= memory['peak_rss_mb']
    assert memory['growth_mb'] == pytest.approx(
        np.mean(memory['rss_mb'][-2:]) - np.mean(memory['rss_mb'][2:4]), abs=0.01
    )
    assert memory['peak_gpu_mb'] is None or memory['peak_gpu_mb'] > 0


def test_tables_are_written_with_command_and_machine(figures):
    text = figures['markdown']
    assert '\n`dcfm bench --model vspw_mit_b0 --size 64x96' in text
    assert f'| torch | {figures["machine"]["torch"]} |' in text
    (row,) = (row for row in figures['rows'] if row['what'] == 'amortised_k6')
    (line,) = (line for line in text.splitlines() if '| amortised_k6 | torch' in line)
    assert line.split(' | ')[1:4] == ['amortised_k6', 'torch', 'fp32']
    assert float(line.split(' | ')[5]) == pytest.approx(row['ms_p50'], rel=1e-2)
    assert '## Memory of the engine' in text


def test_every_rival_sees_every_frame_in_order():
    seen = []
    records = measure([rival(what, seen=seen) for what in 'abc'], still(9), warm_up=2)
    for what in 'abc':
        assert [stamp for name, stamp in seen if name == what] == list(range(9))
    assert [len(record.ms) for record in records] == [7, 7, 7]


def test_no_rival_always_follows_the_same_one():
    seen = []
    measure([rival(what, seen=seen) for what in 'abcd'], still(60), warm_up=0)
    order = [name for name, _ in seen]
    assert all(set(order[i : i + 4]) == set('abcd') for i in range(0, 240, 4))
    pairs = [p for i in range(0, 240, 4) for p in itertools.pairwise(order[i : i + 4])]
    assert set(pairs) == set(itertools.permutations('abcd', 2))
    assert min(map(pairs.count, set(pairs))) >= 5


def test_times_are_of_the_rival_that_took_them():
    fast, slow = measure([rival('a'), rival('b', 0.02)], still(6), warm_up=1)
    assert np.median(fast.ms) < np.median(slow.ms)
    assert min(slow.ms) >= 20
    assert slow.row()['stage_ms'] == {'stage': 0.02}


def test_equal_pixels_are_those_of_the_named_rival():
    rivals = [rival('plain', mask=1), rival('a', mask=1, same_as='plain')]
    rivals += [rival('b', mask=2, same_as='plain'), rival('c', same_as='absent')]
    rows = [record.row() for record in measure(rivals, still(3), warm_up=0)]
    assert [row.get('equal_pixels') for row in rows] == [None, 1.0, 0.0, None]


@pytest.mark.parametrize(
    ('backbone', 'head'), [('timm:mobilenetv4_conv_small', 'linear'), ('mit_b0', 'mlp')]
)
def test_masks_of_the_engine_are_those_of_the_plain_order(frames, backbone, head):
    net = make_net(backbone, num_classes=19, head=head)
    rivals = plain_rivals(net, 'cpu', frames) + engine_rivals(net, IN_TORCH, frames, (2,), net)
    for record in measure(rivals, frames[:-1], warm_up=2):
        assert bool(record.equal_pixels) == bool(record.rival.same_as)
        if record.equal_pixels:
            assert np.mean(record.equal_pixels) > 0.999


def test_streams_give_the_masks_of_an_engine_of_their_own(frames):
    net = make_net('timm:mobilenetv4_conv_small')
    rivals = {r.what: r for r in engine_rivals(net, IN_TORCH, frames, (2, 3), net)}
    for what, interval in (('sync_k2', 2), ('sync_k3', 3), ('amortised_k3', 3)):
        options = replace(IN_TORCH, execution=what.partition('_')[0])
        engine = SegmentationEngine(net, options, ScheduleOptions(keyframe_interval=interval))
        for frame in frames[:-1]:
            expected = engine.step(frame.image, frame.stamp_ns)
            answer = rivals[what].run(frame)
            assert answer.feature_age == expected.keyframe_age
            np.testing.assert_array_equal(answer.mask, expected.mask)


def test_rows_without_graphs_give_the_masks_of_the_plain_order(frames):
    net = make_net('timm:mobilenetv4_conv_small')
    rivals = [*plain_rivals(net, 'cpu', frames), *eager_rivals(net, IN_TORCH, frames)]
    records = measure(rivals, frames[:-1], warm_up=2)[3:]
    assert [(r.rival.what, r.rival.backend) for r in records] == [
        ('key', 'eager'),
        ('nonkey_past', 'eager'),
    ]
    assert all(np.mean(record.equal_pixels) > 0.999 for record in records)


MASKS = """
import torch
from dcfm_ros.benchmark.inputs import read_frames
from dcfm_ros.benchmark.interleave import measure
from dcfm_ros.benchmark.ratios import ratios_within
from dcfm_ros.benchmark.rivals import mask_rivals

torch.manual_seed(0)
rivals = mask_rivals(torch.randn(1, 5, 6, 9), (36, 54), 'fp32')
records = measure(rivals, read_frames(None, (36, 54), 3), warm_up=1)
print(*(record.rival.what for record in records), *ratios_within(records))
print(min(records[1].equal_pixels) > 0.995)
"""


def test_masks_with_and_without_triton_are_timed_on_the_same_logits():
    pytest.importorskip('triton')
    environment = {**os.environ, 'TRITON_INTERPRET': '1'}
    done = subprocess.run(
        [sys.executable, '-c', MASKS], env=environment, capture_output=True, text=True
    )
    assert done.stdout.split() == [
        *('mask_in_chunks', 'mask_in_triton', 'mask_in_chunks/mask_in_triton', 'True')
    ], done.stderr


def test_rivals_are_computed_in_the_precision_asked_for(frames):
    options = replace(IN_TORCH, precision='bf16')
    net = make_net('timm:mobilenetv4_conv_small')
    rivals = engine_rivals(net, options, frames, (2,), net)
    assert {rival.precision for rival in rivals} == {'bf16'}


def test_frames_come_from_a_recording_at_the_size_asked_for(tmp_path):
    write_drive(DriveConfig(num_frames=4, height=48, width=64), tmp_path)
    images = tmp_path / 'frames'
    read = read_frames(str(images), (24, 32), 3)
    originals = [frame.image for frame in folder_frames(images)]
    assert [frame.image.shape for frame in read] == [(24, 32, 3)] * 3
    for frame, original in zip(read, originals, strict=False):
        assert abs(frame.image.mean() - original.mean()) < 1
    with pytest.raises(SourceError, match='has 4 frames, 5 are needed'):
        read_frames(str(images), (24, 32), 5)


def test_row_that_another_backend_finished_is_left_out():
    failing = rival('b', backend='openvino', failure=lambda: 'openvino failed: no memory')
    records = measure([rival('a'), failing], still(2), warm_up=0)
    left, notes = without_failures(records)
    assert [record.rival.what for record in left] == ['a']
    assert notes == ['no row b in openvino: openvino failed: no memory']


OPTIONS = "models=('vspw_mit_b0',), size=(32, 48), frames=1, intervals=(1,)"
FLAGS = ['bench', '--model', 'vspw_mit_b0', '--size', '32x48', '--frames', '1', '--intervals', '1']
IN_PYTHON = f"""
from dcfm_ros.benchmark.run import BenchOptions, run_bench
from dcfm_ros.benchmark.sections import sections, to_markdown
print(to_markdown(sections(run_bench(BenchOptions({OPTIONS})))))
"""
AS_COMMAND = f'import dcfm_ros.cli.main; sys.argv[1:] = {FLAGS}; dcfm_ros.cli.main.main()'


@pytest.mark.slow
@pytest.mark.parametrize(
    ('program', 'absent'),
    [(IN_PYTHON, ['typer', 'rich', 'psutil']), (AS_COMMAND, ['psutil'])],
    ids=['in Python', 'as a command'],
)
def test_benchmark_runs_on_a_machine_without_ros(program, absent):
    """As performance.md says: with PyTorch and what trains, and typer for the command."""
    absent = [*absent, 'rosbags', 'rclpy', 'av', 'matplotlib', 'lightning']
    code = f'import sys; sys.modules.update(dict.fromkeys({absent}))\n{program}'  # None: no import
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert 'paper_nonkey_both' in run.stdout


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (('--intervals', '0'), '`intervals` must be at least 1, got (0,)'),
        (
            ('--backends', 'torch,torch'),
            "`backends` must be at least one, each once, got ('torch', 'torch')",
        ),
        (('--backends', 'tpu'), '`backend` must be one of'),
        (('--size', '64'), '`size` must be HEIGHTxWIDTH'),
        (('--model', 'vspw_mit_b9'), 'vspw_mit_b9'),
        (('--frames-from', 'nowhere.mp4'), 'no such file or folder: nowhere.mp4'),
        (('--frames', '1200'), '`frames` must be from 1 to 994, got 1200'),
    ],
)
def test_bad_options_are_refused(options, message):
    sizes = () if '--size' in options else ('--size', '32x32')
    models = () if '--model' in options else ('--model', 'vspw_mit_b0')
    frames = () if '--frames' in options else ('--frames', 2)
    run = dcfm('bench', *models, *sizes, *frames, *options)
    assert run.returncode == 1
    assert message in run.stderr
