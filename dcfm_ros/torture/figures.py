"""Figures over many pieces: latencies that are kept as counts, and tenths of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
import math

from dcfm_ros.torture.campaign import Piece

_BINS_PER_E = 50
"""Latencies within 2 % of each other are counted together."""


def latency_bin(ms: float) -> int:
    """Where a latency is counted, ms, above 0."""
    return round(math.log(ms) * _BINS_PER_E)


def latency_ms(pieces: Sequence[Piece], percent: float) -> float:
    """A percentile of the 'latencies' of pieces, within 1 %, ms; nan if there are none."""
    counts: Counter[int] = Counter()
    for piece in pieces:
        counts.update({int(key): value for key, value in piece['latencies'].items()})
    left = counts.total() * percent / 100
    for key in sorted(counts):
        left -= counts[key]
        if left <= 0:
            return math.exp(key / _BINS_PER_E)
    return math.nan


def tenths_by_run(pieces: Sequence[Piece]) -> Iterator[tuple[int, list[list[Piece]]]]:
    """Number and tenths of each run that has at least ten pieces."""
    for run, members in groupby(pieces, lambda piece: piece['run']):
        found = list(members)
        if len(found) >= 10:
            cuts = [round(len(found) * tenth / 10) for tenth in range(11)]
            yield run, [found[a:b] for a, b in pairwise(cuts)]


def mean_of(pieces: Sequence[Piece], name: str) -> float:
    """Mean of a figure of pieces."""
    return sum(float(piece[name]) for piece in pieces) / len(pieces)


def most_of(pieces: Sequence[Piece], name: str) -> int:
    """The largest of a count of pieces."""
    return max(int(piece[name]) for piece in pieces)
