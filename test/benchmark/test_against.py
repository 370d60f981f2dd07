"""This build beside the one that is committed: the same, but for what is being worked on."""

from __future__ import annotations

import json
from pathlib import Path
import re
import subprocess
import sys

import pytest
from repository import ROOT

pytest.importorskip('rclpy')
pytest.importorskip('openvino')
pytestmark = [pytest.mark.dds, pytest.mark.slow]


def worktrees() -> str:
    command = ['git', 'worktree', 'list']
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(not (ROOT / '.git').exists(), reason='not a git checkout')
def test_nodes_and_streams_of_two_builds_are_measured(tmp_path: Path) -> None:
    output, before = tmp_path / 'against.json', worktrees()
    command = [sys.executable, '-m', 'dcfm_ros.benchmark.against', 'HEAD', '--output', str(output)]
    command += ['--nodes', '1', '--frames', '20', '--stream', '24', '--same-weights']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text())
    assert (found['commit'], found['interval'], found['same_weights']) == ('HEAD', 3, True)
    wanted = ['first_mask_s', 'memory_mb', 'latency_ms', 'stream_ms', 'key_ms', 'nonkey_ms']
    assert list(found['new']) == list(found['old']) == wanted
    for key, ratio in found['new / old'].items():
        assert ratio == pytest.approx(found['new'][key] / found['old'][key])
    assert worktrees() == before  # nothing is left behind


@pytest.mark.skipif(not (ROOT / '.git').exists(), reason='not a git checkout')
def test_tier_that_a_build_has_not_is_named_before_anything_runs() -> None:
    command = [sys.executable, '-m', 'dcfm_ros.benchmark.against', 'HEAD', '--tier', 'none']
    before = worktrees()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    told = ' '.join(re.sub('[─-╿]', ' ', done.stderr).split())  # out of its box
    assert 'has the tiers accurate, default, not none' in told
    assert worktrees() == before
