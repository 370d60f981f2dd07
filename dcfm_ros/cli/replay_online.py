"""Options of `dcfm replay --online`, and what they ask of the node."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from dcfm_ros.cli.options import OptionalInt, OptionalText, parse_numbers, refuse_unused

if TYPE_CHECKING:
    from dcfm_ros.replay.online.replay import OnlineOptions

OptionalFloat = Optional[float]  # noqa: UP045 - as in cli_options

Online = Annotated[
    bool, typer.Option('--online', help='Play the bag over DDS to the real node instead.')
]
Mode = Annotated[
    OptionalText,
    typer.Option(
        help='With --online: timeline (default), as the stamps say; rate, then also at --rates; '
        'peak, then also at the highest rate with few missing frames.'
    ),
]
Rates = Annotated[OptionalText, typer.Option(help='With --online: Hz; default: 10,15,30.')]
Seconds = Annotated[
    OptionalFloat, typer.Option(min=0.1, help='With --online: length of a run; default: 5.')
]
Runs = Annotated[
    OptionalInt, typer.Option(min=1, help='With --online: runs at each rate; default: 5.')
]
PeakLimits = Annotated[
    OptionalText, typer.Option(help='With --online: Hz to search between; default: 10,100.')
]
Reliability = Annotated[
    OptionalText, typer.Option(help='With --online: reliable (default) or best_effort.')
]
Profile = Annotated[
    OptionalText,
    typer.Option(help='With --online: Fast DDS profile, large_images (packaged) or a file.'),
]
Namespace = Annotated[
    OptionalText, typer.Option(help='With --online: of a node that runs already.')
]
Pid = Annotated[OptionalInt, typer.Option(help='With --namespace: process of that node.')]


def online_options(
    *, given: dict[str, Any], node: dict[str, Any], offline: dict[str, Any], **common: Any
) -> OnlineOptions:
    """Put the options of the command line together.

    Args:
        given: Values of the options above, by their names; None: not given.
        node: Values for parameters of the node, by their names; None: not given.
        offline: Options that mean nothing here, None unless given.
        common: Further fields of `OnlineOptions`.

    Raises:
        ValueError: If an option is wrong or means nothing.
        FileNotFoundError: If there is no such profile.
    """
    from dcfm_ros.play.fastdds import packaged_profile
    from dcfm_ros.replay.online.replay import OnlineOptions

    refuse_unused(offline, 'no --online')
    values = {name: value for name, value in given.items() if value is not None}
    if 'rates' in values:
        values['rates'] = tuple(parse_numbers('rates', values['rates'], float))
    if limits := values.pop('peak_limits', None):
        values['peak_limits_hz'] = tuple(parse_numbers('peak-limits', limits, float))
        if len(values['peak_limits_hz']) != 2:
            raise ValueError(f'`peak-limits` must be two numbers, got {limits!r}')
    if profile := values.pop('fastdds_profile', None):
        is_packaged = profile == 'large_images'
        values['fastdds_profile'] = packaged_profile() if is_packaged else Path(profile)
    parameters = {name: value for name, value in node.items() if value is not None}
    return OnlineOptions(parameters=parameters, **common, **values)
