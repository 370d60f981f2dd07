"""The check of what needs a GPU, on the CPU, with no more installed than a GPU machine has."""

from __future__ import annotations

import json
from pathlib import Path
import re
import subprocess
import sys
from typing import Any

from lean import lean_environment, packages_beside
import pytest
from repository import ROOT
import torch

from dcfm_ros.benchmark.gpu.case import Case
from dcfm_ros.benchmark.gpu.process import run_apart
from dcfm_ros.benchmark.gpu.tests import gpu_test_files, run_gpu_tests
from dcfm_ros.benchmark.gpu_check import KINDS, Part, gpu_check, gpu_parts, main, run_parts
from dcfm_ros.benchmark.sections import cell
from dcfm_ros.models.checkpoint import save_checkpoint
from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.models.dcfm import DCFM

pytestmark = pytest.mark.slow

INSTALLED = ('torch', 'timm', 'numpy', 'opencv-python-headless', 'safetensors', 'pytest')
ON_CPU = ('--device', 'cpu', '--quick')
TABLES = ('Parts', 'Masks', 'Times', 'Ratios', 'Memory')
"""One row for every row of the JSON."""


@pytest.fixture(autouse=True)
def waiting_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command sets it for its processes; here it is set back."""
    monkeypatch.setenv('OMP_WAIT_POLICY', 'PASSIVE')


@pytest.fixture(scope='module')
def lean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return lean_environment(tmp_path_factory.mktemp('lean'), *INSTALLED)


@pytest.fixture(scope='module')
def folder(lean: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes."""
    folder = tmp_path_factory.mktemp('figures')
    command = ['-m', 'dcfm_ros.benchmark.gpu_check', *ON_CPU, '--output', str(folder)]
    done = subprocess.run(
        [sys.executable, *command], env=lean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / 'gpu.json').read_text('utf-8'))
    return found


def tables(folder: Path) -> dict[str, list[dict[str, str]]]:
    """The tables of the Markdown, as text by column."""
    found = {}
    for part in (folder / 'gpu.md').read_text('utf-8').split('\n## ')[1:]:
        title, *lines = part.splitlines()
        rows = [
            [text.strip() for text in line.strip('|').split('|')]
            for line in lines
            if line.startswith('|')
        ]
        found[title] = [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]
    return found


def test_nothing_but_the_packages_of_a_gpu_machine_can_be_imported(lean: dict[str, str]) -> None:
    absent = {'openvino', 'lightning', 'rosbags', 'onnx', 'onnxruntime', 'jsonargparse', 'psutil'}
    assert absent <= packages_beside(*INSTALLED)
    assert not packages_beside(*INSTALLED) & {'torch', 'timm', 'cv2', 'safetensors', 'pytest'}
    for name in absent:
        code = f'import {name}'
        done = subprocess.run([sys.executable, '-c', code], env=lean, capture_output=True)
        assert b'ModuleNotFoundError' in done.stderr


def test_what_only_a_gpu_reaches_can_be_imported_there(lean: dict[str, str]) -> None:
    backends = 'dcfm_ros.backends'
    code = f'import {backends}.cuda_runner, {backends}.torch_masks, {backends}.triton_kernel'
    subprocess.run([sys.executable, '-c', code], env=lean, check=True)


def test_every_part_runs_or_says_why_not(folder: Path) -> None:
    figures = read(folder)
    assert {part['part']: part['status'] for part in figures['parts']} == {
        'tests': 'passed' if torch.cuda.is_available() else 'skipped',
        'masks of default': 'passed',
        'times of default': 'passed',
        'memory of default': 'passed',
    }
    if not torch.cuda.is_available():
        assert re.fullmatch(r'no GPU: \d\d+ tests', figures['parts'][0]['why'])
    (note,) = figures['notes']
    assert note.startswith('default: fp16, rows without CUDA graphs, and masks')


