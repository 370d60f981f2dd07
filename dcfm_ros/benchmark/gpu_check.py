"""`python -m dcfm_ros.benchmark.gpu_check`: all that needs a GPU, in one run of known length.

The tests marked `gpu`, masks beside those of the plain order, times and memory. Tables are
written after every part, so that a run that is cut off leaves what it has.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
import os
from pathlib import Path
import shlex
import sys
import time
from typing import Any

from dcfm_ros.backends.device import resolve_device
from dcfm_ros.benchmark.gpu.case import Case
from dcfm_ros.benchmark.gpu.process import run_apart
from dcfm_ros.benchmark.gpu.report import gpu_sections
from dcfm_ros.benchmark.gpu.tests import gpu_test_files, run_gpu_tests
from dcfm_ros.benchmark.sections import write_figures
from dcfm_ros.machine import machine

NETWORKS = {'vspw_mit_b5': (480, 853), 'vspw_mit_b2': (480, 853), 'default': (480, 640)}
"""(H, W) of the frames by model; other models have those of the first."""
KINDS = ('tests', 'masks', 'times', 'memory')
"""Of parts."""
_QUICK_SIZE = (48, 64)
LISTS = ('masks', 'times', 'ratios', 'memory', 'notes')
"""Figures that parts add to."""


class NothingToDoError(Exception):
    """A part has nothing to do on this machine; says why."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Something to run, within a time."""

    kind: str
    """One of `KINDS`."""
    model: str = ''
    """What it measures; '': no single network."""
    run: Callable[[float], dict[str, Any]]
    """Takes its time limit in seconds. Returns figures; what is wrong is listed under 'wrong'."""
    needs_s: float
    """It is not begun with less time than this."""
    limit_s: float
    """It is cut off after this time."""

    @property
    def name(self) -> str:
        """As reports call it."""
        return f'{self.kind} of {self.model}' if self.model else self.kind


def run_parts(
    parts: Sequence[Part], budget_s: float, clock: Callable[[], float] = time.monotonic
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Run parts in order, each in what is left of the budget; one that fails ends no other.

    Args:
        parts: What to run.
        budget_s: Time for all of them, seconds.
        clock: Seconds from any start.

    Yields:
        After each part, how it went ('part', 'status': passed, failed or skipped, 'seconds',
        'why') and its figures.
    """
    end = clock() + budget_s
    for part in parts:
        begin = clock()
        left_s = end - begin
        status, why, found = 'skipped', '', {}
        if left_s < part.needs_s:
            why = f'{max(left_s, 0):.0f} s left, {part.needs_s:.0f} s needed'
        else:
            try:
                found = part.run(min(left_s, part.limit_s))
                why = '; '.join(found.pop('wrong', []))
                status = 'failed' if why else 'passed'
            except NothingToDoError as nothing:
                why = str(nothing)
            except Exception as error:
                status, why = 'failed', str(error) or repr(error)
        seconds = round(clock() - begin, 1)
        yield {'part': part.name, 'status': status, 'seconds': seconds, 'why': why}, found


def gpu_parts(device: str, models: Sequence[str], *, quick: bool = False) -> list[Part]:
    """What is right comes before what is fast, so that it still runs in a short budget.

    Args:
        device: 'cuda:N', or 'cpu' for what can be checked without a GPU.
        models: As in `load_model`.
        quick: Small frames, and few.
    """
    timed, compared, watched = (6, 6, 20) if quick else (180, 24, 300)
    first_size, *_ = NETWORKS.values()
    cases = [
        Case(
            model=model,
            size=_QUICK_SIZE if quick else NETWORKS.get(model, first_size),
            device=device,
            timed=timed,
            compared=compared,
            watched=watched,
        )
        for model in models
    ]
    parts = [Part(kind='tests', run=_tests, needs_s=30, limit_s=180)]
    for kind, needs_s, limit_s in (('masks', 30, 90), ('times', 45, 150), ('memory', 20, 60)):
        parts += [
            Part(
                kind=kind,
                model=case.model,
                run=partial(run_apart, kind, case),
                needs_s=needs_s,
                limit_s=limit_s,
            )
            for case in cases
        ]
    return parts


def _tests(limit_s: float) -> dict[str, Any]:
    files = gpu_test_files()
    if not files:
        raise NothingToDoError('no tests beside the package')
    found = run_gpu_tests(files, limit_s)
    counts, wrong = found['counts'], []
    if found['failing']:
        wrong.append(f'{len(found["failing"])} of {sum(counts.values())} tests')
    if found['exit_code'] is None:
        wrong.append(f'interrupted after {limit_s:.0f} s')
    elif found['exit_code'] and not wrong:
        wrong.append(f'pytest ended with {found["exit_code"]}')
    elif not counts.get('passed') and not wrong:
        raise NothingToDoError(f'no GPU: {counts.get("skipped", 0)} tests')
    return {'tests': found, 'wrong': wrong}


def gpu_check(parts: Sequence[Part], device: str, folder: Path, budget_s: float) -> bool:
    """Run parts, and write gpu.json and gpu.md after every one.

    Args:
        parts: What to run.
        device: Where they run, 'cpu' or 'cuda:N'; for the description of the machine.
        folder: Where the files go.
        budget_s: Time for everything, seconds.

    Returns:
        Whether something ran, and all that ran was right.
    """
    figures: dict[str, Any] = {'machine': {**machine(device), 'device': device}}
    figures |= {'parts': [], 'tests': {}, **{name: [] for name in LISTS}}
    reports: list[dict[str, Any]] = []
    command = shlex.join(['python', '-m', 'dcfm_ros.benchmark.gpu_check', *sys.argv[1:]])
    for report, found in run_parts(parts, budget_s):
        reports.append(report)
        to_come = [
            {'part': part.name, 'status': 'to come', 'seconds': None, 'why': ''}
            for part in parts[len(reports) :]
        ]
        figures['parts'] = reports + to_come
        figures['tests'] = found.get('tests', figures['tests'])
        for name in LISTS:
            figures[name] += found.get(name, [])
        write_figures(folder, 'gpu', command, figures, gpu_sections(figures))
        print('{part}: {status} ({seconds} s) {why}'.format_map(report), flush=True)
    statuses = {report['status'] for report in reports}
    return 'passed' in statuses and 'failed' not in statuses


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 if something ran and all that ran was right, else 1."""
    parser = argparse.ArgumentParser(
        prog='python -m dcfm_ros.benchmark.gpu_check', description=__doc__
    )
    add = parser.add_argument
    add('--device', default='cuda', help='cuda, cuda:N or cpu')
    add('--model', action='append', help='preset or weights; repeat for several')
    add('--output', type=Path, default=Path('docs/figures'), help='folder for gpu.json, gpu.md')
    add('--budget-s', type=float, default=500.0, help='time for everything, seconds')
    add('--only', choices=KINDS, action='append', help='part to run; repeat for several')
    add('--quick', action='store_true', help='small frames, and few; only the packaged default')
    given = parser.parse_args(arguments)
    # For the processes of the parts: threads that spin while they wait slow each other down.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    models = given.model or (['default'] if given.quick else list(NETWORKS))
    try:
        device = resolve_device(given.device)
    except ValueError as error:
        parser.error(str(error))
    parts = [
        part
        for part in gpu_parts(device, models, quick=given.quick)
        if part.kind in (given.only or KINDS)
    ]
    return 0 if gpu_check(parts, device, given.output, given.budget_s) else 1


if __name__ == '__main__':
    sys.exit(main())
