"""Options that several verbs of `dcfm` share, and how they show results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
import inspect
from pathlib import Path
import re
import sys
from typing import Annotated, Any, Optional, TypeVar

import typer

Item = TypeVar('Item')
Number = TypeVar('Number', int, float)
Verb = Callable[..., None]

# typer reads annotations at run time and still wants Optional on Python 3.10.
OptionalPath = Optional[Path]  # noqa: UP045
OptionalPaths = Optional[list[Path]]  # noqa: UP045
OptionalText = Optional[str]  # noqa: UP045
OptionalTexts = Optional[list[str]]  # noqa: UP045
OptionalInt = Optional[int]  # noqa: UP045
OptionalFloat = Optional[float]  # noqa: UP045
OptionalBool = Optional[bool]  # noqa: UP045

Checkpoint = Annotated[
    OptionalPath,
    typer.Option(help='Weights: a .safetensors file, or the name of packaged ones (default).'),
]
Groups = Annotated[
    OptionalPath,
    typer.Option('--groups', help='Also in groups of classes; YAML, see docs/node.md.'),
]
Json = Annotated[OptionalPath, typer.Option('--json', help='Also write the results here.')]

FLAGS = {
    'keyframe_interval': '--interval',
    'change_threshold': '--adaptive',
    'keyframe_score': '--score',
    'min_keyframe_interval': '--min-interval',
    'max_keyframe_interval': '--max-interval',
    'max_feature_age_s': '--max-feature-age',
    'max_time_gap_s': '--max-time-gap',
    'execution_slices': '--slices',
    'inference_height': '--height',
    'label_topic': '--label-topic --truth-topic',
    'rate_hz': '--rate',
    'peak_limits_hz': '--peak-limits',
}
"""Options of fields whose names they do not have."""
PANELS = {
    'RecordingOptions': 'Input',
    'EngineOptions': 'Network',
    'ScheduleOptions': 'Keyframes',
    'WorkerOptions': 'Processes',
    'OnlineOptions': 'With --online',
}
"""Heading in --help by dataclass."""
_ADAPTIVE = {'keyframe_score', 'min_keyframe_interval', 'max_keyframe_interval'}
"""Fields that only the adaptive schedule heeds."""


def takes_options(*names: str) -> Callable[[Verb], Verb]:
    """Fill dataclasses that a verb takes, such as `EngineOptions`, from the command line.

    The verb gets an option for every field, with help, limits and default of its `OptionSpec`.
    `--adaptive T` stands for `schedule='adaptive'` and `change_threshold=T`.

    Args:
        names: The fields to offer; none: all of them.
    """

    def decorate(verb: Verb) -> Verb:
        signature = inspect.signature(verb, eval_str=True)
        tables: dict[str, Any] = {
            name: parameter.annotation
            for name, parameter in signature.parameters.items()
            if is_dataclass(parameter.annotation)
        }
        offered: dict[str, Any] = {}
        added: list[inspect.Parameter] = []
        for table in tables.values():
            for field in fields(table):
                if field.name != 'schedule' and (not names or field.name in names):
                    offered[field.name] = field
                    added.append(_parameter(field, PANELS.get(table.__name__)))

        def run(**values: Any) -> None:
            given = {name: values.pop(name) for name in offered}
            given = {name: value for name, value in given.items() if value is not None}
            for name, table in tables.items():
                of_table = {f.name for f in fields(table)}
                chosen = {n: value for n, value in given.items() if n in of_table}
                values[name] = table(**_completed(chosen, offered))
            verb(**values)

        own = [p for name, p in signature.parameters.items() if name not in tables]
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + added
        # What typer reads to know the options of a verb.
        run.__name__, run.__doc__, run.__module__ = verb.__name__, verb.__doc__, verb.__module__
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        vars(run)['__signature__'] = signature.replace(parameters=parameters)
        return run

    return decorate


def _parameter(field: Any, panel: str | None) -> inspect.Parameter:
    """The option of a field as typer wants it: optional, because the dataclass has the default."""
    name, default, spec = field.name, field.default, field.metadata['spec']
    flags = _flag(name).split()
    flags = [f'{f}/--no-{f[2:]}' for f in flags] if isinstance(default, bool) else flags
    text = re.sub(r'\w+', lambda found: FLAGS.get(found[0], found[0]), spec.description)
    if name == 'change_threshold':
        text = f'Make keyframes when the scene changes. {text}'
    shown = ','.join(f'{v:g}' for v in default) if isinstance(default, tuple) else str(default)
    choices = [*spec.choices, *([spec.pattern_text] if spec.pattern_text else [])]
    option = typer.Option(
        *flags,
        help=text,
        show_default=False if default == '' or name == 'change_threshold' else shown,
        metavar='|'.join(choices) or spec.unit.upper() or None,
        min=None if isinstance(default, (str, tuple)) else spec.minimum,
        max=None if isinstance(default, (str, tuple)) else spec.maximum,
        rich_help_panel=panel,
    )
    kind: Any = str if isinstance(default, tuple) else type(default)
    annotation: Any = Annotated[Optional[kind], option]  # noqa: UP045
    keyword_only = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, keyword_only, default=None, annotation=annotation)


def _flag(name: str) -> str:
    return FLAGS.get(name, f'--{name.replace("_", "-")}')


def _completed(given: dict[str, Any], offered: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a dataclass from what was given; ValueError if that does not go together."""
    if 'change_threshold' in offered and 'change_threshold' not in given:
        for name in _ADAPTIVE & given.keys():
            raise ValueError(f'{FLAGS[name]} ({given[name]}) needs --adaptive')
    if {'change_threshold', 'keyframe_interval'} <= given.keys():
        interval, threshold = given['keyframe_interval'], given['change_threshold']
        raise ValueError(f'give one of --interval ({interval}) and --adaptive ({threshold})')
    if 'change_threshold' in given:
        given['schedule'] = 'adaptive'
    is_sync = 'execution' in offered and given.get('execution') != 'amortised'
    if 'execution_slices' in given and is_sync:
        raise ValueError(f'--slices ({given["execution_slices"]}) needs --execution amortised')
    for name, field in offered.items():
        if name in given and isinstance(field.default, tuple):
            given[name] = tuple(parse_numbers(name, given[name], float))
    return given