def test_figures_are_those_that_the_parts_promise(folder: Path) -> None:
    figures = read(folder)
    exact = {row['what']: row for row in figures['masks'] if row['precision'] == 'fp32'}
    assert exact.keys() == {'key', 'nonkey_past', 'nonkey_both'}
    assert all(row['equal_pixels'] >= 0.995 and row['holds'] is True for row in exact.values())
    rounded = [row for row in figures['masks'] if row['precision'] == 'bf16']
    assert {row['what'] for row in rounded} == {*exact, 'sync_k6', 'amortised_k6'}
    assert all(0.9 < row['equal_pixels'] < 1 and row['holds'] is None for row in rounded)
    for row in figures['times']:
        assert 0 < row['ms_p50'] <= row['ms_p99']
    timed = {(row['what'], row['precision']) for row in figures['times']}
    rows = ('image_baseline', 'key', 'nonkey_past', 'nonkey_both', 'sync_k2', 'sync_k6')
    assert timed >= {(what, precision) for what in rows for precision in ('fp32', 'bf16')}
    ratios = {(row['ratio'], row['precision']): row['value'] for row in figures['ratios']}
    means = {(row['what'], row['precision']): row['ms_mean'] for row in figures['times']}
    for precision in ('fp32', 'bf16'):
        assert ratios['image_baseline/sync_k6', precision] == pytest.approx(
            means['image_baseline', precision] / means['sync_k6', precision]
        )
    assert ratios['sync_k2', 'fp32/bf16'] == pytest.approx(
        means['sync_k2', 'fp32'] / means['sync_k2', 'bf16']
    )
    assert [row['precision'] for row in figures['memory']] == ['fp32', 'bf16']
    assert {row['frames'] for row in figures['memory']} == {20}


def test_markdown_holds_the_figures_of_the_json(folder: Path) -> None:
    figures, found = read(folder), tables(folder)
    for title in TABLES:
        rows = figures[title.lower()]
        assert len(found[title]) == len(rows) > 0
        for text, row in zip(found[title], rows, strict=True):
            left_out = {'stage_ms'} - text.keys()
            assert {column: cell(row.get(column)) for column in text} == text
            assert row.keys() - left_out <= text.keys()
    machine = {row['fact']: row['value'] for row in found['Machine']}
    assert machine == {name: cell(value) for name, value in figures['machine'].items()}
    assert f'\n`{figures["command"]}`, {figures["date"]}\n' in (folder / 'gpu.md').read_text()
    assert figures['command'].endswith(' '.join(ON_CPU) + f' --output {folder}')


