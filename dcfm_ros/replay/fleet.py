"""Many bags, a report for each and one for all; a bag that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dcfm_ros.files import write_json, write_text
from dcfm_ros.replay.figures import benchmark_figures, run_figures
from dcfm_ros.replay.offline import ReplayOptions, replay_bag
from dcfm_ros.replay.pages.fleet_page import fleet_html
from dcfm_ros.replay.quality import RunQuality
from dcfm_ros.replay.report import FORMAT_VERSION, report_folder, write_replay_report
from dcfm_ros.replay.run import ReplayRun
from dcfm_ros.training.workers import map_in_order


@dataclass(frozen=True)
class BagWork:
    """A bag, and the folder for its report."""

    bag: Path
    folder: Path


@dataclass(frozen=True)
class BagResult:
    """What became of a bag."""

    work: BagWork
    run: ReplayRun | None
    """Without its pictures; None if the bag failed."""
    error: str = ''
    """Why it failed."""


@dataclass(frozen=True)
class ReplayWork:
    """Replays one bag after the other, in whatever process it is called."""

    options: ReplayOptions

    def __call__(self, work: BagWork) -> BagResult:
        """Replay a bag and write its report; errors become part of the result."""
        try:
            with report_folder(work.folder) as part:
                run = replay_bag(work.bag, part, self.options)
                write_replay_report(part, run)
        except Exception as error:
            return BagResult(work, None, str(error) or type(error).__name__)
        return BagResult(work, replace(run, snapshots=[]))


def replay_fleet(
    bags: Sequence[Path],
    folder: Path,
    options: ReplayOptions,
    *,
    jobs: int = 1,
    threads: int | None = None,
    ray_address: str | None = None,
) -> dict[str, Any]:
    """Replay bags and merge their figures; writes fleet.html, fleet.json and a folder per bag.

    Args:
        bags: Two with the same name get folders with numbers behind.
        folder: Gets the reports.
        options: How.
        jobs: See `map_in_order`, like the next two.
        threads: Of each worker.
        ray_address: Where Ray is.

    Returns:
        The content of fleet.json: 'rows' (a bag each), 'failed', 'totals' (of all frames) and how
        it was done.

    Raises:
        OSError: If the fleet's report cannot be written.
        RuntimeError: If a worker was killed again and again.
    """
    works = [BagWork(bag, folder / name) for bag, name in zip(bags, _names(bags), strict=True)]
    results = map_in_order(
        ReplayWork(options), works, jobs, ray_address, 'replaying', threads=threads, uses_gpu=True
    )
    figures = fleet_figures(results)
    runs = [result.run for result in results if result.run is not None]
    with report_folder(folder) as part:
        write_text(part / 'fleet.html', fleet_html(figures, runs))
        write_json(part / 'fleet.json', figures)
    return figures


def fleet_figures(results: Sequence[BagResult]) -> dict[str, Any]:
    """Merge results: counts add up, percentiles are over all frames, means weigh by frames."""
    runs = [result.run for result in results if result.run is not None]
    totals: dict[str, Any] | None = None
    if runs:
        recordings = [run.frames for run in runs]
        quality = RunQuality(runs[0].quality.num_classes)
        for run in runs:
            quality.merge(run.quality)
        names = runs[0].class_names
        totals = {
            **benchmark_figures(recordings),
            **run_figures(recordings),
            'accuracy': quality.accuracy_figures(names),
            'fidelity': quality.fidelity_figures(names),
            'cpu_s': sum(run.resources.cpu_s or 0.0 for run in runs),
            'recordings_with_losses': sum(bool(run.losses) for run in runs),
        }
    return {
        'format_version': FORMAT_VERSION,
        'kind': 'fleet',
        'totals': totals,
        'rows': [_row(result) for result in results],
        'failed': [
            {'bag': str(result.work.bag), 'error': result.error}
            for result in results
            if result.run is None
        ],
        'metadata': {
            name: runs[0].metadata[name]
            for name in ('datetime', 'checkpoint', 'checkpoint_sha256', 'config')
        }
        if runs
        else {},
    }


def _row(result: BagResult) -> dict[str, Any]:
    row: dict[str, Any] = {
        'bag': str(result.work.bag),
        'report': result.work.folder.name,
        'error': result.error,
    }
    run = result.run
    if run is None:
        return row
    figures = run_figures([run.frames])
    accuracy = run.quality.accuracy_figures(run.class_names) or {}
    fidelity = run.quality.fidelity_figures(run.class_names) or {}
    return row | {
        'frames': figures['frames_sent'],
        'keyframe_share': figures['keyframe_share'],
        **{f'latency_ms_{name}': figures['latency_ms'][name] for name in _LATENCIES},
        'miou': accuracy.get('miou'),
        'mvc8': accuracy.get('mvc8'),
        'streaming_miou': accuracy.get('streaming_miou'),
        'fidelity_miou': fidelity.get('miou'),
        'fidelity_pixels': fidelity.get('pixel_accuracy'),
        'gaps': figures['stamps']['gaps'],
        'losses': run.losses,
        'peak_memory_mb': run.resources.peak_memory_mb,
        'hostname': run.metadata['hostname'],
        'sha256': run.metadata['data']['sha256'],
        'masks_sha256': run.masks_sha256,
    }


_LATENCIES = ('p50', 'p95', 'p99', 'max')


def _names(bags: Sequence[Path]) -> list[str]:
    """Folder names: the bags' own; those that were taken already get a number."""
    names: list[str] = []
    for bag in bags:
        name = bag.resolve().name
        wanted, number = name, 2
        while wanted in names:
            wanted, number = f'{name}_{number}', number + 1
        names.append(wanted)
    return names
