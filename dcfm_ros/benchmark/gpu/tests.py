"""The tests that need a GPU, in a process of its own that is ended when its time is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
import tempfile
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
"""The repository; an installed package has no tests beside it."""
_OUTCOME = re.compile(r'^(\S+\.py::.*?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b', re.MULTILINE)
_PYTEST = """
import signal, sys, pytest
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
sys.exit(pytest.main(sys.argv[1:]))
"""
_HANGS_S = 60
"""A test that takes longer leaves the stacks of its threads in the output."""
_GRACE_S = 10
_KEPT = 20_000
"""Characters of the output that are kept."""


def gpu_test_files(folder: Path = ROOT / 'test') -> list[Path]:
    """Files with tests marked `gpu`.

    The others are not even collected: they import packages that a GPU machine need not have.
    """
    files = sorted(folder.rglob('test_*.py'))
    return [path for path in files if 'pytest.mark.gpu' in path.read_text(encoding='utf-8')]


def run_gpu_tests(files: Sequence[Path], limit_s: float) -> dict[str, Any]:
    """Run the tests marked `gpu` of some files.

    Args:
        files: Of one repository; its pytest settings apply.
        limit_s: After this time the tests are interrupted.

    Returns:
        'counts' (tests by outcome, 'passed' and others), 'failing' (names), 'exit_code' (of
        pytest, None if it was interrupted), and 'output' (its end; '' if it ended with 0).
    """
    command = [sys.executable, '-c', _PYTEST, '-m', 'gpu', '-v', '--tb=short']
    command += ['-p', 'no:cacheprovider', '-o', f'faulthandler_timeout={_HANGS_S}']
    environment = {**os.environ, 'PYTEST_DISABLE_PLUGIN_AUTOLOAD': '1', 'PYTHONUNBUFFERED': '1'}
    # To a file: a pipe that nobody reads would block the tests.
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(
            [*command, *map(str, files)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        exit_code = _wait(child, limit_s)
        log.seek(0)
        output = log.read().decode(errors='replace')
    outcomes = _OUTCOME.findall(output)
    return {
        'counts': dict(Counter(outcome.lower() for _, outcome in outcomes)),
        'failing': [name for name, outcome in outcomes if outcome in ('FAILED', 'ERROR')],
        'exit_code': exit_code,
        'output': output[-_KEPT:] if exit_code != 0 else '',
    }


def _wait(child: subprocess.Popen[bytes], limit_s: float) -> int | None:
    """The exit code, or None after ending the process and those that it started."""
    try:
        return child.wait(limit_s)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGINT)  # pytest still says what has failed, and where it is
    try:
        child.wait(_GRACE_S)
    except subprocess.TimeoutExpired:  # a kernel that never ends cannot be interrupted
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    return None
