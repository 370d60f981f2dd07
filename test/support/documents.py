"""Fenced blocks of the documents, run in bash as they stand there.

A command finds what it needs in a folder of its own, the stage. `dcfm` runs in this process, with
options that make it short. Programs that no test machine has (`ros2`, `rosdep`, ...) have
stand-ins that check their arguments against what the package declares, or do the real thing in
another way. A program that is neither is an error: nothing is skipped in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
import json
import os
from pathlib import Path
import re
import socket
import subprocess
import sys
import time

from command import Outcome, dcfm
from repository import ROOT

Program = Callable[['Call'], Outcome]
OK = Outcome(0, '', '')
_CLIENT = """
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as line:
    line.connect(sys.argv[1])
    call = {'words': sys.argv[2:], 'folder': os.getcwd(), 'environment': dict(os.environ)}
    line.sendall(json.dumps(call).encode() + b'\\n')
    answer = json.loads(line.makefile().readline())
sys.stdout.write(answer[1])
sys.stderr.write(answer[2])
sys.exit(answer[0])
"""


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    document: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f'{self.document}:{self.line}'


@dataclass(frozen=True)
class Call:
    """A program that a block has called."""

    words: list[str]
    folder: Path
    environment: Mapping[str, str]

    def refused(self, why: str) -> Outcome:
        """The outcome of a call that the package does not bear out."""
        return Outcome(2, '', f'{" ".join(self.words)}: {why}\n')


def documents() -> list[Path]:
    """README, CONTRIBUTING, docs and the cards of the weights."""
    paths = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md']
    for folder in ('docs', 'models/weights'):
        paths += sorted((ROOT / folder).glob('*.md'))
    return paths


def blocks_of(path: Path) -> list[Block]:
    """The fenced blocks of a document, in order."""
    text = path.read_text(encoding='utf-8')
    name = path.relative_to(ROOT).as_posix()
    return [
        Block(name, text[: found.start()].count('\n') + 1, found[1].partition(' ')[0], found[2])
        for found in re.finditer(r'^```([^\n]*)\n(.*?)^```$', text, re.MULTILINE | re.DOTALL)
    ]


class Stage:
    """A folder in which blocks are run one after another."""

    def __init__(self, folder: Path, programs: Mapping[str, Program]) -> None:
        self.folder = folder
        self._programs = programs
        self._client = folder / '.client.py'
        self._client.write_text(_CLIENT, encoding='utf-8')
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(folder / '.line'))
        self._server.listen()
        self._server.settimeout(0.05)

    def close(self) -> None:
        """Stop listening."""
        self._server.close()

    def run(self, block: Block, limit_s: float = 300.0) -> str:
        """Run a block of shell commands to its end; its output. AssertionError if one fails."""
        client = f'{sys.executable} -S {self._client} {self.folder / ".line"}'
        functions = ''.join(f'{name}() {{ {client} {name} "$@"; }}\n' for name in self._programs)
        environment = {**os.environ, 'HOME': str(self.folder), 'ROS_DISTRO': 'jazzy'}
        environment |= {'NODE_RANK': '0', 'MASTER': '127.0.0.1'}
        log = self.folder / '.log'
        with log.open('w', encoding='utf-8') as file:
            process = subprocess.Popen(
                ['bash', '-eo', 'pipefail', '-c', functions + block.text],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
            end = time.monotonic() + limit_s
            while process.poll() is None and time.monotonic() < end:
                self._answer()
            process.kill()
        output = log.read_text(encoding='utf-8')
        assert process.wait() == 0, f'{block}\n{block.text}\n{output}'
        return output

    def _answer(self) -> None:
        """Serve one call, if there is one."""
        try:
            line, _ = self._server.accept()
        except TimeoutError:
            return
        with line:
            asked = json.loads(line.makefile().readline())
            call = Call(asked['words'], Path(asked['folder']), asked['environment'])
            before = Path.cwd()
            os.chdir(call.folder)
            try:
                done = self._programs[call.words[0]](call)
            except Exception as error:
                done = call.refused(repr(error))
            finally:
                os.chdir(before)
            answer = [done.returncode, done.stdout, done.stderr]
            line.sendall(json.dumps(answer).encode() + b'\n')


def short_dcfm(options: Mapping[str, str]) -> Program:
    """`dcfm` with options that make it short, by the verb and an option that they need.

    They override those before them.
    """

    def run(call: Call) -> Outcome:
        words = call.words[1:]
        added: list[str] = []
        for key, more in options.items():
            verb, *needed = key.split()
            if words[:1] == [verb] and set(needed) <= set(words):
                added += more.split()
        return dcfm(*words, *added)

    return run
