"""One number of threads for OpenVINO, PyTorch and OpenCV, whichever is loaded when."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow
LATER = """
import sys

from dcfm_ros.threads import num_threads, set_num_threads, using_threads

set_num_threads(1)
assert 'torch' not in sys.modules and num_threads() == 1
import torch
torch.set_num_threads(3)  # as if PyTorch took so many by itself
from small_net import make_net
from dcfm_ros.backends.torch_backend import TorchBackend
TorchBackend(make_net(), 'cpu')
assert torch.get_num_threads() == num_threads() == 1
set_num_threads(0)
assert torch.get_num_threads() == num_threads() == 3
torch.set_num_threads(2)
TorchBackend(make_net(), 'cpu')
assert torch.get_num_threads() == num_threads() == 2  # nobody has set another number here
with using_threads(1):
    assert torch.get_num_threads() == num_threads() == 1
assert torch.get_num_threads() == num_threads() == 2
"""
ALONE = """
import os, sys

from dcfm_ros.threads import num_threads

assert 'torch' not in sys.modules
print(num_threads(), len(os.sched_getaffinity(0)))
"""


def run(code: str, **environment: str) -> str:
    support = [path for path in sys.path if path.endswith('support')]
    done = subprocess.run(
        [sys.executable, '-c', f'import sys; sys.path[:0] = {support}\n{code}'],
        env={'PATH': '/usr/bin', **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pytorch_takes_the_number_that_was_set_before_it_was_loaded() -> None:
    run(LATER)


def test_without_pytorch_the_environment_or_the_cores_decide() -> None:
    assert run(ALONE, OMP_NUM_THREADS='3').split()[0] == '3'
    found, cores = run(ALONE).split()
    assert found == cores
