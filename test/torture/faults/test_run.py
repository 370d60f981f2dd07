"""A few faults at a real node, and what the verdicts say of pieces that were changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from copy import deepcopy
import os
from pathlib import Path
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip('rclpy')

from domain import domain_of_its_own

from dcfm_ros.torture.campaign import Campaign
from dcfm_ros.torture.faults.run import FAULTS, Faults
from dcfm_ros.torture.faults.stage import Fault, Stage

pytestmark = [pytest.mark.dds, pytest.mark.slow]
KINDS = (
    'broken images', 'burst of 1000 images', 'enable and reset at random', 'node frozen',
    'second publisher', 'signal in a stream', 'stamps jump',
)  # fmt: skip


def named(*names: str) -> list[Fault]:
    found = {fault.name: fault for fault in FAULTS}
    return [found[name] for name in names]


class FewFaults(Faults):
    piece = 3
    faults = named(*KINDS)


def run(kind: type[Faults], seed: int, folder: Path, count: int) -> Campaign:
    """In a process and a domain of its own: what was killed leaves its ports in shared memory."""
    code = 'import runpy, sys; runpy.run_path(sys.argv[1])["work"](*sys.argv[2:])'
    arguments = [__file__, kind.__name__, str(seed), str(folder), str(count)]
    support = str(Path(__file__).parents[2] / 'support')
    environment = {**os.environ, 'PYTHONPATH': support}
    subprocess.run([sys.executable, '-c', code, *arguments], env=environment, check=True)
    return Campaign('faults', kind(seed, folder), count)


def work(kind: str, seed: str, folder: str, count: str) -> None:
    with domain_of_its_own():
        list(Campaign('faults', globals()[kind](int(seed), Path(folder)), int(count)).run(None))


@pytest.fixture(scope='module')
def seen(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    return run(FewFaults, 1, tmp_path_factory.mktemp('faults'), len(KINDS))


def test_node_comes_back_from_each_fault(seen: Campaign) -> None:
    results = seen.results()
    # The machine is busy: seconds may differ.
    wrong = [v for v in results['verdicts'] if not v['holds'] and not v['what'].endswith(', s')]
    assert wrong == [], results['pieces']
    faults = [fault for piece in seen.pieces for fault in piece['faults']]
    assert sorted(fault['fault'] for fault in faults) == sorted(KINDS)
    assert all(fault['images'] >= 4 for fault in faults)
    (ended,) = (fault for fault in faults if fault['end_s'] is not None)
    assert ended['fault'] == 'signal in a stream'


def test_table_has_a_row_for_each_kind(seen: Campaign) -> None:
    (table,) = seen.torture.sections(seen.pieces)
    assert [row['fault'] for row in table.rows] == sorted(KINDS)


def leave_a_process(fault: dict[str, Any]) -> None:
    fault['strays'] = 1


def leave_a_file(fault: dict[str, Any]) -> None:
    fault['left'] = ('/dev/shm/a', '/dev/shm/b')


def lose_an_image(fault: dict[str, Any]) -> None:
    fault['unaccounted'] = 1


def answer_wrongly(fault: dict[str, Any]) -> None:
    fault['wrong'] = 1


def stay_away(fault: dict[str, Any]) -> None:
    fault['recovered'] = False


def end_badly(fault: dict[str, Any]) -> None:
    fault['wrong_code'] = True


def recover_slowly(fault: dict[str, Any]) -> None:
    fault['recovery_s'] = 99.0


def end_slowly(fault: dict[str, Any]) -> None:
    fault['end_s'] = 99.0


@pytest.mark.parametrize(
    ('change', 'what'),
    [
        (leave_a_process, 'processes left'),
        (leave_a_file, 'files in shared memory left'),
        (lose_an_image, 'images neither answered nor counted'),
        (answer_wrongly, 'masks that were wrong, or of no image'),
        (stay_away, 'faults that were not recovered from'),
        (end_badly, 'exit codes other than the due one'),
        (recover_slowly, 'slowest recovery'),
        (end_slowly, 'slowest end, s'),
    ],
)
def test_verdict_names_what_went_wrong(
    seen: Campaign, change: Callable[[dict[str, Any]], None], what: str
) -> None:
    pieces = deepcopy(seen.pieces)
    change(pieces[-1]['faults'][0])
    broken = [v.what for v in seen.torture.verdicts(pieces) if not v.holds]
    assert any(found.startswith(what) for found in broken)


def test_every_kind_comes_once_in_each_deck(tmp_path: Path) -> None:
    torture = Faults(5, tmp_path)
    size = len(FAULTS)
    decks = [[torture.fault_of(i).name for i in range(n * size, n * size + size)] for n in (0, 1)]
    assert all(set(Counter(deck).values()) == {1} for deck in decks)
    assert decks[0] != decks[1]
    again = Faults(5, tmp_path)
    assert [again.fault_of(i).name for i in range(size)] == decks[0]


def break_a_promise(stage: Stage) -> None:
    raise AssertionError('as promised')


class BadFaults(Faults):
    faults = (
        Fault('promise broken', break_a_promise, of_node=False),
        Fault('burst of 1000 images', FewFaults.faults[1].cause),
    )


def test_fault_that_fails_is_told_and_the_next_one_done(tmp_path: Path) -> None:
    campaign = run(BadFaults, 0, tmp_path, 2)
    (piece,) = campaign.pieces
    faults = {fault['fault']: fault for fault in piece['faults']}
    assert faults['promise broken']['problem'] == 'AssertionError: as promised'
    assert not faults['promise broken']['recovered']
    assert faults['burst of 1000 images']['recovered']
    assert 'as promised' in str(campaign.torture.sections(campaign.pieces)[1].rows)
