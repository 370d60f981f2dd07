"""A few damaged files of every kind, and what the verdicts say of readers that go wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
import os
from pathlib import Path
import signal
import time

import pytest

from dcfm_ros.torture.campaign import Campaign
from dcfm_ros.torture.file_damage import CUT_STEP, FLIPS, Damage, damages
from dcfm_ros.torture.file_hostile import hostile_files
from dcfm_ros.torture.file_judge import OUTCOMES, judge
from dcfm_ros.torture.file_kinds import KINDS, Kind, Reading
from dcfm_ros.torture.file_worker import Worker, make_whole
from dcfm_ros.torture.files import Files


class FewFiles(Files):
    piece = 80


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp('files')
    make_whole(made / 'files_whole')
    return made


@pytest.fixture
def worker(folder: Path, tmp_path: Path) -> Iterator[Worker]:
    made = Worker(folder / 'files_whole', tmp_path / 'damaged', limit_s=60.0)
    yield made
    made.close()


def test_no_damaged_file_goes_unnoticed(folder: Path) -> None:
    campaign = Campaign('files', FewFiles(5, folder), 160)
    list(campaign.run(None))
    results = campaign.results()
    assert [verdict for verdict in results['verdicts'] if not verdict['holds']] == []
    assert len(results['verdicts']) == 6
    seen = Counter(key.split('/')[2] for piece in campaign.pieces for key in piece['outcomes'])
    assert {'same', 'refused', 'partial', 'untold'} == seen.keys()
    assert not (folder / 'files_damaged').exists()


def test_whole_test_has_every_case(folder: Path) -> None:
    files = Files(0, folder)
    assert len(files.cases) <= Files.full < 1.05 * len(files.cases)
    assert len(files._cases_of(len(files.cases) // Files.piece + 1, 10)) == 10
    counts = Counter((case.kind, case.how) for case in files.cases)
    assert {kind for kind, _ in counts} == KINDS.keys()
    assert all(counts[kind, 'flip'] == FLIPS for kind in KINDS)
    size = make_whole(folder / 'files_whole')['checkpoint'].stat().st_size
    assert counts['checkpoint', 'cut'] == -(-size // CUT_STEP)


@pytest.mark.parametrize('size', [50, 100_000])
def test_damages_lie_within_the_file(size: int) -> None:
    found = damages('mcap', size, seed=0)
    data = bytes(size)
    for damage in found:
        damaged = damage.apply(data)
        assert len(damaged) == (damage.place if damage.how == 'cut' else size)
        assert int.from_bytes(damaged, 'big').bit_count() == (damage.how == 'flip')


@pytest.mark.parametrize('kind', ['groups YAML', 'checkpoint', 'label PNG'])
def test_files_made_to_do_harm_are_refused(worker: Worker, kind: str) -> None:
    for number in range(len(hostile_files(kind))):
        answer = worker.run(Damage(kind, 'whole', number))
        assert answer == {'outcome': 'refused', 'detail': ''}, list(hostile_files(kind))[number]


def test_process_that_dies_or_hangs_is_an_outcome(worker: Worker) -> None:
    flip = Damage('palette JSON', 'flip', 3)
    assert worker.run(flip)['outcome'] == 'refused'
    process = worker._process
    assert process
    os.kill(process.pid, signal.SIGSEGV)
    process.wait()
    assert worker.run(flip) == {'outcome': 'crash', 'detail': 'exit code -11'}
    assert worker.run(flip)['outcome'] == 'refused'
    process = worker._process
    assert process
    os.kill(process.pid, signal.SIGSTOP)
    worker._limit_s = 0.5
    began_s = time.monotonic()
    assert worker.run(flip)['outcome'] == 'hang'
    assert time.monotonic() - began_s >= 0.5


@pytest.mark.parametrize(
    ('reading', 'outcome'),
    [
        (Reading(['a', 'b']), 'same'),
        (Reading(['a', 'c']), 'untold'),
        (Reading(['a']), 'silent'),
        (Reading(['a'], ['one is missing']), 'partial'),
        (Reading(error=ValueError('x/a.png is broken')), 'refused'),
        (Reading(error=ValueError('broken')), 'foreign error'),
        (Reading(error=KeyError('x/a.png')), 'foreign error'),
        (Reading(error=MemoryError()), 'memory'),
    ],
)
@pytest.mark.parametrize('is_sealed', [True, False])
def test_outcomes(reading: Reading, outcome: str, is_sealed: bool) -> None:
    kind = Kind(make=lambda _: None, target='', read=lambda _: [], is_sealed=is_sealed)
    expected = 'silent' if is_sealed and outcome == 'untold' else outcome
    assert judge(kind, Path('/y/x/a.png'), ['a', 'b'], reading)[0] == expected
    assert expected in OUTCOMES
