"""The verb `dcfm bench`: speed side by side in one run, memory, and what the node adds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import sys
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from dcfm_ros.cli.options import (
    Device,
    Json,
    OptionalPath,
    OptionalText,
    parse_numbers,
    parse_size,
    print_rows,
    save_json,
    with_progress,
)

if TYPE_CHECKING:
    from pathlib import Path

    from dcfm_ros.benchmark.run import BenchOptions
    from dcfm_ros.benchmark.sections import Section

OptionalTexts = Optional[list[str]]  # noqa: UP045 - as in cli_options


def bench(
    model: Annotated[
        OptionalTexts,
        typer.Option(help='Preset (random weights) or weights; repeat for several.'),
    ] = None,
    size: Annotated[str, typer.Option(help='Height x width.')] = '480x853',
    backends: Annotated[str, typer.Option(help='As in the node; several with commas.')] = 'torch',
    intervals: Annotated[str, typer.Option(help='Keyframe intervals.')] = '2,6',
    frames: Annotated[
        int, typer.Option(min=1, help='Frames to measure, rounded up to whole intervals.')
    ] = 60,
    frames_from: Annotated[
        OptionalText, typer.Option(help='Video, image folder or bag; default: a synthetic drive.')
    ] = None,
    memory_frames: Annotated[
        int, typer.Option(min=0, help='Also run engines over so many frames for their memory.')
    ] = 0,
    node_frames: Annotated[
        int, typer.Option(min=0, help='Also play so many frames to the node for its memory.')
    ] = 0,
    ros_frames: Annotated[
        int, typer.Option('--ros', min=0, help='Also play so many to the node for its share.')
    ] = 0,
    transport_frames: Annotated[
        int,
        typer.Option(
            '--transport',
            min=0,
            help='Only send so many images per row over DDS: loss, latency and CPU at three '
            'sizes, with and without the Fast DDS profile. 180: about 4 minutes.',
        ),
    ] = 0,
    device: Device = 'auto',
    precision: Annotated[
        str, typer.Option(help='auto, fp32, bf16 or fp16; all but the plain order.')
    ] = 'auto',
    json_file: Json = None,
    markdown: Annotated[OptionalPath, typer.Option(help='Also write the tables here.')] = None,
) -> None:
    """Measure speed side by side in one run, on frames in order; compare with the paper."""
    from dcfm_ros.benchmark.run import BenchOptions, run_bench
    from dcfm_ros.benchmark.sections import sections

    if transport_frames:
        weights = (model or ['default'])[0]
        _bench_transport(transport_frames, weights, device, json_file, markdown)
        return
    options = BenchOptions(
        models=tuple(model or ['default']),
        size=parse_size(size),
        backends=tuple(name.strip() for name in backends.split(',')),
        intervals=tuple(parse_numbers('intervals', intervals, int)),
        frames=frames,
        device=device,
        precision=precision,
        frames_from=frames_from,
    )
    figures = run_bench(options, with_progress, typer.echo)
    save_json(json_file, figures)  # what is measured is kept if the rest fails
    _watch_processes(figures, options, memory_frames, node_frames, ros_frames)
    save_json(json_file, figures)
    _show(list(sections(figures)), markdown)


def _bench_transport(
    frames: int, weights: str, device: str, json_file: Path | None, markdown: Path | None
) -> None:
    from dcfm_ros.benchmark.transport import (
        TransportOptions,
        measure_transport,
        transport_sections,
    )
    from dcfm_ros.machine import machine

    options = TransportOptions(frames=frames, checkpoint=weights, device=device)
    figures: dict[str, Any] = {'machine': machine()}
    with _progress('images over DDS', options.rows) as advance:
        figures['transport'] = measure_transport(options, advance)
    save_json(json_file, figures)
    _show(transport_sections(figures), markdown)


def _show(tables: list[Section], markdown: Path | None) -> None:
    from dcfm_ros.benchmark.sections import cell, to_markdown
    from dcfm_ros.files import write_text

    for title, rows, note in tables:
        typer.echo(f'\n{title}\n{note}')
        print_rows([{key: cell(value) for key, value in row.items()} for row in rows])
    if markdown is not None:
        write_text(markdown, to_markdown(iter(tables)))


def _watch_processes(
    figures: dict[str, Any], options: BenchOptions, memory: int, node: int, ros: int
) -> None:
    """Add the figures of engines and nodes in processes of their own."""
    from dcfm_ros.benchmark.memory import SAMPLES, node_memory
    from dcfm_ros.benchmark.node_share import measure_node_share
    from dcfm_ros.benchmark.run import measure_memory
    from dcfm_ros.models.config import PRESETS

    if memory:
        total = len(options.models) * len(options.backends) * (1 + SAMPLES)
        with _progress('memory of the engines', total) as advance:
            figures['memory'] = measure_memory(options, memory, advance)
    if node:
        with _progress('memory of the node', node) as advance:
            figures['node_memory'] = node_memory(node, options.size, advance)
    if ros:
        weights = next((name for name in options.models if name not in PRESETS), 'default')
        with _progress('share of the node', ros) as advance:
            figures['node_share'] = measure_node_share(
                weights, ros, device=options.device, on_frame=advance
            )


@contextmanager
def _progress(text: str, total: int) -> Iterator[Callable[[], None]]:
    """Give what tells of a step that is done."""
    from rich.progress import Progress

    with Progress(transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(text, total=total)
        yield lambda: progress.advance(task)
