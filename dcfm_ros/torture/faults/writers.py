"""Commands whose disk is full or read-only: an error that names the file, and nothing half."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
import os
from pathlib import Path
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
import uuid

from dcfm_ros.torture.faults.process import Ending, processes_with
from dcfm_ros.torture.faults.stage import Fault, Stage

_DCFM = (sys.executable, '-m', 'dcfm_ros.cli.main')
_SIZE = '--height 32'
_DATASET = f'--dataset folder --root {{labels}} --split train {_SIZE}'
_BENCH = 'bench --size 48x64 --frames 3 --device cpu'
WRITERS = {
    'synth': 'synth --output {out}/drive --size 48x64 --frames 4',
    'bag': 'bag {frames} --labels {masks} --output {out}/bag',
    'extract': 'extract {bag} --topic /camera/image_raw --output {out}/set',
    'segment': f'segment {{frames}} {_SIZE} --output {{out}}/overlay.mp4',
    'segment --masks': f'segment {{frames}} {_SIZE} --output {{ok}}/it.mp4 --masks {{out}}/masks',
    'segment --json': f'segment {{frames}} {_SIZE} --output {{ok}}/it.mp4 --json {{out}}/it.json',
    'replay': f'replay {{bag}} --topic /camera/image_raw {_SIZE} --report {{out}}/report',
    'pseudo-label': f'pseudo-label {{frames}} {_SIZE} --output {{out}}/labels',
    'evaluate --json': f'evaluate {_DATASET} --json {{out}}/it.json',
    'calibrate': f'calibrate {_DATASET} --output {{out}}/it.safetensors',
    'prepare': 'prepare default --output {out}/it.graphs',
    'pack': 'pack default --frames {frames} --output {out}/it.safetensors',
    'export': 'export default --size 48x64 --output {out}/onnx',
    'bench --json': f'{_BENCH} --json {{out}}/it.json',
    'bench --figures': f'{_BENCH} --figures {{out}}/figures',
    'torture': 'torture soak --minutes 0 --folder {out}/torture',
    'torture --figures': 'torture soak --minutes 0 --folder {ok}/torture --figures {out}/figures',
}
"""What of the command line writes; `{out}` has no place, `{ok}` has, the rest is in `_inputs`."""
WAYS = ('full', 'read-only', 'below a file')
"""In which a disk or a folder is of no use; the last: its name is that of a file."""
_TARGETS = ('overlay.mp4', 'it.json', 'it.graphs', 'it.safetensors')
"""Files that are there already, and must stay as they are."""
_IN_NAMESPACE = """
mount -t tmpfs -o size="$1" none "$2" || exit 99
cp -a "$3/." "$2" || exit 99
[ "$4" = full ] || mount -o remount,ro "$2" || exit 99
out="$2" after="$5"; shift 5
"$@"; code=$?
cp -a "$out/." "$after" || exit 99
exit $code
"""
_PAGE = 4096
_PATIENCE_S = 300.0
_ALL_WRITTEN = 0, 3
"""3: so does a torture test that is not done."""
_IN_PIECES = '.jsonl'
"""Grows, and what was cut off is done again, see `Campaign`."""


@dataclass(frozen=True)
class _Result:
    code: int
    text: str
    seconds: float
    strays: int


def write(stage: Stage, writer: str) -> Ending:
    """Run a command whose output has no place, in one of the ways.

    Raises:
        AssertionError: If it does not say so, leaves something, or changes what was there.
    """
    how = stage.random.choice(WAYS)
    work = stage.folder / 'faults_writers'
    inputs = _inputs(work)
    out, before, after = (work / name for name in ('out', 'before', 'after'))
    for folder in (out, before, after):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    for name in ('neighbour.txt', *_TARGETS):
        (before / name).write_text(f'{name} was there before\n', encoding='utf-8')
    words = [word.format(**inputs, ok=work / 'ok', out=out) for word in WRITERS[writer].split()]
    # The figures that `bench` has first are kept where those that it adds have no place.
    spare = 0 if writer == 'bench --json' else stage.random.choice([0, 0, 1, 4]) * _PAGE
    result = _where_it_fails(how, [*_DCFM, *words], (out, before, after), spare)
    if result.code in _ALL_WRITTEN and spare and how == 'full':  # it found a place
        return Ending(1, result.seconds, result.strays)
    assert 'Traceback' not in result.text, result.text[-2000:]
    assert str(out) in result.text, f'{how}: no file is named: {result.text[-500:]}'
    differing = {name for name, _ in _tree(before).items() ^ _tree(after).items()}
    assert not differing, f'{how}: left or changed: {sorted(differing)}; {result.text[-300:]}'
    return Ending(result.code, result.seconds, result.strays)


def _where_it_fails(
    how: str, command: Sequence[str], folders: tuple[Path, Path, Path], spare: int
) -> _Result:
    """Run a command that finds `before` in `out`; what it leaves there comes to `after`."""
    out, before, after = folders
    if how == 'below a file':
        out.rmdir()
        out.write_text('this is no folder\n', encoding='utf-8')
        shutil.copytree(before, after, dirs_exist_ok=True)
        result = _run(command)
        assert out.read_text(encoding='utf-8') == 'this is no folder\n'
        out.unlink()
        return result
    if _can_mount():
        size = sum(_PAGE for _ in before.iterdir()) + spare
        mounted = ('unshare', '-Urm', 'sh', '-c', _IN_NAMESPACE, 'sh', f'{max(size, _PAGE)}')
        return _run((*mounted, str(out), str(before), how, str(after), *command))
    shutil.copytree(before, out, dirs_exist_ok=True)
    if how == 'full':
        limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (spare, spare))
        result = _run(command, limit)
    else:
        out.chmod(0o555)
        as_user = ('setpriv', '--bounding-set', '-dac_override') if os.geteuid() == 0 else ()
        result = _run((*as_user, *command))
        out.chmod(0o755)
    shutil.copytree(out, after, dirs_exist_ok=True)
    return result


def _run(command: Sequence[str], prepare: Callable[[], None] | None = None) -> _Result:
    mark, begin_s = f'DCFM_TORTURE_{uuid.uuid4().hex}', time.monotonic()
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
            env={**os.environ, mark: '1'},
            preexec_fn=prepare,
            check=False,
            timeout=_PATIENCE_S,
        )
    except subprocess.TimeoutExpired as error:
        for pid in processes_with(mark):
            os.kill(pid, signal.SIGKILL)
        raise TimeoutError(f'not done after {_PATIENCE_S:.0f} s: {shlex.join(command)}') from error
    seconds = time.monotonic() - begin_s
    assert done.returncode != 99, done.stdout
    return _Result(done.returncode, done.stdout, seconds, len(processes_with(mark)))


def _can_mount() -> bool:
    """Whether a disk of a few pages can be had: containers often forbid it."""
    script = 'mount -t tmpfs -o size=4096 none /mnt'
    command = ('unshare', '-Urm', 'sh', '-c', script)
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _inputs(work: Path) -> dict[str, Path]:
    """What the commands read, made by some of them."""
    drive = work / 'drive'
    made = {
        'frames': drive / 'frames',
        'masks': drive / 'masks',
        'bag': work / 'bag',
        'labels': work / 'labels',
    }
    for target, words in (
        (drive, f'synth --output {drive} --size 48x64 --frames 4'),
        (made['bag'], f'bag {made["frames"]} --labels {made["masks"]} --output {made["bag"]}'),
        (made['labels'], f'pseudo-label {made["frames"]} --height 32 --output {made["labels"]}'),
    ):
        if not target.exists():
            work.mkdir(exist_ok=True)
            done = _run([*_DCFM, *words.split()])
            assert done.code == 0, done.text[-2000:]
    return made


def _tree(folder: Path) -> dict[str, bytes]:
    """Content of every file below a folder that may not be there in part, and hidden folders."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b''
        for path in folder.rglob('*')
        if (path.is_file() and path.suffix != _IN_PIECES) or path.name.startswith('.')
    }


FAULTS = tuple(
    Fault(f'no place: {writer}', partial(write, writer=writer), due_code=1, of_node=False)
    for writer in WRITERS
)
