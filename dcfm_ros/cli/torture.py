"""The verb `dcfm torture`: long tests of what users rely on, each with a verdict."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
import shlex
import sys
from typing import Annotated

import typer

from dcfm_ros.cli.options import OptionalFloat, OptionalInt, OptionalPath

TESTS = {
    'soak': 'soak:Soak',
    'stream': 'soak:Stream',
    'hostile': 'hostile:Hostile',
    'faults': 'faults.run:Faults',
    'files': 'files:Files',
    'training': 'training:KilledTraining',
}
"""Module of `dcfm_ros/torture` and class in it, by name."""
_INCOMPLETE = 3


def torture(
    test: Annotated[str, typer.Argument(help=f'One of {", ".join(TESTS)}.')],
    count: Annotated[
        OptionalInt, typer.Option(min=1, help='How much; default: the whole test.')
    ] = None,
    minutes: Annotated[
        OptionalFloat,
        typer.Option(
            min=0.0, help='Begin no new piece after so many; default: until all is done.'
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help='Of all that is random.')] = 0,
    folder: Annotated[Path, typer.Option(help='Pieces, logs, figures.')] = Path('out/torture'),
    figures: Annotated[
        OptionalPath, typer.Option(help='Folder of the figures, if another one.')
    ] = None,
) -> None:
    """Test for long what users rely on; the same command goes on where it was broken off.

    Exit code 0: all is as it must be; 1: something is not; 3: not all is done yet.
    """
    from dcfm_ros.benchmark.sections import cell, write_figures
    from dcfm_ros.cli.options import print_rows, with_progress
    from dcfm_ros.torture.campaign import Campaign

    if test not in TESTS:
        raise ValueError(f'`test` must be one of {", ".join(TESTS)}, got {test!r}')
    module, _, kind = TESTS[test].partition(':')
    made = getattr(import_module(f'dcfm_ros.torture.{module}'), kind)
    folder.mkdir(parents=True, exist_ok=True)
    campaign = Campaign(test, made(seed, folder), count or made.full)
    left = -(-(campaign.count - campaign.done) // made.piece)
    for _piece in with_progress(campaign.run(minutes), f'{test}, pieces', left):
        pass
    results = campaign.results()
    command = shlex.join(['dcfm', *sys.argv[1:]])
    tables = campaign.sections(results)
    for title, rows, _note in tables[:-1]:
        typer.echo(f'\n{title}')
        print_rows([{key: cell(value) for key, value in row.items()} for row in rows])
    for path in write_figures(figures or folder, f'torture_{test}', command, results, tables):
        typer.echo(f'wrote {path}')
    if results['verdicts'] and not results['holds']:
        raise typer.Exit(1)
    if not results['complete']:
        typer.echo(f'{campaign.done} of {campaign.count} {made.unit}: the same command goes on')
        raise typer.Exit(_INCOMPLETE)
