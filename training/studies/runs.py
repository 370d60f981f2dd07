"""One training of a study: its yaml, what it needs, and the process that does it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
import fcntl
import os
from pathlib import Path
import re
import subprocess
import sys
from typing import Any

import yaml

from dcfm_ros.files import write_text
from dcfm_ros.training.pretrained_packages import package_file
from dcfm_ros.training.studies.study_data import EvaluationData
from dcfm_ros.training.studies.variants import Variant
from dcfm_ros.training.workers import MAX_TRIES

WEIGHTS = 'last.safetensors'
"""What a training leaves in its folder."""


@dataclass(frozen=True)
class Run:
    """One training and its evaluation."""

    folder: Path
    config: Mapping[str, Any]
    """The training's yaml."""
    data: Mapping[str, EvaluationData]
    """By name."""
    by_age: bool
    """Also measure the loss of non-key frames at the ages of the keyframe interval."""
    num_threads: int


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` on top; what names another class takes none of the old arguments."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            same_class = value.get('class_path', old.get('class_path')) == old.get('class_path')
            result[key] = merged(old, value) if same_class else value
        else:
            result[key] = value
    return result


def training_config(
    base: Mapping[str, Any], variant: Variant, seed: int, folder: Path
) -> dict[str, Any]:
    """The yaml of one run: variant and seed on top, everything that is written in `folder`.

    Checkpoints that the yaml asks for are left out: `dcfm train` writes last.ckpt by itself.
    """
    own = {
        'seed_everything': seed,
        'data': {'seed': seed},
        'export': {'folder': str(folder)},
        'trainer': {'default_root_dir': str(folder)},
    }
    config = merged(merged(base, variant.changes), own)
    callbacks = _other_callbacks(config['trainer'])
    config['trainer'] = {**config['trainer'], 'callbacks': callbacks, 'logger': False}
    return config


def _other_callbacks(trainer: Mapping[str, Any]) -> list[Any]:
    """The callbacks of a yaml, one or several, by name or as tables, without checkpoints."""
    given = trainer.get('callbacks') or []
    several = given if isinstance(given, list) else [given]
    paths = [item.get('class_path') if isinstance(item, Mapping) else item for item in several]
    return [
        item
        for item, path in zip(several, paths, strict=True)
        if not str(path).endswith('ModelCheckpoint')
    ]


def check_inputs(run: Run, configs: Sequence[Path]) -> None:
    """Raise FileNotFoundError unless what a training reads is there, or the training itself."""
    if (run.folder / WEIGHTS).exists():
        return
    start = str(run.config.get('model', {}).get('initial_weights') or '').removeprefix('features:')
    if start.startswith('package:'):
        package_file(start.removeprefix('package:'))
    elif start and not start.startswith('timm:') and not Path(start).is_file():
        written = '\n'.join(path.read_text(encoding='utf-8') for path in configs)
        found = re.search(r'^#\s+(dcfm train .*(?:(?<=\\)\n#.*)*)', written, re.MULTILINE)
        command = re.sub(r'\s*\\\n#\s*', ' ', found[1]) if found else 'dcfm train fit ...'
        raise FileNotFoundError(
            f'no such file of initial weights: {start}; train it first:\n  {command}'
        )
    data = run.config['data']
    for source in [*data.get('train', ()), *filter(None, [data.get('validation')])]:
        root = source.get('root')
        if root is not None and not Path(root).is_dir():
            raise FileNotFoundError(
                f'no such folder of training data: {root} ({source.get("dataset")}); a further '
                '--config can name others'
            )


def claim(run: Run) -> None:
    """Write the run's yaml, or see that the one that is there is the same.

    Raises:
        ValueError: If it is of another configuration; where the folder lies is no part of it.
    """
    path = run.folder / 'train.yaml'
    text = yaml.safe_dump(dict(run.config), sort_keys=False)
    there = path.read_text(encoding='utf-8') if path.exists() else None
    if there is not None and _placeless(yaml.safe_load(there)) != _placeless(yaml.safe_load(text)):
        msg = f'{path} is of another configuration'
        raise ValueError(f'`output` must be empty or hold runs of this configuration: {msg}')
    if there != text:
        write_text(path, text)


def _placeless(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without what follows from the folder of its run."""
    parts = {name: dict(config.get(name) or {}) for name in ('export', 'trainer')}
    parts['export'].pop('folder', None)
    parts['trainer'].pop('default_root_dir', None)
    parts['trainer']['callbacks'] = _other_callbacks(parts['trainer'])
    return {**config, **parts}


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Hold the lock of the folder; wait while another process has it.

    Yields:
        The open lock. A training inherits it: one that outlives its worker is waited for by the
        next that comes.
    """
    with (folder / 'lock').open('w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def train(run: Run, lock: int) -> None:
    """Train in a process of its own, which inherits the lock, and again if it is killed.

    Raises:
        RuntimeError: If it fails, or leaves no `WEIGHTS`; the message names its log.
    """
    state, log = run.folder / 'last.ckpt', run.folder / 'train.log'
    environment = {**os.environ, 'OMP_NUM_THREADS': str(run.num_threads)}
    for _ in range(MAX_TRIES):
        command = [sys.executable, '-m', 'dcfm_ros.training.train', 'fit']
        command += ['--config', str(run.folder / 'train.yaml')]
        command += ['--ckpt_path', str(state)] if state.exists() else []
        with log.open('a', encoding='utf-8') as file:
            code = subprocess.run(
                command, stdout=file, stderr=subprocess.STDOUT, env=environment, pass_fds=[lock]
            ).returncode
        if code == 0 and (run.folder / WEIGHTS).exists():
            return
        if code >= 0:  # below: the number of the signal that killed it
            break
    how = 'failed' if code > 0 else f'was killed {MAX_TRIES} times'
    how = f'ended without {WEIGHTS}' if code == 0 else how
    last = log.read_text(encoding='utf-8', errors='replace').strip().splitlines()[-1:]
    raise RuntimeError(f'the training in {run.folder} {how}, see {log}: {"".join(last)}')
