"""The CUDA kernel in Triton's interpreter, on the CPU; on a GPU `test_engine` runs it for real."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip('triton', reason='Triton is not installed')

COMPARE = """
import numpy as np, torch
from dcfm_ros.backends.torch_masks import class_mask, confidence_map
from dcfm_ros.backends.triton_kernel import resized_argmax

torch.manual_seed(0)
for classes, grid, size in ((2, (9, 12), (35, 147)), (11, (5, 7), (5, 7)), (3, (6, 5), (4, 3))):
    planes = torch.randn(1, classes, *grid)
    for logits in (planes, planes.to(memory_format=torch.channels_last), planes.bfloat16()):
        mask, confidence = resized_argmax(logits, size, with_confidence=True)
        alone, nothing = resized_argmax(logits, size)
        assert nothing is None and torch.equal(mask, alone)
        expected = class_mask(logits.float(), size)
        assert np.mean(mask.numpy() != expected) < 0.005, (classes, size)
        difference = np.abs(confidence.numpy() - confidence_map(logits.float(), size))
        assert difference.max() < 1e-4, difference.max()
print('equal')
"""


@pytest.mark.slow
def test_kernel_gives_mask_and_confidence_of_the_cpu():
    done = subprocess.run(
        [sys.executable, '-c', COMPARE],
        env={'TRITON_INTERPRET': '1', 'PATH': '/usr/bin:/bin', 'PYTHONPATH': ':'.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout.strip() == 'equal', done.stderr
