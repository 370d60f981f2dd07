"""A process that reads damaged files, so that what kills or stops it is an outcome, too.

``python -m dcfm_ros.torture.file_worker FOLDER`` takes a case as a line of JSON and answers with
another one; `Worker` is the other end.
"""

from __future__ import annotations

from contextlib import suppress
import json
import os
from pathlib import Path
import resource
import select
import shutil
import subprocess
import sys
from typing import Any

from dcfm_ros.files import new_folder
from dcfm_ros.torture.file_damage import Damage

MEMORY_MB = 512
"""What a file may take beyond what the process has before."""
_HARD_LIMIT_GB = 6
"""Address space beyond what the process has before, for the sake of the machine."""


class Worker:
    """Runs cases in a process, and in a new one after each that it did not survive.

    Args:
        whole: Has a folder for each kind, made by `make_whole`.
        folder: To work in; made, and to be removed by the caller.
        limit_s: For one case.
    """

    def __init__(self, whole: Path, folder: Path, limit_s: float) -> None:
        self._whole = whole
        self._folder = folder
        self._limit_s = limit_s
        self._process: subprocess.Popen[str] | None = None

    def run(self, damage: Damage) -> dict[str, Any]:
        """Do a case.

        Returns:
            'outcome', see `file_judge.OUTCOMES`, and its 'detail'.
        """
        process = self._process = self._process or self._start()
        assert process.stdin and process.stdout
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(damage) + '\n')
            process.stdin.flush()
        if not select.select([process.stdout], [], [], self._limit_s)[0]:
            self.close()
            return {'outcome': 'hang', 'detail': f'longer than {self._limit_s:g} s'}
        line = process.stdout.readline()
        if line:
            return dict(json.loads(line))
        code = process.wait(self._limit_s)
        self.close()
        return {'outcome': 'crash', 'detail': f'exit code {code}'}

    def close(self) -> None:
        """End the process."""
        if self._process:
            self._process.kill()
            self._process.communicate()
        self._process = None

    def _start(self) -> subprocess.Popen[str]:
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.copytree(self._whole, self._folder)
        command = [sys.executable, '-m', 'dcfm_ros.torture.file_worker', str(self._folder)]
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # where libraries complain about what they read
            text=True,
        )


def make_whole(folder: Path) -> dict[str, Path]:
    """Make a whole file of every kind, if it is not there; encoders differ from run to run.

    Returns:
        The files that are to be damaged, by kind.
    """
    from dcfm_ros.torture.file_kinds import KINDS

    for name, kind in KINDS.items():
        if not (folder / name).exists():
            with new_folder(folder / name) as part:
                kind.make(part)
    return {name: next((folder / name).glob(kind.target)) for name, kind in KINDS.items()}


class _Cases:
    """The other end: whole files by kind, and what reading them gives."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._whole: dict[str, tuple[Path, bytes, list[str]]] = {}

    def run(self, damage: Damage) -> tuple[str, str]:
        """Damage a file, read it, put it back."""
        from dcfm_ros.torture.file_hostile import hostile_files, mark
        from dcfm_ros.torture.file_judge import judge
        from dcfm_ros.torture.file_kinds import KINDS, read

        kind = KINDS[damage.kind]
        path, data, parts = self._whole_of(damage.kind)
        if damage.how == 'whole':
            damaged = list(hostile_files(damage.kind).values())[damage.place]
        else:
            damaged = damage.apply(data)
        path.write_bytes(damaged)
        before_mb = _reset_peak_mb()
        reading = read(kind, self._folder / damage.kind)
        taken_mb = _status_mb('VmHWM') - before_mb
        path.write_bytes(data)
        if mark().exists():
            mark().unlink()
            return 'executed', ''
        if taken_mb > MEMORY_MB:
            return 'memory', f'{taken_mb:.0f} MB'
        return judge(kind, path, parts, reading)

    def _whole_of(self, name: str) -> tuple[Path, bytes, list[str]]:
        from dcfm_ros.torture.file_kinds import KINDS, read

        if name not in self._whole:
            kind, folder = KINDS[name], self._folder / name
            (path,) = folder.glob(kind.target)
            reading = read(kind, folder)
            if reading.error or reading.notes:
                raise RuntimeError(f'{path} is not whole: {reading}')
            self._whole[name] = path, path.read_bytes(), reading.parts
        return self._whole[name]


def _status_mb(name: str) -> float:
    text = Path('/proc/self/status').read_text(encoding='ascii')
    (line,) = (line for line in text.splitlines() if line.startswith(f'{name}:'))
    return int(line.split()[1]) / 1e3


def _reset_peak_mb() -> float:
    """Begin to measure the peak of resident memory anew; what is resident, MB."""
    Path('/proc/self/clear_refs').write_text('5', encoding='ascii')
    return _status_mb('VmRSS')


def _main() -> None:
    cases = _Cases(Path(sys.argv[1]))
    # Libraries print what they like; the answers go where only they go.
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    for number, line in enumerate(sys.stdin):
        outcome, detail = cases.run(Damage(*json.loads(line)))
        answers.write(json.dumps({'outcome': outcome, 'detail': detail}) + '\n')
        answers.flush()
        if not number:  # by now everything is imported
            size = int(_status_mb('VmSize') * 1e6)
            limit = size + _HARD_LIMIT_GB * 10**9
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == '__main__':
    _main()
