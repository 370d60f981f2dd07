"""Rows of `dcfm evaluate` as figures need them: read from its JSON, with speed and interval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
import json
import math
from pathlib import Path
from typing import Any

SCHEDULES = ('fixed', 'adaptive', 'per_frame')
"""Schedules of an evaluation that figures show. 'hold', masks repeated, is none that segments."""


@dataclass(frozen=True, kw_only=True)
class EvaluatedRow:
    """One schedule that an evaluation measured; accuracies are fractions in [0, 1]."""

    dataset: str
    split: str
    checkpoint: str
    schedule: str
    """One of `SCHEDULES`."""
    mode: str
    """'both' or 'past'."""
    interval: int | None
    """K; None where the schedule is adaptive."""
    threshold: float | None
    min_interval: int | None
    """MinK of an adaptive schedule."""
    max_interval: int | None
    """Its longest interval; None: no limit."""
    keyframe_score: str | None
    """What it compares: 'image', which None means too, or 'feature'."""
    average_interval: float
    """Frames per keyframe as run, at least 1; below K where a clip ends early."""
    miou: float
    mvc8: float | None
    key_ms: float | None
    nonkey_ms: float | None

    @property
    def fps(self) -> float | None:
        """Frames per second of the mean frame; None where times were not measured."""
        if self.key_ms is None or (self.nonkey_ms is None and self.average_interval > 1):
            return None
        return 1000 / mean_frame_ms(self.key_ms, self.nonkey_ms or 0.0, self.average_interval)

    @property
    def schedule_name(self) -> str:
        """The schedule in few letters: 'K=2', 'per frame', or 'AKS 0.25' with its threshold."""
        if self.schedule == 'adaptive':
            return 'AKS' if self.threshold is None else f'AKS {self.threshold:g}'
        return 'per frame' if self.schedule == 'per_frame' else f'K={self.interval}'


def mean_frame_ms(key_ms: float, nonkey_ms: float, interval: float) -> float:
    """Mean time per frame, (t_I + (K - 1) t_B) / K.

    Args:
        key_ms: t_I, time of a keyframe.
        nonkey_ms: t_B, time of a non-key frame.
        interval: K, at least 1; the average one where the schedule is adaptive.
    """
    return (key_ms + (interval - 1) * nonkey_ms) / interval


def short_names(paths: Iterable[Path | str]) -> dict[str, str]:
    """A name for every file: as few last parts of its path, without suffix, as tell all apart."""
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
                found.append(_row(content, row))
        except (AttributeError, TypeError, ValueError) as error:
            problems.append(f'row {index}: {error}')
    if problems:
        listed = '\n  '.join(problems)
        raise ValueError(f'{path} cannot be plotted:\n  {listed}')
    return found


def _row(content: Mapping[str, Any], row: Mapping[str, Any]) -> EvaluatedRow:
    schedule: Any = row.get('schedule')
    if schedule not in SCHEDULES:
        raise ValueError(f'`schedule` must be one of {SCHEDULES} or hold, got {schedule!r}')
    least_values = {'miou': 0, 'average_interval': 1}
    if schedule != 'adaptive':
        least_values['interval'] = 1
    for name, least in least_values.items():
        value: Any = row.get(name)
        if not _is_number(value) or value < least:
            raise ValueError(f'`{name}` must be a number from {least}, got {value!r}')
    return EvaluatedRow(
        dataset=str(content.get('dataset')),
        split=str(content.get('split')),
        checkpoint=str(row.get('checkpoint', content.get('checkpoint'))),
        schedule=schedule,
        mode=str(row.get('mode')),
        interval=None if schedule == 'adaptive' else row['interval'],
        threshold=row.get('threshold'),
        min_interval=row.get('min_interval'),
        max_interval=row.get('max_interval'),
        keyframe_score=row.get('keyframe_score'),
        average_interval=row['average_interval'],
        miou=row['miou'],
        mvc8=row.get('mvc8'),
        key_ms=row.get('ms_key'),
        nonkey_ms=row.get('ms_nonkey'),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
