"""The verb `dcfm torture`."""

from __future__ import annotations

import json
from pathlib import Path
import signal
import sys

from command import dcfm
import pytest

pytest.importorskip('rclpy')

from running_node import wait_for

from dcfm_ros.torture.faults.process import Watched

pytestmark = pytest.mark.dds


def test_torture_goes_on_and_ends_with_a_verdict(tmp_path: Path) -> None:
    arguments = ['torture', 'soak', '--count', '40', '--folder', str(tmp_path / 'kept')]
    early = dcfm(*arguments, '--minutes', '0')
    assert early.returncode == 3
    assert '0 of 40 images: the same command goes on' in early.stdout
    done = dcfm(*arguments, '--figures', str(tmp_path))
    assert done.returncode == 0, done.stdout
    results = json.loads((tmp_path / 'torture_soak.json').read_text())
    assert (results['done'], results['holds'], results['complete']) == (40, True, True)
    assert 'images neither answered nor counted' in (tmp_path / 'torture_soak.md').read_text()


def test_torture_that_is_told_to_end_leaves_no_process(tmp_path: Path) -> None:
    command = [sys.executable, '-m', 'dcfm_ros.cli.main', 'torture', 'soak', '--folder']
    log = tmp_path / 'soak_96x128.log'
    process = Watched([*command, str(tmp_path)], tmp_path / 'output')
    wait_for(lambda: log.exists() and 'ready on cpu' in log.read_text(), 'its node')
    ending = process.end(signal.SIGTERM)
    assert (ending.code, ending.strays) == (128 + signal.SIGTERM, 0)


def test_unknown_test_is_refused() -> None:
    done = dcfm('torture', 'soap')
    assert done.returncode == 1
    assert done.stderr.startswith('dcfm: `test` must be one of soak, stream, ')
    assert done.stderr.endswith("got 'soap'\n")
