"""The verb `dcfm bench`: speed side by side in one run, memory, and what the node adds."""

from __future__ import annotations

from pathlib import Path
import shlex
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dcfm_ros.cli.options import (
    Json,
    OptionalPath,
    OptionalText,
    OptionalTexts,
    parse_numbers,
    parse_size,
    print_rows,
    save_json,
    takes_options,
    with_progress,
)
from dcfm_ros.engine_options import EngineOptions

if TYPE_CHECKING:
    from rich.status import Status

    from dcfm_ros.benchmark.run import BenchOptions
    from dcfm_ros.benchmark.sections import Section


@takes_options('device', 'precision')
def bench(
    model: Annotated[
        OptionalTexts,
        typer.Option(help='Preset (random weights) or weights; repeat for several.'),
    ] = None,
    size: Annotated[str, typer.Option(help='Height x width.')] = '480x853',
    backends: Annotated[str, typer.Option(help='torch, openvino or both, comma-separated.')] = (
        'torch'
    ),
    intervals: Annotated[str, typer.Option(help='Keyframe intervals, comma-separated.')] = '2,6',
    frames: Annotated[
        int, typer.Option(min=1, help='Frames to measure, rounded up to whole intervals.')
    ] = 60,
    frames_from: Annotated[
        OptionalText, typer.Option(help='Video, image folder or bag; default: a synthetic drive.')
    ] = None,
    memory_frames: Annotated[
        int,
        typer.Option('--memory', min=0, help='Then watch the memory of engines over N frames.'),
    ] = 0,
    ros_frames: Annotated[
        int,
        typer.Option(
            '--ros', min=0, help='Then play N frames to the node: its share of time, its memory.'
        ),
    ] = 0,
    transport_frames: Annotated[
        int,
        typer.Option(
            '--transport',
            min=0,
            help='Instead, send N images per row over DDS: loss, latency and CPU at three sizes, '
            'with and without the Fast DDS profile. 180: about 2 minutes.',
        ),
    ] = 0,
    figures: Annotated[
        OptionalPath, typer.Option(help='Folder to write the tables to, as .md and .json.')
    ] = None,
    json_file: Json = None,
    *,
    engine: EngineOptions,
) -> None:
    """Measure speed side by side in one run, on frames in order."""
    from dcfm_ros.benchmark.run import BenchOptions, run_bench
    from dcfm_ros.benchmark.sections import sections

    if transport_frames:
        results, tables = _bench_transport(transport_frames)
        save_json(json_file, results)
        _show(results, tables, figures, 'transport')
        return
    options = BenchOptions(
        models=tuple(model or ['default']),
        size=parse_size(size),
        backends=tuple(name.strip() for name in backends.split(',')),
        intervals=tuple(parse_numbers('intervals', intervals, int)),
        frames=frames,
        frames_from=frames_from,
        engine=engine,
    )
    results = run_bench(options, with_progress)
    save_json(json_file, results)  # kept if the rest fails
    _watch_processes(results, options, memory_frames, ros_frames)
    save_json(json_file, results)
    name = '_'.join(['bench', *(Path(model).stem for model in options.models)])
    _show(results, list(sections(results)), figures, name)


def _bench_transport(frames: int) -> tuple[dict[str, Any], list[Section]]:
    from dcfm_ros.benchmark.transport import measure_transport, transport_sections
    from dcfm_ros.machine import machine

    results: dict[str, Any] = {'machine': machine()}
    with _status('sending images over DDS'):
        results['transport'] = measure_transport(frames)
    return results, transport_sections(results)


def _watch_processes(
    results: dict[str, Any], options: BenchOptions, memory: int, ros: int
) -> None:
    """Add the figures of engines and of a node in processes of their own."""
    from dcfm_ros.benchmark.node_share import measure_node_share
    from dcfm_ros.benchmark.run import measure_memory
    from dcfm_ros.models.config import PRESETS

    if memory:
        with _status('watching the memory of the engines'):
            results['memory'] = measure_memory(options, memory)
    if ros:
        weights = next((name for name in options.models if name not in PRESETS), 'default')
        with _status('playing frames to the node'):
            device = options.engine.device
            results['node_share'] = measure_node_share(weights, ros, device=device)


def _show(results: dict[str, Any], tables: list[Section], folder: Path | None, name: str) -> None:
    from dcfm_ros.benchmark.sections import cell, write_figures

    for title, rows, note in tables:
        typer.echo(f'\n{title}\n{note}')
        print_rows([{key: cell(value) for key, value in row.items()} for row in rows])
    if folder is not None:
        command = shlex.join(['dcfm', *sys.argv[1:]])
        for path in write_figures(folder, name, command, results, tables):
            typer.echo(f'wrote {path}')


def _status(text: str) -> Status:
    """Shows in a terminal that a step without progress is running."""
    from rich.console import Console

    return Console(stderr=True).status(text)
