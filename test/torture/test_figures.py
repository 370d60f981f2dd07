"""Latencies that are kept as counts, and tenths of runs."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from dcfm_ros.torture.figures import latency_bin, latency_ms, tenths_by_run


def piece(values: list[float], run: int = 0) -> dict[str, Any]:
    counts = Counter(map(latency_bin, values))
    return {'run': run, 'latencies': {str(key): count for key, count in counts.items()}}


@pytest.mark.parametrize('percent', [1, 50, 95, 99, 100])
def test_percentiles_of_counts_are_those_of_the_values(percent: int) -> None:
    values = np.random.default_rng(0).lognormal(1.0, 1.0, 5000)
    found = latency_ms([piece(list(values[:2000])), piece(list(values[2000:]))], percent)
    assert found == pytest.approx(np.percentile(values, percent), rel=0.02)


def test_no_latency_has_no_percentile() -> None:
    assert np.isnan(latency_ms([piece([])], 99))


def test_each_run_has_its_own_tenths() -> None:
    pieces = [piece([], 0)] * 9 + [piece([], 1)] * 25 + [piece([], 2)] * 10
    found = dict(tenths_by_run(pieces))
    assert list(found) == [1, 2]
    assert sum(map(len, found[1])) == 25
    assert [len(tenth) for tenth in found[2]] == [1] * 10
