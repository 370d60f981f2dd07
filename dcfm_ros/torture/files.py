"""Damaged files of every kind: refused by name, or read as far as stated, never a wrong figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
import shutil

import numpy as np

from dcfm_ros.benchmark.sections import Section
from dcfm_ros.torture.campaign import Piece, Torture, Verdict
from dcfm_ros.torture.file_damage import CUT_STEP, FLIPS, Damage, damages
from dcfm_ros.torture.file_hostile import hostile_files
from dcfm_ros.torture.file_judge import BAD, GOOD, OUTCOMES
from dcfm_ros.torture.file_kinds import KINDS
from dcfm_ros.torture.file_worker import MEMORY_MB, Worker, make_whole

_LIMIT_S = 60.0
_EXAMPLES = 5
"""Of bad outcomes, kept by piece."""


class Files(Torture):
    """Every kind of file, cut at every 997th byte and with a bit flipped at each of 2,000 places.

    The cases come in an order that mixes the kinds, which the seed decides; once all are done,
    flips at random places follow.
    """

    unit = 'files'
    full = 64_000
    piece = 500

    def begin(self, keep: ExitStack) -> None:
        """Make the whole files, and a place for the damaged ones."""
        make_whole(self._whole)
        damaged = self.folder / 'files_damaged'
        keep.callback(shutil.rmtree, damaged, ignore_errors=True)
        self._worker = Worker(self._whole, damaged, _LIMIT_S)
        keep.callback(self._worker.close)

    @cached_property
    def cases(self) -> list[Damage]:
        """All cuts, flips and files that were made to do harm, in their order."""
        found = []
        for number, (kind, size) in enumerate(self._sizes.items()):
            found += damages(kind, size, self.seed + number)
            found += [Damage(kind, 'whole', place) for place in range(len(hostile_files(kind)))]
        order = np.random.default_rng(self.seed).permutation(len(found))
        return [found[place] for place in order]

    @cached_property
    def _sizes(self) -> dict[str, int]:
        """Bytes of the whole files."""
        return {name: path.stat().st_size for name, path in make_whole(self._whole).items()}

    @property
    def _whole(self) -> Path:
        return self.folder / 'files_whole'

    def run_piece(self, begin: int, count: int) -> Piece:
        """Read `count` damaged files."""
        outcomes: Counter[str] = Counter()
        bad = []
        for damage in self._cases_of(begin, count):
            answer = self._worker.run(damage)
            outcomes[f'{damage.kind}/{damage.how}/{answer["outcome"]}'] += 1
            if answer['outcome'] in BAD:
                bad.append({**damage._asdict(), **answer})
        self._worker.close()  # each piece has a new process
        return {'outcomes': dict(sorted(outcomes.items())), 'bad': bad[:_EXAMPLES]}

    def verdicts(self, pieces: Sequence[Piece]) -> list[Verdict]:
        """Nothing of what may not happen."""
        totals: Counter[str] = Counter()
        for (_, _, outcome), count in _outcomes(pieces).items():
            totals[outcome] += count
        return [Verdict.zero(f'{name}: {OUTCOMES[name]}', totals[name]) for name in BAD]

    def sections(self, pieces: Sequence[Piece]) -> list[Section]:
        """Outcomes by kind of file and damage."""
        counts = _outcomes(pieces)
        rows = []
        for kind, how in sorted({key[:2] for key in counts}, key=_place):
            seen = {outcome: counts[kind, how, outcome] for outcome in OUTCOMES}
            others = sum(seen[name] for name in BAD)
            good = {name: seen[name] for name in GOOD}
            rows.append({'file': kind, 'damage': how, 'files': sum(seen.values()), **good,
                         'bad': others})  # fmt: skip
        tables = [Section('Files', rows, _NOTE)]
        bad = [case for piece in pieces for case in piece['bad']]
        return [*tables, Section('Bad', bad[:40])] if bad else tables

    def _cases_of(self, begin: int, count: int) -> list[Damage]:
        cases = self.cases[begin : begin + count]
        random = np.random.default_rng([self.seed, begin])
        while len(cases) < count:
            kind = list(self._sizes)[random.integers(len(self._sizes))]
            place, bit = int(random.integers(self._sizes[kind])), int(random.integers(8))
            cases.append(Damage(kind, 'flip', place, bit))
        return cases


def _outcomes(pieces: Sequence[Piece]) -> Counter[tuple[str, str, str]]:
    """Number of cases by kind, damage and outcome."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for piece in pieces:
        for key, count in piece['outcomes'].items():
            kind, how, outcome = key.split('/')
            counts[kind, how, outcome] += count
    return counts


def _place(key: tuple[str, str]) -> tuple[int, str]:
    return list(KINDS).index(key[0]), key[1]


_NOTE = (
    f'`cut`: at every {CUT_STEP}th byte; `flip`: one bit at each of {FLIPS:,} places, half '
    'of them in the first and last 8 KiB; `whole`: another file that was made to do harm. '
    + '; '.join(f'`{name}`: {OUTCOMES[name]}' for name in GOOD)
    + f'. Each is read in a process beside this one, within {_LIMIT_S:g} s and {MEMORY_MB} MB.'
)
