"""One run of `dcfm bench`: every network in every backend, on the same frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
import math
from typing import Any

from dcfm_ros.backends.device import resolve_device
from dcfm_ros.benchmark.inputs import Progress, load_for_engine, load_model, read_frames, silent
from dcfm_ros.benchmark.interleave import Record, measure
from dcfm_ros.benchmark.memory import engine_memory
from dcfm_ros.benchmark.ratios import bar_of, ratios_between, ratios_within
from dcfm_ros.benchmark.rivals import engine_rivals, plain_rivals
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.machine import machine

_WARM_UP = 6
_MOST_FRAMES = 1000
"""Longest keyframe interval; the rows of non-key frames have no keyframe in between."""


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """What to measure.

    Raises:
        ValueError: If a value is outside what its field says.
    """

    models: tuple[str, ...] = ('default',)
    """Presets (random weights) or checkpoints."""
    size: tuple[int, int] = (480, 853)
    """(H, W) of the frames and of the network's input."""
    backends: tuple[str, ...] = ('torch',)
    """As in `EngineOptions`; all are timed in turn on the same frames."""
    intervals: tuple[int, ...] = (2, 6)
    """Keyframe intervals of the streams, frames."""
    frames: int = 60
    """Frames to measure, rounded up to whole intervals; with the warm-up at most 1000."""
    frames_from: str | None = None
    """Recording to take the frames from, as in `open_source`; None: a synthetic drive."""
    engine: EngineOptions = field(default_factory=EngineOptions)
    """Device and precision of all that is not the plain order."""

    def __post_init__(self) -> None:
        for name in ('models', 'backends', 'intervals'):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f'`{name}` must be at least one, each once, got {values}')
        if min(self.intervals) < 1:
            raise ValueError(f'`intervals` must be at least 1, got {self.intervals}')
        if self.frames < 1 or self.warm_up + self.measured > _MOST_FRAMES:
            most = _MOST_FRAMES - self.warm_up
            raise ValueError(f'`frames` must be from 1 to {most}, got {self.frames}')
        self.engines()

    @property
    def warm_up(self) -> int:
        """Frames at the start that are not measured."""
        return max(_WARM_UP, *self.intervals)

    @property
    def measured(self) -> int:
        """Frames that are measured: whole intervals, so that keyframes have their true share."""
        whole = math.lcm(*self.intervals)
        return -(-self.frames // whole) * whole

    def engines(self) -> list[EngineOptions]:
        """How the network is run in each of the backends."""
        return [replace(self.engine, backend=backend) for backend in self.backends]


def run_bench(options: BenchOptions, progress: Progress = silent) -> dict[str, Any]:
    """Measure and compare.

    Args:
        options: What.
        progress: Sees every frame.

    Returns:
        'machine', 'frames', 'networks', 'rows', 'ratios' (by model and backend, or pair of
        backends), 'checks' (all ratios, with their bars) and 'notes' (rows left out, and why).

    Raises:
        FileNotFoundError: If a model or input does not exist.
        SourceError: If the input cannot be read or is too short.
        ValueError: If a backend or device is not available.
    """
    device = resolve_device(options.engine.device)
    here = machine(device)  # first: the load average should not be that of this run
    nets = {model: load_model(model) for model in options.models}
    count = options.warm_up + options.measured + 1  # the last one is only a keyframe
    frames = read_frames(options.frames_from, options.size, count, progress)
    size = f'{options.size[0]}x{options.size[1]}'
    figures: dict[str, Any] = {
        'machine': {**here, 'device': device},
        'frames': {
            'source': options.frames_from or 'synthetic drive',
            'size': size,
            'warm_up': options.warm_up,
            'measured': options.measured,
        },
        'networks': [],
        'rows': [],
        'ratios': {},
        'checks': [],
        'notes': [],
    }
    for model, net in nets.items():
        config = net.config
        network = {'model': model, 'title': config.title, 'num_classes': config.num_classes}
        figures['networks'].append(network)
        rivals = plain_rivals(net, device, frames)
        for engine in options.engines():
            loaded = load_for_engine(model, engine)
            rivals += engine_rivals(loaded, engine, frames, options.intervals, net)
        records = measure(rivals, frames[:-1], options.warm_up, progress, f'timing {model}')
        measured, notes = without_failures(records)
        figures['notes'] += notes
        figures['rows'] += [{'model': model, 'size': size, **r.row()} for r in measured]
        figures['ratios'][model] = ratios = _ratios(measured)
        precisions = {r.rival.backend: r.rival.precision for r in measured if not r.rival.is_plain}
        figures['checks'] += _checks(network, ratios, precisions, figures)
    return figures


def without_failures(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Leave out what another backend had to finish, and say why."""
    failures = [(record.rival, record.rival.failure()) for record in records]
    notes = [f'no row {r.what} in {r.backend}: {failure}' for r, failure in failures if failure]
    return [record for record in records if not record.rival.failure()], notes


def measure_memory(options: BenchOptions, frames: int) -> list[dict[str, Any]]:
    """`engine_memory` of every network in every backend, amortised over the longest interval."""
    interval = max(options.intervals)
    return [
        engine_memory(
            model, options.size, frames, replace(engine, execution='amortised'), interval
        )
        for model in options.models
        for engine in options.engines()
    ]


def _ratios(records: Sequence[Record]) -> dict[str, dict[str, float]]:
    """By backend that an engine ran in, in the order asked for, and by pair of backends."""
    names = dict.fromkeys(r.rival.backend for r in records if not r.rival.is_plain)
    of = {name: [r for r in records if r.rival.backend == name] for name in names}
    ratios = {backend: ratios_within(found) for backend, found in of.items()}
    for above, below in combinations(of, 2):
        ratios[f'{above}/{below}'] = ratios_between(of[above], of[below])
    return ratios


def _checks(
    network: Mapping[str, Any],
    ratios: Mapping[str, Mapping[str, float]],
    precisions: Mapping[str, str],
    figures: dict[str, Any],
) -> list[dict[str, Any]]:
    here = figures['machine']
    checks = []
    for backend, values in ratios.items():
        facts = {
            'model': network['model'],
            'backend': backend,
            'precision': '/'.join(precisions[name] for name in backend.split('/')),
        }
        for ratio, value in values.items():
            name = f'{backend} {ratio}' if '/' in backend else ratio
            bar = bar_of(name, network, figures['frames']['size'], here['device'], here['gpu'])
            judged = bar.judge(value) if bar else {}
            checks.append({**facts, 'ratio': ratio, 'value': value, **judged})
    return checks
