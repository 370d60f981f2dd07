from __future__ import annotations

import numpy as np
import pytest

from dcfm_ros.masks.confidence import is_sure


@pytest.mark.parametrize('value', [1, 51, 128, 254, 255])
def test_the_limit_itself_is_enough(value: int) -> None:
    confidence = np.array([[value, value - 1]], np.uint8)
    assert is_sure(confidence, value / 255).tolist() == [[True, False]]


def test_a_fifth_is_51() -> None:
    assert is_sure(np.array([50, 51], np.uint8), 0.2).tolist() == [False, True]