def test_masks_that_differ_from_the_plain_order_fail_the_run(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = DCFM(DCFMConfig(backbone='timm:mobilenetv4_conv_small', num_classes=11))
    # Exact where batch norms are folded; the plain order loses all digits but the last.
    torch.nn.init.constant_(net.fusion.conv.bias, 1e7)
    net.fusion.norm.running_mean.fill_(1e7)
    wrong = tmp_path / 'wrong.safetensors'
    save_checkpoint(wrong, net)
    options = ('--only', 'masks', '--model', str(wrong), '--output', str(tmp_path))
    assert main([*ON_CPU, *options]) == 1
    figures, found = read(tmp_path), tables(tmp_path)
    (part,) = figures['parts']
    assert part['status'] == 'failed'
    assert re.match(r'key: 0\.\d+ of the pixels equal the plain order; nonkey', part['why'])
    exact = [row for row in figures['masks'] if row['precision'] == 'fp32']
    assert [row['holds'] for row in exact] == [False, False, False]
    assert [row['holds'] for row in found['Masks'] if row['precision'] == 'fp32'] == ['no'] * 3


def test_parts_without_time_are_named_as_skipped(tmp_path: Path) -> None:
    assert main([*ON_CPU, '--budget-s', '10', '--output', str(tmp_path)]) == 1
    parts = [(part['part'], part['status'], part['why']) for part in read(tmp_path)['parts']]
    assert parts == [
        (part.name, 'skipped', f'10 s left, {part.needs_s:.0f} s needed')
        for part in gpu_parts('cpu', ['default'], quick=True)
    ]
    assert {row['status'] for row in tables(tmp_path)['Parts']} == {'skipped'}


class Clock:
    """A clock that goes on when a part runs."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def part(self, kind: str, takes_s: float, error: Exception | None = None) -> Part:
        def run(limit_s: float) -> dict[str, Any]:
            self.now_s += min(takes_s, limit_s)
            if error:
                raise error
            return {'notes': [limit_s], 'wrong': ['a mask'] if kind == 'masks' else []}

        return Part(kind=kind, run=run, needs_s=20, limit_s=60)


def test_each_part_is_given_what_is_left() -> None:
    clock = Clock()
    parts = [clock.part('tests', 90), clock.part('masks', 15), clock.part('times', 5)]
    parts += [clock.part('memory', 5)]
    reports = list(run_parts(parts, 110, clock))
    assert [found.get('notes') for _, found in reports] == [[60], [50], [35], [30]]
    assert [report['seconds'] for report, _ in reports] == [60, 15, 5, 5]
    reports = list(run_parts(parts, 85, clock))
    assert [found.get('notes') for _, found in reports] == [[60], [25], None, None]
    assert reports[2][0] == {
        'part': 'times',
        'status': 'skipped',
        'seconds': 0,
        'why': '10 s left, 20 s needed',
    }


def test_a_part_that_fails_ends_no_other() -> None:
    clock = Clock()
    parts = [clock.part('tests', 5, RuntimeError('no kernel image')), clock.part('masks', 5)]
    parts += [clock.part('memory', 5, TimeoutError('cut off after 60 s')), clock.part('times', 5)]
    reports = [(r['status'], r['why']) for r, _ in run_parts(parts, 500, clock)]
    assert reports == [
        ('failed', 'no kernel image'),
        ('failed', 'a mask'),
        ('failed', 'cut off after 60 s'),
        ('passed', ''),
    ]


def test_files_say_after_every_part_which_are_to_come(tmp_path: Path) -> None:
    def look(limit_s: float) -> dict[str, Any]:
        figures = read(tmp_path)
        return {'notes': [(part['part'], part['status']) for part in figures['parts']]}

    def fail(limit_s: float) -> dict[str, Any]:
        raise RuntimeError('no kernel image')

    parts = [
        Part(kind=kind, run=run, needs_s=0, limit_s=60)
        for kind, run in (('tests', fail), ('masks', look), ('times', look))
    ]
    assert not gpu_check(parts, 'cpu', tmp_path, 500)
    figures = read(tmp_path)
    assert figures['notes'] == [
        *(['tests', 'failed'], ['masks', 'to come'], ['times', 'to come']),
        *(['tests', 'failed'], ['masks', 'passed'], ['times', 'to come']),
    ]
    assert [part['status'] for part in figures['parts']] == ['failed', 'passed', 'passed']


CASE = {'size': (48, 64), 'device': 'cpu', 'timed': 6, 'compared': 6, 'watched': 20}


def test_a_process_that_takes_too_long_is_cut_off() -> None:
    with pytest.raises(TimeoutError, match='cut off after 0 s'):
        run_apart('memory', Case(model='default', **CASE), 0.01)


def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match=r'ended with 1: .*no such checkpoint file: absent'):
        run_apart('memory', Case(model='absent', **CASE), 300)


TESTS = """
import time, pytest

pytestmark = pytest.mark.gpu

def test_a(): pass
@pytest.mark.parametrize('text', ['x y'])
def test_b(text): assert text == 'z'
@pytest.fixture
def broken(): raise ValueError
def test_c(broken): pass
@pytest.mark.skip(reason='no')
def test_d(): pass
"""
HANGS = """
def test_e(): time.sleep(600)
"""


def test_tests_are_counted_and_failing_ones_named(tmp_path: Path) -> None:
    path = tmp_path / 'test_a.py'
    path.write_text(TESTS)
    assert gpu_test_files(tmp_path) == [path]
    found = run_gpu_tests([path], 300)
    assert found['counts'] == {'passed': 1, 'failed': 1, 'error': 1, 'skipped': 1}
    assert [name.partition('::')[2] for name in found['failing']] == ['test_b[x y]', 'test_c']
    assert found['exit_code'] == 1
    assert "assert 'x y' == 'z'" in found['output']


def test_tests_that_hang_are_interrupted_and_the_others_counted(tmp_path: Path) -> None:
    path = tmp_path / 'test_a.py'
    path.write_text(TESTS + HANGS)
    found = run_gpu_tests([path], 10)
    assert found['exit_code'] is None
    assert [name.partition('::')[2] for name in found['failing']] == ['test_b[x y]', 'test_c']
    assert 'KeyboardInterrupt' in found['output']


def test_tests_that_need_a_gpu_are_marked() -> None:
    needs = re.compile(r'skipif\(not torch\.cuda\.is_available\(\)')
    files = [path for path in (ROOT / 'test').rglob('test_*.py') if path != Path(__file__)]
    in_need = [path for path in files if needs.search(path.read_text('utf-8'))]
    assert len(in_need) > 2
    assert set(in_need) <= set(gpu_test_files())


def test_absent_device_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(['--device', 'cuda:99'])
    assert end.value.code == 2
    assert "`device` 'cuda:99' is absent" in capsys.readouterr().err


def test_every_kind_of_part_is_there_for_every_network() -> None:
    parts = gpu_parts('cuda:0', ['vspw_mit_b2', 'default'])
    assert [part.name for part in parts] == [
        'tests',
        *(f'{kind} of {model}' for kind in KINDS[1:] for model in ('vspw_mit_b2', 'default')),
    ]
