"""A process that is watched: how it ends, and what it leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import os
from pathlib import Path
import re
import signal
import subprocess
import time
from typing import ClassVar
import uuid

_SHARED = re.compile(r'/dev/shm/(?:fastrtps|fastdds)_\w+')
"""What Fast DDS has in shared memory, segments and ports. Not the semaphore of a port, 32 bytes,
which Fast DDS now and then leaves where two processes end at once, and uses again."""
_LOOK_S = 0.02
_SETTLE_S = 1.0
"""Until those that shared a port with a process have noticed its end: the last one removes it."""
_PATIENCE_S = 60.0
"""Until a process that does not end is killed: that is a failure in any case."""


@dataclass(frozen=True)
class Ending:
    """How a process ended."""

    code: int | None
    """Exit code; None: it had to be killed."""
    seconds: float
    """From the signal on."""
    strays: int
    """Processes that it had started and that outlived it."""
    left: tuple[str, ...] = ()
    """Files in shared memory that it had and that nobody uses any more."""

    @classmethod
    def none(cls) -> Ending:
        """Of something that was no process, and left nothing."""
        return cls(0, 0.0, 0)


class Watched:
    """A process with a mark in its environment, which those that it starts inherit.

    Args:
        command: What to run.
        log: Where its output goes.
        environment: Added to this process's own.
    """

    _shared_with_killed: ClassVar[set[str]] = set()
    """Ports that killed processes had open: the last user removes one, and counts them in."""

    def __init__(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._mark = f'DCFM_TORTURE_{uuid.uuid4().hex}'
        self._held: set[str] = set()
        # Fast DDS takes over what others have left.
        self._before = {str(path) for path in Path('/dev/shm').iterdir()}
        self.log = log
        with log.open('wb') as file:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {}), self._mark: '1'},
            )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def output(self) -> str:
        """What it has said."""
        return self.log.read_text(encoding='utf-8', errors='replace')

    def handles(self, number: signal.Signals) -> bool:
        """Whether it has a handler for a signal; before that it ends as the kernel has it."""
        try:
            status = Path(f'/proc/{self.pid}/status').read_text(encoding='ascii')
        except OSError:
            return False
        (caught,) = re.findall(r'^SigCgt:\s*(\w+)', status, re.MULTILINE)
        return bool(int(caught, 16) >> (number - 1) & 1)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._look()
        self._process.send_signal(number)

    def end(self, *numbers: signal.Signals) -> Ending:
        """Send signals, one after another, and wait for the end."""
        begin_s = time.monotonic()
        for number in numbers:
            self.send(number)
        return self.wait(begin_s)

    def wait(self, begin_s: float | None = None) -> Ending:
        """Wait for the end; `begin_s`: since when, s of the steady clock."""
        begin_s = time.monotonic() if begin_s is None else begin_s
        while self.is_running and time.monotonic() - begin_s < _PATIENCE_S:
            self._look()
            time.sleep(_LOOK_S)
        seconds, code = time.monotonic() - begin_s, self._process.poll()
        if code is None:
            self._process.kill()
            self._process.wait()
        strays = len(processes_with(self._mark))
        end_s = time.monotonic() + _SETTLE_S
        while (left := self._left()) and time.monotonic() < end_s:
            time.sleep(_LOOK_S)
        return Ending(code, seconds, strays, tuple(sorted(left)))

    def kill(self) -> None:
        """End it as a crash would; what it had in shared memory nobody but Fast DDS could free.

        What is its own goes although others have it mapped: it would be taken for theirs when they
        end.
        """
        self._look()
        opened = _open_files_of(self.pid)
        own = {path for path in self._held if f'{path}_el' in opened}
        self._shared_with_killed.update(path for path in self._held if '_port' in path)
        self._process.kill()
        self._process.wait()
        for path in self._left() | own | {f'{path}_el' for path in own}:
            Path(path).unlink(missing_ok=True)

    def _look(self) -> None:
        self._held |= _shared_memory_of(self.pid)

    def _left(self) -> set[str]:
        gone = {path for path in self._shared_with_killed if not Path(path).exists()}
        self._shared_with_killed.difference_update(gone)  # another one may get the name
        held = self._held - self._before - self._shared_with_killed
        left = {path for path in held if Path(path).exists()}
        if not left:
            return left
        pids = [int(path.name) for path in Path('/proc').iterdir() if path.name.isdigit()]
        return left.difference(*map(_shared_memory_of, pids))


def processes_with(mark: str) -> list[int]:
    """The processes that have a variable of that name in their environment."""
    found = []
    for folder in Path('/proc').iterdir():
        try:
            if folder.name.isdigit() and mark.encode() in (folder / 'environ').read_bytes():
                found.append(int(folder.name))
        except OSError:  # it has ended in the meantime, or is another user's
            continue
    return found


def _shared_memory_of(pid: int) -> set[str]:
    """What a process has mapped or open."""
    try:
        maps = Path(f'/proc/{pid}/maps').read_text(encoding='utf-8')
    except OSError:
        maps = ''
    return {path for text in {maps, *_open_files_of(pid)} for path in _SHARED.findall(text)}


def _open_files_of(pid: int) -> set[str]:
    """Among others the locks, `*_el`, of what is its own in shared memory."""
    found: set[str] = set()
    try:
        for link in Path(f'/proc/{pid}/fd').iterdir():
            found.add(str(link.readlink()))
    except OSError:
        pass
    return found