def print_summary(summary: Mapping[str, Any], losses: Iterable[str]) -> None:
    """Print the figures of a run, a line each, and what of its recording could not be read."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False)
    for name, value in summary.items():
        if isinstance(value, dict):
            value = '  '.join(f'{key} {_plain(item)}' for key, item in value.items())
        table.add_row(name, _plain(value))
    Console().print(table)
    for loss in losses:
        typer.echo(f'note: {loss}', err=True)


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


def save_json(path: Path | None, values: Mapping[str, Any]) -> None:
    """Write figures as JSON; nothing where `path` is None."""
    from dcfm_ros.files import write_json

    if path is not None:
        write_json(path, values)


def with_progress(items: Iterable[Item], text: str, total: int | None = None) -> Iterable[Item]:
    """Show progress in a terminal."""
    from rich.progress import track

    return track(items, text, total=total, transient=True, disable=not sys.stderr.isatty())


def parse_size(size: str) -> tuple[int, int]:
    """Height and width, pixels, from 'HEIGHTxWIDTH'."""
    height, separator, width = size.partition('x')
    if not (separator and height.isdecimal() and width.isdecimal() and int(height) * int(width)):
        raise ValueError(f'`size` must be HEIGHTxWIDTH, for example 360x480, got {size!r}')
    return int(height), int(width)


def parse_numbers(name: str, text: str, kind: type[Number]) -> list[Number]:
    """Numbers separated by commas."""
    try:
        return [kind(part) for part in text.split(',') if part.strip()]
    except ValueError:
        raise ValueError(f'`{name}` must be numbers with commas between, got {text!r}') from None


def refuse_unused(options: dict[str, object], needed: str) -> None:
    """Raise ValueError if one is given (not None) without what it needs."""
    for name, value in options.items():
        if value is not None:
            raise ValueError(f'--{name} ({value}) needs {needed}')


def refuse_given(context: typer.Context, names: Iterable[str], why: str) -> None:
    """Raise ValueError if a parameter of a verb is given on its command line."""
    for name in names:
        value = context.params.get(name)
        if value is not None and value is not False:
            raise ValueError(f'{_flag(name)} ({value}) {why}')
