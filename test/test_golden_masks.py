"""The packaged network's masks are those of the first release, on any machine."""

from __future__ import annotations

from engines import ages, reasons
from golden_masks import CASES, read_strip, run_case
import numpy as np
import pytest

EXPECTED = {
    'sync': ({3: 'interval', 6: 'interval'}, [0, 1, 2, 0, 1, 2, 0, 1]),
    'amortised': ({3: 'interval', 6: 'interval'}, [0, 1, 2, 3, 4, 2, 3, 4]),
    'adaptive': ({4: 'change', 7: 'change'}, [0, 1, 2, 3, 0, 1, 2, 0]),
    'flow': ({5: 'interval'}, [0, 1, 2, 3, 4, 0, 1, 2]),
    'blended': ({3: 'interval', 6: 'interval'}, [0, 1, 2, 0, 1, 2, 0, 1]),
}
"""Reasons of the keyframes after the first, and ages of the features."""


@pytest.mark.parametrize('case', CASES)
def test_masks_are_those_of_the_first_release(case):
    results = run_case(case, read_strip('frames'))
    later, expected_ages = EXPECTED[case]
    assert reasons(results) == ['first', *(later.get(index, '') for index in range(1, 8))]
    assert ages(results) == expected_ages
    for result, expected in zip(results, read_strip(case), strict=True):
        assert np.mean(result.mask == expected) >= 0.999  # the rest is rounding of the CPU


def test_the_cases_differ():
    """Else the comparison above could not tell them apart."""
    masks = {case: np.stack(read_strip(case)) for case in CASES}
    for one in CASES:
        for other in CASES:
            assert one == other or np.mean(masks[one] == masks[other]) < 0.98
