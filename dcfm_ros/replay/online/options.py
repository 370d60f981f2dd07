"""`OnlineOptions`: how a recording is played to the node; quick to import."""

from __future__ import annotations

from dataclasses import dataclass
import math

from dcfm_ros.option_spec import check_options, option


@dataclass(frozen=True, kw_only=True)
class OnlineOptions:
    """How a recording is played to the node.

    Raises:
        ValueError: If a value is not allowed.
    """

    mode: str = option(
        'timeline',
        'timeline: play once, as far apart as the stamps are; rate: then also at --rates; peak: '
        'then also at the highest rate with at most 5 % missing frames.',
        choices=('timeline', 'rate', 'peak'),
    )
    rates: tuple[float, ...] = option((10.0, 15.0, 30.0), 'Rates to play at.', unit='Hz,...')
    seconds: float = option(5.0, 'Length of a run at a rate.', minimum=0.1, maximum=3600, unit='s')
    runs: int = option(5, 'Runs at each rate.', minimum=1, maximum=1000)
    peak_limits_hz: tuple[float, ...] = option(
        (10.0, 100.0), 'Where to search for the highest rate.', unit='Hz,Hz'
    )
    reliability: str = option(
        'reliable', 'QoS of the images.', choices=('reliable', 'best_effort')
    )
    fastdds_profile: str = option(
        '', 'Fast DDS profile of player and node: large_images (packaged), or a file.'
    )
    namespace: str = option('', 'Play to the running node of this namespace; else start one.')
    pid: int = option(0, 'Process of that node, to measure its CPU and memory.')

    def __post_init__(self) -> None:
        check_options(self)
        if not self.rates or not all(0 < rate < math.inf for rate in self.rates):
            allowed = 'one or more finite rates above 0'
            raise ValueError(f'`rates` must be {allowed}, got {self.rates}')
        limits = self.peak_limits_hz
        if len(limits) != 2 or not 0 < limits[0] < limits[1] < math.inf:
            allowed = 'two rising numbers above 0, both finite'
            raise ValueError(f'`peak_limits_hz` must be {allowed}, got {limits}')
        if self.pid and not self.namespace:
            raise ValueError(f'`pid` needs `namespace`, got {self.pid}')
