"""Many recordings, a report for each and one for all; one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from dcfm_ros.files import into_folder, write_json, write_text
from dcfm_ros.masks.groups import read_groups_of
from dcfm_ros.replay.offline import OfflineOptions, replay_offline
from dcfm_ros.replay.pages.render import fleet_page
from dcfm_ros.replay.quality import RunQuality
from dcfm_ros.replay.recording import Recording
from dcfm_ros.replay.report import FORMAT_VERSION, write_report
from dcfm_ros.replay.run import ReplayRun
from dcfm_ros.replay.statistics import benchmark_statistics, run_statistics
from dcfm_ros.training.workers import map_in_order

Open = Callable[[str], Recording]


@dataclass(frozen=True)
class FleetResult:
    """What became of a recording."""

    source: str
    folder: Path
    """Of its report."""
    run: ReplayRun | None
    """Without its pictures; None if the recording failed."""
    error: str = ''
    """Why it failed."""


def replay_fleet(
    sources: Sequence[str],
    folder: Path,
    open_recording: Open,
    options: OfflineOptions,
    **workers: Any,
) -> dict[str, Any]:
    """Replay recordings and merge them; writes fleet.html, fleet.json and a folder for each.

    Args:
        sources: Names of recordings; equal folder names get a number.
        folder: Gets the reports.
        open_recording: Makes a recording of a name, in the process that replays it.
        options: How.
        workers: Who: `jobs`, `threads` and `ray_address` of `map_in_order`.

    Returns:
        The content of fleet.json: 'rows' (one per recording), 'failed', 'totals' (of all frames)
        and 'metadata'.

    Raises:
        FileNotFoundError: If the checkpoint or the file of groups is absent.
        CheckpointError: If the checkpoint cannot be used.
        ValueError: If the file of groups is wrong.
        OSError: If the fleet's report cannot be written.
        RuntimeError: If a worker was killed again and again.
    """
    read_groups_of(options.groups, options.checkpoint)  # else each recording would fail by it
    works = list(zip(sources, [folder / name for name in _names(sources)], strict=True))
    worker = partial(_replay, open_recording=open_recording, options=options)
    results = map_in_order(worker, works, description='replaying', uses_gpu=True, **workers)
    runs = [result.run for result in results if result.run is not None]
    first = runs[0].metadata if runs else {}
    shared = ('datetime', 'checkpoint', 'checkpoint_sha256', 'config')
    fleet = {
        'format_version': FORMAT_VERSION,
        'kind': 'fleet',
        'totals': _totals(runs) if runs else None,
        'rows': [_row(result) for result in results],
        'failed': [{'bag': r.source, 'error': r.error} for r in results if r.run is None],
        'metadata': {name: first[name] for name in shared if first},
    }
    with into_folder(folder) as part:
        write_text(part / 'fleet.html', fleet_page(fleet, runs))
        write_json(part / 'fleet.json', fleet)
    return fleet


def _replay(
    work: tuple[str, Path], *, open_recording: Open, options: OfflineOptions
) -> FleetResult:
    """Replay a recording and write its report; an error becomes part of the result."""
    source, folder = work
    try:
        with into_folder(folder) as part:
            run = replay_offline(open_recording(source), part / 'overlay.mp4', options)
            write_report(part, run)
    except Exception as error:
        return FleetResult(source, folder, None, str(error) or type(error).__name__)
    return FleetResult(source, folder, replace(run, snapshots=[]))


def _totals(runs: Sequence[ReplayRun]) -> dict[str, Any]:
    """Merged runs: counts add up, percentiles are over all frames, means weigh by frames."""
    recordings, names = [run.frames for run in runs], runs[0].class_names
    quality = RunQuality(len(names), runs[0].quality.groups)
    for run in runs:
        quality.merge(run.quality)
    return {
        **benchmark_statistics(recordings),
        **run_statistics(recordings),
        'accuracy': quality.accuracy_statistics(names),
        'fidelity': quality.fidelity_statistics(names),
        'cpu_s': sum(run.resources.cpu_s or 0.0 for run in runs),
        'recordings_with_losses': sum(bool(run.losses) for run in runs),
    }


def _row(result: FleetResult) -> dict[str, Any]:
    row = {'bag': result.source, 'report': result.folder.name, 'error': result.error}
    run = result.run
    if run is None:
        return row
    found = run_statistics([run.frames])
    accuracy = run.quality.accuracy_statistics(run.class_names) or {}
    fidelity = run.quality.fidelity_statistics(run.class_names) or {}
    return row | {
        'frames': found['frames_sent'],
        'keyframe_share': found['keyframe_share'],
        **{f'latency_ms_{n}': ms for n, ms in found['latency_ms'].items() if n != 'mean'},
        **{n: accuracy.get(n) for n in ('miou', 'group_miou', 'mvc8', 'streaming_miou')},
        'fidelity_miou': fidelity.get('miou'),
        'fidelity_group_miou': fidelity.get('group_miou'),
        'fidelity_pixels': fidelity.get('pixel_accuracy'),
        'gaps': found['stamps']['gaps'],
        'losses': run.losses,
        'peak_memory_mb': run.resources.peak_memory_mb,
        'hostname': run.metadata['hostname'],
        'sha256': run.metadata['data']['sha256'],
        'masks_sha256': run.masks_sha256,
    }


def _names(sources: Sequence[str]) -> list[str]:
    """Folder names: those of the recordings; a name that is taken gets a number."""
    names: list[str] = []
    for source in sources:
        name = Path(source).resolve().name
        wanted, number = name, 2
        while wanted in names:
            wanted, number = f'{name}_{number}', number + 1
        names.append(wanted)
    return names
