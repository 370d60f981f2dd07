"""Trains and evaluates every variant of a study, several seeds each, and summarises them.

Everything is kept in one folder per variant and seed, so that a study resumes where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import json
from pathlib import Path
from statistics import mean
from typing import Any

import yaml

from dcfm_ros.backends.graphs import weights_key
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.files import write_json
from dcfm_ros.training.ablated_network import load_network, read_network_metadata
from dcfm_ros.training.evaluation.evaluate import evaluate_dataset
from dcfm_ros.training.evaluation.jobs import Options
from dcfm_ros.training.footage.class_files import load_label_set
from dcfm_ros.training.studies.ages import loss_by_age
from dcfm_ros.training.studies.runs import (
    WEIGHTS,
    Run,
    check_inputs,
    claim,
    locked,
    merged,
    train,
    training_config,
)
from dcfm_ros.training.studies.study_data import EvaluationData, named
from dcfm_ros.training.studies.study_table import RECORDED, summary, training_record
from dcfm_ros.training.studies.variants import Study
from dcfm_ros.training.workers import cores_per_job, map_in_order

_ENGINE = EngineOptions(backend='torch', precision='fp32')
"""The same for all rows: ablated networks run in PyTorch only, and 'auto' is int8 for some."""


def run_study(
    study: Study,
    configs: Sequence[Path],
    data: Sequence[EvaluationData],
    output: Path,
    seeds: Sequence[int] = (1, 2, 3),
    jobs: int = 1,
    ray_address: str | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Train and evaluate all variants that are not there yet.

    Everything that can be checked is checked before anything is trained.

    Args:
        study: What to compare.
        configs: Training yamls, later ones on top of earlier ones.
        data: What to evaluate on; every figure is given for each.
        output: Folder of all runs, `<output>/<variant>/seed_<n>`; studies of the same
            configuration may share it, and the full model in it.
        seeds: One training of every variant for each.
        jobs: Trainings at the same time on this machine.
        ray_address: As in `map_in_order`; a training takes a GPU of its own, if the cluster has
            any and the yaml's accelerator is not 'cpu'.
        threads: Of each training; None: the cores of this machine, shared out among the jobs.

    Returns:
        {'study', 'columns', 'seeds', 'configs', 'data', 'notes', 'rows'}; a row holds 'variant',
        'published' and, for each of the data by its name, {column: {'mean', 'std', 'values'}};
        'training' holds the same of `RECORDED`. Notes are those of the evaluations.

    Raises:
        FileNotFoundError: If a file or folder is absent.
        ValueError: If the data is incomplete or does not fit, or `output` holds a run of another
            configuration.
        RuntimeError: If a training fails; its log is named.
    """
    base: dict[str, Any] = {}
    for path in configs:
        base = merged(base, yaml.safe_load(Path(path).read_text(encoding='utf-8')))
    study = study.on(base)
    by_age = 'nonkey_loss' in study.columns
    output = output.resolve()  # a training may be started again from elsewhere
    labels = load_label_set(base['data'].get('labels', 'camvid'))  # the default of `PairData`
    for item in data:
        item.check(labels, by_age=by_age)
    by_name = named(data)
    threads = threads or cores_per_job(jobs)
    runs = [
        Run(folder, training_config(base, variant, seed, folder), by_name, by_age, threads)
        for variant in study.variants
        for seed in seeds
        for folder in [output / variant.folder / f'seed_{seed}']
    ]
    uses_gpu = (base.get('trainer') or {}).get('accelerator', 'auto') != 'cpu'
    for run in runs:
        check_inputs(run, configs)
    for run in runs:
        claim(run)
    options = {'threads': threads, 'uses_gpu': uses_gpu}
    results = map_in_order(train_and_evaluate, runs, jobs, ray_address, 'trainings', **options)
    return {
        'study': study.title,
        'columns': list(study.columns),
        'seeds': list(seeds),
        'configs': [str(path) for path in configs],
        'data': {name: [item.interval, item.mode] for name, item in by_name.items()},
        'notes': [f'{name}: {note}' for name in by_name for note in results[0][name]['notes']],
        'rows': _rows(study, len(seeds), runs, results),
    }


def _rows(
    study: Study, num_seeds: int, runs: Sequence[Run], results: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """A row per variant, over its seeds."""
    rows: list[dict[str, Any]] = []
    for index, variant in enumerate(study.variants):
        own = slice(index * num_seeds, (index + 1) * num_seeds)
        records = [training_record(run.folder / WEIGHTS) for run in runs[own]]
        row = {'variant': variant.name, 'published': dict(variant.published)}
        row['training'] = summary(records, RECORDED)
        for name in results[0]:
            row[name] = summary([result[name] for result in results[own]], study.columns)
        rows.append(row)
    return rows


def train_and_evaluate(run: Run) -> dict[str, dict[str, Any]]:
    """Do what is not done yet of one run.

    Returns:
        By name of the data: the row of the evaluation, its 'notes', and 'nonkey_loss' if that is
        asked for.
    """
    with locked(run.folder) as lock:
        if not (run.folder / WEIGHTS).exists():
            train(run, lock)
        return {name: _evaluate(run, name) for name in run.data}


def _evaluate(run: Run, name: str) -> dict[str, Any]:
    """Figures of one of the data, from its file if that is of the same data and weights."""
    item, path, weights = run.data[name], run.folder / f'{name}.json', run.folder / WEIGHTS
    evaluated = item.values() | {'weights': weights_key(weights), 'precision': _ENGINE.precision}
    figures: dict[str, Any] = {}
    if path.exists():
        figures = json.loads(path.read_text(encoding='utf-8'))
    if figures.get('evaluated') != evaluated:
        options = Options(streaming=False, engine=_ENGINE)
        threads = run.num_threads
        figures = evaluate_dataset(
            weights, item.choice, [item.setting], floors=False, options=options, threads=threads
        )
        figures['evaluated'] = evaluated
        write_json(path, figures)
    [row] = [row for row in figures['rows'] if row['schedule'] == 'fixed']
    row = row | {'notes': figures['notes']}
    if run.by_age:
        if 'by_age' not in figures:
            height = read_network_metadata(weights).image_height or None
            ages = range(1, item.interval)
            by_age = loss_by_age(load_network(weights), item.choice.find(), ages, height)
            figures['by_age'] = {str(age): values for age, values in by_age.items()}
            write_json(path, figures)
        row['nonkey_loss'] = mean(values['loss'] for values in figures['by_age'].values())
    return row
