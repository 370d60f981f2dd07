"""Rows of `dcfm evaluate` as figures need them: read from its JSON, with speed and interval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
import json
import math
from pathlib import Path
from typing import Any

_SCHEDULES = ('fixed', 'adaptive', 'per_frame')
"""What figures show; 'hold' repeats masks."""


@dataclass(frozen=True, kw_only=True)
class EvaluatedRow:
    """One schedule that an evaluation measured, with the keys of the JSON."""

    dataset: str
    split: str
    checkpoint: str
    schedule: str
    mode: str
    interval: int | None
    """K; None where the schedule is adaptive."""
    threshold: float | None
    min_interval: int | None
    max_interval: int | None
    keyframe_score: str | None
    """'image', which None means too, or 'feature'."""
    average_interval: float
    """Frames per keyframe as run, at least 1; below K where a clip ends early."""
    miou: float
    """Like `mvc8` a fraction in [0, 1]."""
    mvc8: float | None
    ms_key: float | None
    ms_nonkey: float | None

    @property
    def fps(self) -> float | None:
        """Frames per second of the mean frame; None where times were not measured."""
        if self.ms_key is None or (self.ms_nonkey is None and self.average_interval > 1):
            return None
        return 1000 / mean_frame_ms(self.ms_key, self.ms_nonkey or 0.0, self.average_interval)

    @property
    def schedule_name(self) -> str:
        """The schedule in few letters: 'K=2', 'per frame', or 'AKS 0.25' with its threshold."""
        if self.schedule == 'adaptive':
            return 'AKS' if self.threshold is None else f'AKS {self.threshold:g}'
        return 'per frame' if self.schedule == 'per_frame' else f'K={self.interval}'


def mean_frame_ms(key_ms: float, nonkey_ms: float, interval: float) -> float:
    """Mean time per frame, (t_I + (K - 1) t_B) / K, at the average interval K."""
    return (key_ms + (interval - 1) * nonkey_ms) / interval


def short_names(paths: Iterable[Path | str]) -> dict[str, str]:
    """Name files by as few last parts of their paths, without suffix, as tell them apart."""
    parts = {str(path): Path(path).with_suffix('').parts for path in paths}
    for count in range(1, max(map(len, parts.values()), default=0) + 1):
        names = {path: '/'.join(own[-count:]) for path, own in parts.items()}
        if len(set(names.values())) == len(names):
            return names
    return {path: path for path in parts}


def read_evaluation(path: Path) -> list[EvaluatedRow]:
    """Read what `dcfm evaluate --json` wrote; figures show the paper's order, execution 'sync'.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such a file; every problem is listed.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path} is not JSON: {error}') from None
    if not isinstance(content, dict) or not isinstance(content.get('rows'), list):
        raise ValueError(f'{path} is not an evaluation: it must be a JSON object with `rows`')
    found, problems = [], []
    for index, row in enumerate(content['rows']):
        try:
            # An amortised row has other ages and times than the interval says.
            if row.get('schedule') != 'hold' and row.get('execution', 'sync') == 'sync':
                found.append(_row(content | row))
        except (AttributeError, TypeError, ValueError) as error:
            problems.append(f'row {index}: {error}')
    if problems:
        listed = '\n  '.join(problems)
        raise ValueError(f'{path} cannot be plotted:\n  {listed}')
    return found


def _row(values: Mapping[str, Any]) -> EvaluatedRow:
    schedule = values.get('schedule')
    if schedule not in _SCHEDULES:
        raise ValueError(f'`schedule` must be one of {_SCHEDULES} or hold, got {schedule!r}')
    least_values = {'miou': 0, 'average_interval': 1}
    if schedule != 'adaptive':
        least_values['interval'] = 1
    for name, least in least_values.items():
        value = values.get(name)
        if not isinstance(value, (int, float)) or not least <= value < math.inf:
            raise ValueError(f'`{name}` must be a number from {least}, got {value!r}')
    known: dict[str, Any] = {f.name: values.get(f.name) for f in fields(EvaluatedRow)}
    return EvaluatedRow(**known | {'checkpoint': str(known['checkpoint'])})
