"""Trains and evaluates every variant of a study, several seeds each, and tables what came out.

Everything is kept in one folder per variant and seed; a study that is started again goes on where
it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import json
import math
import os
from pathlib import Path
from statistics import mean, stdev
import subprocess
import sys
from typing import Any

import yaml

from dcfm_ros.files import write_json, write_text
from dcfm_ros.models.checkpoint import load_checkpoint, read_metadata
from dcfm_ros.training.ages import loss_by_age
from dcfm_ros.training.datasets import find_clips
from dcfm_ros.training.evaluate import evaluate_dataset
from dcfm_ros.training.evaluation.jobs import Options
from dcfm_ros.training.studies import Study, Variant
from dcfm_ros.training.workers import map_in_order


@dataclass(frozen=True, kw_only=True)
class EvaluationData:
    """What every trained network is evaluated on."""

    dataset: str
    root: Path
    split: str = 'val'
    interval: int = 2
    """Keyframe interval, frames."""
    mode: str = 'both'
    """'both' or 'past'."""


@dataclass(frozen=True)
class Run:
    """One training and its evaluation."""

    folder: Path
    config: Mapping[str, Any]
    """The training's yaml."""
    data: tuple[EvaluationData, ...]
    by_age: bool
    """Also measure the loss of non-key frames at the ages of the keyframe interval."""
    num_threads: int


