"""The verb `dcfm torture`."""

from __future__ import annotations

import json
from pathlib import Path

from command import dcfm
import pytest

pytest.importorskip('rclpy')
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


def test_unknown_test_is_refused() -> None:
    done = dcfm('torture', 'soap')
    assert done.returncode == 1
    assert done.stderr.startswith('dcfm: `test` must be one of soak, stream, ')
    assert done.stderr.endswith("got 'soap'\n")
