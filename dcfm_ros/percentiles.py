"""Percentiles of times, the same ones in every report."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

_SHARES = {'p50': 50, 'p95': 95, 'p99': 99, 'max': 100}


def percentiles(values: Iterable[float]) -> dict[str, float | None]:
    """The p50, p95, p99 and maximum of the values that are not nan; None if there are none."""
    known = np.array(list(values), np.float64)
    known = known[~np.isnan(known)]
    if not known.size:
        return dict.fromkeys(_SHARES)
    return dict(zip(_SHARES, np.percentile(known, list(_SHARES.values())).tolist(), strict=True))


def spread(values: Iterable[float]) -> dict[str, float | None]:
    """The mean and the percentiles of the values that are not nan; None if there are none."""
    known = [value for value in values if value == value]
    return {'mean': float(np.mean(known)) if known else None} | percentiles(known)
