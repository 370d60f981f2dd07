"""A torture test in pieces: what was seen is kept after each, and the same command goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
import json
import os
from pathlib import Path
import time
from typing import Any, ClassVar

from dcfm_ros.benchmark.sections import Section, machine_section
from dcfm_ros.machine import machine
from dcfm_ros.play.fastdds import packaged_profile, profile_in_use, use_profile

Piece = dict[str, Any]
"""What was seen in a piece: JSON. `Campaign` adds 'number', 'count', 'run' and 'seconds'."""


@dataclass(frozen=True)
class Verdict:
    """A figure, what it must be, and whether it is."""

    what: str
    figure: float | int | str
    allowed: str
    holds: bool

    @classmethod
    def at_most(cls, what: str, figure: float, limit: float) -> Verdict:
        """A figure that may not be above a limit."""
        return cls(what, figure, f'at most {limit:g}', figure <= limit)

    @classmethod
    def zero(cls, what: str, figure: int) -> Verdict:
        """A count of what may not happen."""
        return cls(what, figure, '0', figure == 0)


class Torture:
    """What is done to the software, piece by piece; a context while which its processes live.

    Pieces depend on the seed and on where they begin only, so that a run can be broken off.

    Args:
        seed: What all that is random in a piece comes from, with its beginning.
        folder: For logs and what the test writes; there already, and kept.
    """

    unit: ClassVar[str]
    """What is counted: 'images'."""
    full: ClassVar[int]
    """How many of them the whole test has."""
    piece: ClassVar[int]
    """How many of them make a piece, about a minute long."""
    needs_profile = False
    """Whether the nodes get the packaged Fast DDS profile, unless the user has set one."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed = seed
        self.folder = folder

    def begin(self, keep: ExitStack) -> None:
        """Start what lives as long as pieces are done; `keep` ends it, also if this fails."""

    def run_piece(self, begin: int, count: int) -> Piece:
        """Do a piece.

        Args:
            begin: How much of `unit` was done before.
            count: How much of `unit` it has; `piece`, or what is left of the whole.
        """
        raise NotImplementedError

    def verdicts(self, pieces: Sequence[Piece]) -> list[Verdict]:
        """What all pieces together show."""
        raise NotImplementedError

    def sections(self, pieces: Sequence[Piece]) -> list[Section]:
        """Tables beside the bars."""
        return []

    def __enter__(self) -> Torture:
        with ExitStack() as stack:
            if self.needs_profile and profile_in_use() is None:
                stack.callback(use_profile, None)
                use_profile(packaged_profile())
            self.begin(stack)
            self._keep = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._keep.close()


class Campaign:
    """Pieces of one test and the file that keeps them, a line of JSON each.

    Args:
        name: Of the test.
        torture: The test.
        count: How much of its unit in all.

    Raises:
        ValueError: If the file is of another seed, or is no such file.
    """

    def __init__(self, name: str, torture: Torture, count: int) -> None:
        self.name = name
        self.torture = torture
        self.count = count
        self._path = torture.folder / f'{name}.jsonl'
        self._facts = {'test': name, 'seed': torture.seed}
        self.pieces = self._read()

    @property
    def done(self) -> int:
        """How much of the count is done."""
        return sum(piece['count'] for piece in self.pieces)

    def run(self, minutes: float | None) -> Iterator[Piece]:
        """Do the pieces that are left, or as many as begin within some minutes.

        Yields:
            Each piece, when it is done and kept.
        """
        end_s = float('inf') if minutes is None else time.monotonic() + 60 * minutes
        if self.done >= self.count or minutes == 0:
            return
        number_of_run = 1 + max((piece['run'] for piece in self.pieces), default=-1)
        with self.torture:
            while self.done < self.count and time.monotonic() < end_s:
                count = min(self.torture.piece, self.count - self.done)
                began_s = time.monotonic()
                number = len(self.pieces)
                seen = self.torture.run_piece(self.done, count)
                passed_s = round(time.monotonic() - began_s, 2)
                facts = {'number': number, 'count': count, 'run': number_of_run}
                self._keep(facts | {'seconds': passed_s} | seen)
                yield self.pieces[-1]

    def results(self) -> dict[str, Any]:
        """Facts, verdicts and pieces as JSON, and whether all is done and holds."""
        verdicts = self.torture.verdicts(self.pieces) if self.pieces else []
        return {
            **self._facts,
            'count': self.count,
            'machine': machine(),
            'unit': self.torture.unit,
            'done': self.done,
            'seconds': round(sum(piece['seconds'] for piece in self.pieces), 1),
            'runs': len({piece['run'] for piece in self.pieces}),
            'holds': bool(verdicts) and all(verdict.holds for verdict in verdicts),
            'complete': self.done >= self.count,
            'verdicts': [vars(verdict) for verdict in verdicts],
            'pieces': self.pieces,
        }

    def sections(self, results: dict[str, Any]) -> list[Section]:
        """The results as tables."""
        names = ('test', 'seed', 'unit', 'count', 'done', 'runs', 'seconds')
        facts = {name: results[name] for name in names}
        return [
            Section('Verdicts', results['verdicts']),
            *(self.torture.sections(self.pieces) if self.pieces else []),
            Section('Run', [{'fact': name, 'value': value} for name, value in facts.items()]),
            machine_section(results['machine']),
        ]

    def _read(self) -> list[Piece]:
        text = self._path.read_text(encoding='utf-8') if self._path.exists() else ''
        whole = text[: text.rfind('\n') + 1]
        if not whole and json.dumps(self._facts).startswith(text):  # new, or had no place at once
            self._path.unlink(missing_ok=True)
            self._append(self._facts)
            return []
        if whole != text:  # broken off while a line was written
            os.truncate(self._path, len(whole.encode()))
        try:
            facts, *pieces = map(json.loads, whole.splitlines())
        except ValueError:
            raise ValueError(f'{self._path} keeps no torture test; move it away') from None
        if facts != self._facts:
            raise ValueError(
                f'{self._path} is of {facts}, not of {self._facts}: '
                'go on with these, or choose another folder'
            )
        return pieces

    def _keep(self, piece: Piece) -> None:
        self._append(piece)
        self.pieces.append(piece)

    def _append(self, line: dict[str, Any]) -> None:
        data = json.dumps(line).encode() + b'\n'
        try:
            with self._path.open('ab', buffering=0) as file:
                written = file.write(data)
                if written < len(data):  # no place for more; what is there is cut off later
                    file.write(data[written:])
                os.fsync(file.fileno())
        except OSError as error:
            raise OSError(error.errno, os.strerror(error.errno or 0), str(self._path)) from error
