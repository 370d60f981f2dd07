"""Two replay reports side by side: what differs in how they were made, and in their figures."""

from __future__ import annotations

from collections.abc import Mapping
import csv
import json
from pathlib import Path
import re
from typing import Any, NamedTuple

from matplotlib.figure import Figure
import numpy as np

from dcfm_ros.files import write_json, write_text
from dcfm_ros.replay.pages.parts import note, page, plot, rows_table, section, warning
from dcfm_ros.replay.pages.run_plots import plot_axes
from dcfm_ros.replay.report import FORMAT_VERSION


class Compared(NamedTuple):
    """A figure that reports are compared by."""

    name: str
    path: str
    """Keys in report.json, with dots between."""
    better: str = ''
    """'low' or 'high'; '' where neither is."""


FIGURES = (
    *(
        Compared(f'latency{of}, {which} (ms)', f'latency_ms{key}.{which}', 'low')
        for of, key in (('', ''), (', deep encoder at work', '_key'), (', others', '_nonkey'))
        for which in ('mean', 'p50', 'p95', 'p99', 'max')
    ),
    Compared('jitter, mean (ms)', 'jitter_ms.mean', 'low'),
    Compared('frames per second', 'BasicPerformanceMetrics.MEAN_FRAME_RATE', 'high'),
    Compared('frames', 'frames_sent'),
    Compared('frames dropped', 'frames_dropped', 'low'),
    Compared('keyframe share', 'keyframe_share'),
    Compared('oldest feature (frames)', 'keyframe_age.max'),
    Compared('mIoU', 'accuracy.miou', 'high'),
    Compared('mIoU of non-key frames', 'accuracy.miou_nonkey', 'high'),
    Compared('streaming mIoU', 'accuracy.streaming_miou', 'high'),
    Compared('mVC8', 'accuracy.mvc8', 'high'),
    Compared('mVC16', 'accuracy.mvc16', 'high'),
    Compared('pixels as per-frame', 'fidelity.pixel_accuracy', 'high'),
    Compared('mIoU to per-frame', 'fidelity.miou', 'high'),
    Compared('pixels changed per frame', 'temporal.changed', 'low'),
    Compared('processor time (s)', 'resources.cpu_s', 'low'),
    Compared('peak memory (MB)', 'resources.peak_memory_mb', 'low'),
)
_DATA = ('data.sha256', 'topic', 'label_topic')
_HASH = re.compile('[0-9a-f]{32,}')
_NOT_SETTINGS = ('datetime', 'input_path', 'data.files')
_NOTABLE = 1e-3
"""Smaller differences, as a share of the first value, are neither better nor worse."""


def read_report(path: Path) -> dict[str, Any]:
    """Read a report.

    Args:
        path: Its folder, or its report.json.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is no report, or of another version.
    """
    file = path / 'report.json' if path.is_dir() else path
    try:
        report = json.loads(file.read_text(encoding='utf-8'))
        version = report['format_version']
        report['metadata']['data']['sha256']
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f'{file} is no report of a replay ({type(error).__name__})') from error
    if version != FORMAT_VERSION:
        raise ValueError(f'{file} has format version {version}, known is {FORMAT_VERSION}')
    assert isinstance(report, dict)
    return report


def compare_reports(
    first: Path, second: Path, folder: Path, *, force: bool = False
) -> dict[str, Any]:
    """Compare two reports; writes comparison.html and comparison.json.

    Args:
        first: What the differences count from; folder or report.json.
        second: The other one.
        folder: Gets the files; created if absent.
        force: Also compare reports of different recordings or topics.

    Returns:
        {'first', 'second', 'settings': [{'setting', 'first', 'second'}], 'figures': [{'figure',
        'first', 'second', 'difference', 'percent', 'verdict'}], 'iou': the same by class,
        'same_masks'}; None where undefined. The load of the machine is among the settings.

    Raises:
        FileNotFoundError: If one does not exist.
        ValueError: If one is no report, or they are not of the same recording.
        OSError: If the files cannot be written.
    """
    one, other = read_report(first), read_report(second)
    differs = [key for key in _DATA if _at(one['metadata'], key) != _at(other['metadata'], key)]
    if differs and not force:
        told = ', '.join(
            f'{key}: {_at(one["metadata"], key)} and {_at(other["metadata"], key)}'
            for key in differs
        )
        raise ValueError(f'the reports are not of the same recording ({told}); --force compares')
    kind = 'fidelity' if one['accuracy'] is None else 'accuracy'
    ious = [_at(report, f'{kind}.iou') or {} for report in (one, other)]
    comparison = {
        'first': str(first),
        'second': str(second),
        'same_recording': not differs,
        'same_masks': _same_masks(one, other),
        'settings': _settings(
            *({'kind': report['kind'], **report['metadata']} for report in (one, other))
        ),
        'figures': [
            row
            for figure in FIGURES
            if (row := _row(figure, _at(one, figure.path), _at(other, figure.path)))
        ],
        'iou': [
            row
            for name in dict.fromkeys((*ious[0], *ious[1]))
            if (row := _row(Compared(name, '', 'high'), ious[0].get(name), ious[1].get(name)))
        ],
    }
    write_text(
        folder / 'comparison.html', _html(comparison, one, other, _latencies(first, second))
    )
    write_json(folder / 'comparison.json', comparison)
    return comparison


