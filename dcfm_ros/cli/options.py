"""Options that several verbs of `dcfm` share, and how their results are shown."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
import sys
from typing import TYPE_CHECKING, Annotated, Any, Optional, TypeVar

import typer

if TYPE_CHECKING:
    from dcfm_ros.replay.recorder import RunRecorder

Item = TypeVar('Item')
Number = TypeVar('Number', int, float)

# typer reads annotations at run time and still wants Optional on Python 3.10.
OptionalPath = Optional[Path]  # noqa: UP045
OptionalText = Optional[str]  # noqa: UP045
OptionalInt = Optional[int]  # noqa: UP045
OptionalFloat = Optional[float]  # noqa: UP045

Checkpoint = Annotated[
    OptionalPath,
    typer.Option(help='Weights: a .safetensors file, or default or accurate (packaged).'),
]
Interval = Annotated[int, typer.Option(min=1, help='Keyframe interval, frames.')]
Device = Annotated[str, typer.Option(help='auto, cpu, cuda or cuda:<n>.')]
Backend = Annotated[str, typer.Option(help='auto, torch, openvino or onnxruntime.')]
Execution = Annotated[
    str, typer.Option(help='When the deep encoder works: sync, amortised or async.')
]
Slices = Annotated[
    OptionalInt,
    typer.Option(min=1, help='Frames that share a keyframe, amortised; default: its interval.'),
]
FixedInterval = Annotated[
    OptionalInt, typer.Option(min=1, help='Keyframe interval, frames; default: 3.')
]
Adaptive = Annotated[
    OptionalFloat, typer.Option(min=0.0, help='Change score that makes a keyframe instead.')
]
MaxInterval = Annotated[
    OptionalInt, typer.Option(min=1, help='With --adaptive: longest interval, frames.')
]
Score = Annotated[
    OptionalText, typer.Option(help='With --adaptive: compare image (default) or feature.')
]
MaxAge = Annotated[OptionalInt, typer.Option(min=0, help='Oldest feature to use, frames.')]
Height = Annotated[int, typer.Option(min=0, help='Rows to work at; 0: as trained.')]
ConfidenceDrop = Annotated[
    OptionalFloat,
    typer.Option(help='Also a keyframe where the mean confidence falls by more, adaptive.'),
]
Json = Annotated[OptionalPath, typer.Option('--json', help='Also write the figures here.')]
Topic = Annotated[OptionalText, typer.Option(help='Image topic of a bag with several.')]
LabelTopic = Annotated[OptionalText, typer.Option(help='Mask topic of a bag.')]
Labels = Annotated[OptionalPath, typer.Option(help='Folder of PNG masks beside an image folder.')]
Rate = Annotated[float, typer.Option(min=0.1, help='Frames per second.')]


def deliver(
    title: str,
    summary: dict[str, Any],
    recorder: RunRecorder,
    folder: Path,
    video: str,
    json_file: Path | None,
) -> None:
    """Write figures and report of a run, print the figures, and say where everything lies."""
    from dcfm_ros.files import write_json
    from dcfm_ros.replay.pages.run_page import write_report

    write_json(folder / 'summary.json', summary)
    write_report(folder / 'report.html', title, summary, recorder, video)
    save_json(json_file, summary)
    print_summary(summary)
    typer.echo(f'results: {folder / video}, {folder / "report.html"}, {folder / "summary.json"}')


def print_summary(summary: dict[str, Any]) -> None:
    """Print the figures of a run, a line each."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False)
    for name, value in summary.items():
        if isinstance(value, dict):
            value = '  '.join(f'{key} {_plain(item)}' for key, item in value.items())
        table.add_row(name, _plain(value))
    Console().print(table)


def print_rows(rows: list[dict[str, Any]]) -> None:
    """Print rows of figures as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*dict.fromkeys(key for row in rows for key in row))
    for row in rows:
        table.add_row(*(_plain(row.get(str(column.header))) for column in table.columns))
    Console(width=max(160, Console().width)).print(table)


def _plain(value: Any) -> str:
    return f'{value:.3f}' if isinstance(value, float) else '-' if value is None else str(value)


def save_json(path: Path | None, values: dict[str, Any]) -> None:
    """Write figures as JSON; nothing where `path` is None."""
    from dcfm_ros.files import write_json

    if path is not None:
        write_json(path, values)


def with_progress(frames: Iterable[Item], text: str, total: int | None = None) -> Iterable[Item]:
    """Show progress over the frames in a terminal."""
    from rich.progress import track

    return track(frames, text, total=total, transient=True, disable=not sys.stderr.isatty())


def parse_size(size: str) -> tuple[int, int]:
    """Height and width, pixels, from 'HEIGHTxWIDTH'."""
    height, separator, width = size.partition('x')
    if not (separator and height.isdecimal() and width.isdecimal() and int(height) * int(width)):
        raise ValueError(f'`size` must be HEIGHTxWIDTH, for example 360x480, got {size!r}')
    return int(height), int(width)


def refuse_unused(options: dict[str, object], needed: str) -> None:
    """Raise ValueError if one is given (not None) without what it needs."""
    for name, value in options.items():
        if value is not None:
            raise ValueError(f'--{name} ({value}) needs {needed}')


def parse_numbers(name: str, text: str, kind: type[Number]) -> list[Number]:
    """Numbers separated by commas."""
    try:
        return [kind(part) for part in text.split(',') if part.strip()]
    except ValueError:
        raise ValueError(f'`{name}` must be numbers with commas between, got {text!r}') from None
