"""Commands without a place to write, and whether a bad one would be noticed."""

from __future__ import annotations

from pathlib import Path
from random import Random
import sys
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip('rclpy')

from dcfm_ros.torture.faults import writers
from dcfm_ros.torture.faults.process import Ending


class Choosing(Random):
    """Chooses a way, and no place at all."""

    def __init__(self, way: str) -> None:
        super().__init__(0)
        self._way = way

    def choice(self, seq: Any) -> Any:
        return self._way if self._way in seq else seq[0]


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its inputs are made once."""
    return tmp_path_factory.mktemp('writers')


def write(folder: Path, writer: str, way: str) -> Ending:
    stage: Any = SimpleNamespace(folder=folder, random=Choosing(way))
    return writers.write(stage, writer)


@pytest.mark.slow
@pytest.mark.parametrize('mounts', [True, False])
@pytest.mark.parametrize('way', writers.WAYS)
@pytest.mark.parametrize('writer', ['synth', 'segment', 'torture'])
def test_command_without_a_place_says_so_and_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, writer: str, way: str, mounts: bool
) -> None:
    if not mounts:
        monkeypatch.setattr(writers, '_can_mount', lambda: False)
    elif not writers._can_mount():
        pytest.skip('no disk of a few pages can be had here')
    ending = write(folder, writer, way)
    assert (ending.code, ending.strays) == (1, 0)


BAD = {
    'says nothing': 'sys.exit(1)',
    'has a traceback': 'open(sys.argv[1] + "/no/such")',
    'leaves half a file': 'open(sys.argv[1] + "/half", "w"); sys.exit(sys.argv[1])',
    'breaks what was there': 'open(sys.argv[1] + "/it.json", "w"); sys.exit(sys.argv[1])',
}


@pytest.mark.slow
@pytest.mark.parametrize('what', BAD)
def test_bad_command_is_noticed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    write(folder, 'synth', 'full')  # makes the inputs
    script = tmp_path / 'bad.py'
    script.write_text(f'import sys\n{BAD[what]}\n')
    monkeypatch.setattr(writers, '_DCFM', (sys.executable, str(script)))
    monkeypatch.setitem(writers.WRITERS, 'bad', '{out}')
    with pytest.raises(AssertionError):
        write(folder, 'bad', 'full')