def run_study(
    study: Study,
    configs: Sequence[Path],
    data: Sequence[EvaluationData],
    output: Path,
    seeds: Sequence[int] = (1, 2, 3),
    jobs: int = 1,
    ray_address: str | None = None,
) -> dict[str, Any]:
    """Train and evaluate all variants that are not there yet.

    Args:
        study: What to compare.
        configs: Training yamls, later ones on top of earlier ones.
        data: What to evaluate on; every figure is given for each.
        output: Folder of all runs, `<output>/<variant>/seed_<n>`; other studies of the same
            configuration may use it too and share the runs of the full model.
        seeds: One training of every variant for each.
        jobs: Trainings at the same time on this machine.
        ray_address: As in `workers.map_in_order`.

    Returns:
        {'study', 'columns', 'seeds', 'configs', 'data', 'rows'}; a row holds 'variant',
        'published' and, for each of the data by its name, {column: {'mean', 'std', 'values'}}.

    Raises:
        ValueError: If `output` holds a run of another configuration.
        RuntimeError: If a training fails; its log is named.
    """
    base: dict[str, Any] = {}
    for path in configs:
        base = merged(base, yaml.safe_load(Path(path).read_text(encoding='utf-8')))
    num_threads = max((os.cpu_count() or 1) // max(jobs, 1), 1)
    by_age = 'nonkey_loss' in study.columns
    runs = [
        Run(
            folder, _training_config(base, variant, seed, folder), tuple(data), by_age, num_threads
        )
        for variant in study.variants
        for seed in seeds
        for folder in [output / variant.folder / f'seed_{seed}']
    ]
    for run in runs:
        _claim(run)
    results = map_in_order(train_and_evaluate, runs, jobs, ray_address, 'trainings')
    rows = []
    for index, variant in enumerate(study.variants):
        own = results[index * len(seeds) : (index + 1) * len(seeds)]
        rows.append({
            'variant': variant.name,
            'published': dict(variant.published),
            **{name: _summary([result[name] for result in own], study) for name in own[0]},
        })  # fmt: skip
    return {
        'study': study.title,
        'columns': list(study.columns),
        'seeds': list(seeds),
        'configs': [str(path) for path in configs],
        'data': {data_name(item): [item.interval, item.mode] for item in data},
        'rows': rows,
    }


def train_and_evaluate(run: Run) -> dict[str, dict[str, Any]]:
    """Do what is not done yet of one run.

    Returns:
        By name of the data: the row of the evaluation, and 'nonkey_loss' if that is asked for.
    """
    weights = run.folder / 'last.safetensors'
    if not weights.exists():
        _train(run)
    rows = {}
    for item in run.data:
        name = data_name(item)
        path = run.folder / f'{name}.json'
        if not path.exists():
            height = read_metadata(weights).image_height or None
            figures = evaluate_dataset(
                weights,
                item.dataset,
                item.root,
                item.split,
                intervals=(item.interval,),
                mode=item.mode,
                floors=False,
                options=Options(height=height, streaming=False),
                threads=run.num_threads,
            )
            write_json(path, figures)
        figures = json.loads(path.read_text(encoding='utf-8'))
        rows[name] = engine_row(figures)
        if run.by_age and 'by_age' not in figures:
            figures['by_age'] = _by_age(weights, item)
            write_json(path, figures)
        if 'by_age' in figures:
            losses = [values['loss'] for values in figures['by_age'].values()]
            rows[name]['nonkey_loss'] = mean(losses)
    return rows


def _by_age(weights: Path, item: EvaluationData) -> dict[str, dict[str, float]]:
    """Loss and mIoU at the ages that a keyframe interval serves to non-key frames."""
    clips = find_clips(item.dataset, item.root, item.split)
    ages = range(1, item.interval)
    height = read_metadata(weights).image_height or None
    found = loss_by_age(load_checkpoint(weights), clips, ages, height)
    return {str(age): values for age, values in found.items()}


def engine_row(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The row of the engine at its keyframe interval among all rows of an evaluation."""
    [row] = [row for row in figures['rows'] if row['schedule'] == 'fixed']
    return dict(row)


def data_name(data: EvaluationData) -> str:
    """Name of an evaluation's file and of its columns."""
    return f'{data.dataset}_{data.split}_k{data.interval}_{data.mode}'


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


def as_markdown(figures: Mapping[str, Any]) -> str:
    """A table to read: mean and standard deviation over seeds, and what the paper prints."""
    columns, names = figures['columns'], list(figures['data'])
    head = ['variant', *(f'{column} ({name})' for name in names for column in columns)]
    head += [f'{column} (paper)' for column in columns]
    lines = [' | '.join(head), ' | '.join('---' for _ in head)]
    for row in figures['rows']:
        cells = [row['variant']]
        cells += [_cell(row[name][column]) for name in names for column in columns]
        cells += [f'{row["published"][c]:.3f}' if c in row['published'] else '' for c in columns]
        lines.append(' | '.join(cells))
    return '\n'.join(f'| {line} |' for line in lines)


def _cell(value: Mapping[str, Any]) -> str:
    if value['mean'] is None:
        return '-'
    return f'{value["mean"]:.3f} +- {value["std"]:.3f}'


def _summary(rows: Sequence[Mapping[str, Any]], study: Study) -> dict[str, Any]:
    summary = {}
    for column in study.columns:
        values = [math.nan if row.get(column) is None else float(row[column]) for row in rows]
        known = not any(map(math.isnan, values))
        summary[column] = {
            'mean': mean(values) if known else None,
            'std': stdev(values) if known and len(values) > 1 else 0.0 if known else None,
            'values': values if known else [row.get(column) for row in rows],
        }
    return summary


def _training_config(
    base: Mapping[str, Any], variant: Variant, seed: int, folder: Path
) -> dict[str, Any]:
    """The yaml of one run: variant and seed on top, everything that is written in `folder`."""
    own = {
        'seed_everything': seed,
        'data': {'seed': seed},
        'export': {'folder': str(folder)},
        'trainer': {'default_root_dir': str(folder)},
    }
    config = merged(merged(base, variant.changes), own)
    keep = 'ModelCheckpoint'
    callbacks = config['trainer'].get('callbacks') or []
    callbacks = [item for item in callbacks if not str(item['class_path']).endswith(keep)]
    state = {'dirpath': str(folder), 'filename': 'state', 'save_last': True}
    state['enable_version_counter'] = False
    callbacks.append({'class_path': f'lightning.pytorch.callbacks.{keep}', 'init_args': state})
    config['trainer'] = {**config['trainer'], 'callbacks': callbacks, 'logger': False}
    return config


def _claim(run: Run) -> None:
    """Write the run's yaml, or see that the one that is there is the same."""
    path = run.folder / 'train.yaml'
    text = yaml.safe_dump(dict(run.config), sort_keys=False)
    if path.exists():
        if path.read_text(encoding='utf-8') != text:
            msg = f'{path} is of another configuration'
            raise ValueError(f'`output` must be empty or hold runs of this configuration: {msg}')
        return
    write_text(path, text)


def _train(run: Run) -> None:
    state = run.folder / 'last.ckpt'
    command = [sys.executable, '-m', 'dcfm_ros.training.train', 'fit']
    command += ['--config', str(run.folder / 'train.yaml')]
    command += ['--ckpt_path', str(state)] if state.exists() else []
    environment = {**os.environ, 'OMP_NUM_THREADS': str(run.num_threads)}
    log = run.folder / 'train.log'
    with log.open('a', encoding='utf-8') as file:
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
    if done.returncode:
        last = log.read_text(encoding='utf-8', errors='replace').strip().splitlines()[-1:]
        raise RuntimeError(f'the training in {run.folder} failed, see {log}: {"".join(last)}')
