"""`OnlineOptions`: how a recording is played to the node; quick to import."""

from __future__ import annotations

from dataclasses import dataclass

from dcfm_ros.option_spec import option

MODES = ('timeline', 'rate', 'peak')
RELIABILITIES = ('reliable', 'best_effort')


@dataclass(frozen=True, kw_only=True)
class OnlineOptions:
    """How a recording is played to the node.

    Raises:
        ValueError: If a value is outside what its field says.
    """

    mode: str = option(
        'timeline',
        'timeline: play once, as far apart as the stamps are; rate: then also at --rates; peak: '
        'then also at the highest rate with at most 5 % missing frames.',
        choices=MODES,
    )
    rates: tuple[float, ...] = option((10.0, 15.0, 30.0), 'Rates to play at.', unit='Hz,...')
    seconds: float = option(5.0, 'Length of a run at a rate.', minimum=0.1, unit='s')
    runs: int = option(5, 'Runs at each rate.', minimum=1)
    peak_limits_hz: tuple[float, ...] = option(
        (10.0, 100.0), 'Where to search for the highest rate.', unit='Hz,Hz'
    )
    reliability: str = option('reliable', 'QoS of the images.', choices=RELIABILITIES)
    fastdds_profile: str = option(
        '', 'Fast DDS profile of player and node: large_images (packaged), or a file.'
    )
    namespace: str = option('', 'Play to the running node of this namespace; else start one.')
    pid: int = option(0, 'Process of that node, to measure its CPU and memory.')

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f'`mode` must be one of {", ".join(MODES)}, got {self.mode!r}')
        if self.reliability not in RELIABILITIES:
            allowed = ' or '.join(RELIABILITIES)
            raise ValueError(f'`reliability` must be {allowed}, got {self.reliability!r}')
        if not self.rates or min(self.rates) <= 0:
            raise ValueError(f'`rates` must be one or more rates above 0, got {self.rates}')
        if self.seconds <= 0:
            raise ValueError(f'`seconds` must be above 0, got {self.seconds}')
        if self.runs < 1:
            raise ValueError(f'`runs` must be at least 1, got {self.runs}')
        limits = self.peak_limits_hz
        if len(limits) != 2 or not 0 < limits[0] < limits[1]:
            raise ValueError(f'`peak_limits_hz` must be two rising numbers above 0, got {limits}')
        if self.pid and not self.namespace:
            raise ValueError(f'`pid` needs `namespace`, got {self.pid}')