def _at(values: Mapping[str, Any], path: str) -> Any:
    """What lies at keys with dots between; None where a key is absent. Whole keys come first."""
    if path in values:
        return values[path]
    key, _, rest = path.partition('.')
    inside = values.get(key)
    return _at(inside, rest) if rest and isinstance(inside, Mapping) else None


def _same_masks(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool | None:
    hashes = one['masks_sha256'], other['masks_sha256']
    return None if None in hashes else hashes[0] == hashes[1]


def _row(figure: Compared, first: Any, second: Any) -> dict[str, Any] | None:
    """A line of the comparison; None where neither report has the figure."""
    if first is None and second is None:
        return None
    row: dict[str, Any] = {'figure': figure.name, 'first': first, 'second': second}
    if first is None or second is None:
        return row | {'difference': None, 'percent': None, 'verdict': ''}
    difference = second - first
    verdict = ''
    if figure.better and abs(difference) > _NOTABLE * abs(first):
        verdict = 'better' if (difference < 0) == (figure.better == 'low') else 'worse'
    percent = 100 * difference / first if first else None
    return row | {'difference': difference, 'percent': percent, 'verdict': verdict}


def _settings(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was not the same: weights, schedule, machine, versions."""
    flat = [dict(_flattened(metadata)) for metadata in (one, other)]
    names = [n for n in dict.fromkeys((*flat[0], *flat[1])) if n not in _NOT_SETTINGS]
    return [
        {'setting': name, 'first': flat[0].get(name), 'second': flat[1].get(name)}
        for name in names
        if flat[0].get(name) != flat[1].get(name)
    ]


def _flattened(values: Mapping[str, Any], prefix: str = '') -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += _flattened(value, f'{prefix}{name}.')
        else:
            found.append((f'{prefix}{name}', value))
    return found


def _latencies(*reports: Path) -> list[list[float]]:
    """Latencies of both, from the frames.csv beside each; [] where there is none."""
    found = []
    for report in reports:
        file = (report if report.is_dir() else report.parent) / 'frames.csv'
        if not file.is_file():
            return []
        with file.open(encoding='utf-8', newline='') as lines:
            rows = list(csv.DictReader(lines))
        found.append([float(row['latency_ms']) for row in rows if row['latency_ms']])
    return found if all(found) else []


def _html(
    comparison: Mapping[str, Any],
    one: Mapping[str, Any],
    other: Mapping[str, Any],
    latencies: list[list[float]],
) -> str:
    same = {True: 'The masks are the same.', False: 'The masks differ.', None: ''}
    losses = [f'first: {loss}' for loss in one['losses']]
    losses += [f'second: {loss}' for loss in other['losses']]
    if not comparison['same_recording']:
        losses.insert(0, 'These reports are not of the same recording.')
    parts = [
        note(f'First: {comparison["first"]} - second: {comparison["second"]}'),
        warning(losses),
        note(f'{same[comparison["same_masks"]]} Differences are second minus first.'),
        section('What was changed', rows_table([_short(row) for row in comparison['settings']])),
        section('Figures', rows_table([_shown(row) for row in comparison['figures']])),
        section('How latency is distributed', plot(_latency_plot(latencies))),
        section('IoU per class', rows_table([_shown(row) for row in comparison['iou']])),
    ]
    return page(f'{one["name"]}: two replays compared', parts)


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    percent = row['percent']
    return {**row, 'percent': None if percent is None else f'{percent:+.1f} %'}


def _short(row: Mapping[str, Any]) -> dict[str, Any]:
    """A setting with the beginnings of its hashes, which are enough to see that they differ."""
    return {
        name: f'{value[:12]}...' if isinstance(value, str) and _HASH.fullmatch(value) else value
        for name, value in row.items()
    }


def _latency_plot(latencies: list[list[float]]) -> Figure | None:
    if not latencies:
        return None
    figure, axes = plot_axes(3.0)
    for name, colour, values in zip(
        ('first', 'second'), ('#3b7dd8', '#d8663b'), latencies, strict=True
    ):
        ordered = np.sort(values)
        shares = 100 * np.arange(1, len(ordered) + 1) / len(ordered)
        axes.step(ordered, shares, where='post', color=colour, label=name)
    end = max(3 * float(np.percentile(values, 99)) for values in latencies)
    most = max(max(values) for values in latencies)
    axes.set(xlabel='latency [ms]', ylabel='frames done [%]', xlim=(0, min(end, most) or 1.0))
    axes.grid(alpha=0.3)
    axes.legend(loc='lower right')
    return figure
