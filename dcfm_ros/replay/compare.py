"""Two replay reports side by side: what differs in their settings and in their results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

from dcfm_ros.files import write_json, write_text
from dcfm_ros.replay.pages.comparison_page import comparison_page
from dcfm_ros.replay.report import FORMAT_VERSION


class ComparedValue(NamedTuple):
    """A value that reports are compared by."""

    name: str
    path: str
    """Keys in report.json, with dots between."""
    better: str = ''
    """'low' or 'high'; '' if neither."""


VALUES = (
    *(
        ComparedValue(f'latency{of}, {which} (ms)', f'latency_ms{key}.{which}', 'low')
        for of, key in (
            ('', ''),
            (' with deep encoder', '_key'),
            (' without deep encoder', '_nonkey'),
        )
        for which in ('mean', 'p50', 'p95', 'p99', 'max')
    ),
    ComparedValue('jitter, mean (ms)', 'jitter_ms.mean', 'low'),
    ComparedValue('frames per second', 'BasicPerformanceMetrics.MEAN_FRAME_RATE', 'high'),
    ComparedValue('frames', 'frames_sent'),
    ComparedValue('frames dropped', 'frames_dropped', 'low'),
    ComparedValue('keyframe share', 'keyframe_share'),
    ComparedValue('oldest feature (frames)', 'keyframe_age.max'),
    ComparedValue('mIoU', 'accuracy.miou', 'high'),
    ComparedValue('mIoU of non-key frames', 'accuracy.miou_nonkey', 'high'),
    ComparedValue('streaming mIoU', 'accuracy.streaming_miou', 'high'),
    ComparedValue('mVC8', 'accuracy.mvc8', 'high'),
    ComparedValue('mVC16', 'accuracy.mvc16', 'high'),
    ComparedValue('same pixels as per-frame', 'fidelity.pixel_accuracy', 'high'),
    ComparedValue('mIoU to per-frame', 'fidelity.miou', 'high'),
    ComparedValue('pixels changed per frame', 'temporal.changed', 'low'),
    ComparedValue('processor time (s)', 'resources.cpu_s', 'low'),
    ComparedValue('peak memory (MB)', 'resources.peak_memory_mb', 'low'),
)
_DATA = ('data.sha256', 'topic', 'label_topic')
_NOT_SETTINGS = ('datetime', 'input_path', 'data.files')
_NOTABLE = 1e-3
"""Differences below this share of the first value are neither better nor worse."""


def read_report(path: Path) -> dict[str, Any]:
    """Read a report.

    Args:
        path: Its folder, or its report.json.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it is not a report, or of another version.
    """
    file = path / 'report.json' if path.is_dir() else path
    try:
        report = json.loads(file.read_text(encoding='utf-8'))
        version = report['format_version']
        report['metadata']['data']['sha256']
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f'{file} is not a replay report ({type(error).__name__})') from error
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
        second: Folder or report.json.
        folder: Gets the files; created if absent.
        force: Also compare reports of different recordings or topics.

    Returns:
        {'first', 'second', 'settings': [{'setting', 'first', 'second'}], 'figures': [{'figure',
        'first', 'second', 'difference', 'percent', 'verdict'}], 'iou': the same by class,
        'same_masks'}; None where undefined. The load of the machine counts as a setting.

    Raises:
        FileNotFoundError: If one does not exist.
        ValueError: If one is not a report, or they are not of the same recording.
        OSError: If the files cannot be written.
    """
    one, other = read_report(first), read_report(second)
    data = {key: [_at(report['metadata'], key) for report in (one, other)] for key in _DATA}
    differs = [key for key, (a, b) in data.items() if a != b or (a is None and 'sha' in key)]
    if differs and not force:
        what = ', '.join(f'{key}: {data[key][0]} and {data[key][1]}' for key in differs)
        raise ValueError(f'the reports are not of the same recording ({what}); use --force')
    kind = 'fidelity' if one['accuracy'] is None else 'accuracy'
    ious = [_at(report, f'{kind}.iou') or {} for report in (one, other)]
    comparison = {
        'first': str(first),
        'second': str(second),
        'same_recording': not differs,
        'same_masks': _same_masks(one, other),
        'settings': _settings(one, other),
        'figures': _rows(VALUES, one, other),
        'iou': _rows([ComparedValue(name, name, 'high') for name in ious[0] | ious[1]], *ious),
    }
    write_text(
        folder / 'comparison.html',
        comparison_page(comparison, one, other, _latencies(first, second)),
    )
    write_json(folder / 'comparison.json', comparison)
    return comparison


def _at(values: Mapping[str, Any], path: str) -> Any:
    """The value at a path of keys with dots between, or at a key with dots; None if absent."""
    if path in values:
        return values[path]
    key, _, rest = path.partition('.')
    inside = values.get(key)
    return _at(inside, rest) if rest and isinstance(inside, Mapping) else None


def _same_masks(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool | None:
    hashes = one['masks_sha256'], other['masks_sha256']
    return None if None in hashes else hashes[0] == hashes[1]


def _rows(
    values: Sequence[ComparedValue], one: Mapping[str, Any], other: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """A line for every value that a report has."""
    rows = []
    for value in values:
        first, second = _at(one, value.path), _at(other, value.path)
        row = {'figure': value.name, 'first': first, 'second': second}
        row |= {'difference': None, 'percent': None, 'verdict': ''}
        if first is not None and second is not None:
            row['difference'] = difference = second - first
            row['percent'] = 100 * difference / first if first else None
            if value.better and abs(difference) > _NOTABLE * abs(first):
                is_better = (difference < 0) == (value.better == 'low')
                row['verdict'] = 'better' if is_better else 'worse'
        if first is not None or second is not None:
            rows.append(row)
    return rows


def _settings(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Settings that differ: weights, schedule, machine, versions."""
    flat = [
        dict(_flattened({'kind': report['kind'], **report['metadata']})) for report in (one, other)
    ]
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
    """Latencies of both, from the frames.csv beside each; [] without one."""
    found = []
    for report in reports:
        file = (report if report.is_dir() else report.parent) / 'frames.csv'
        if not file.is_file():
            return []
        with file.open(encoding='utf-8', newline='') as lines:
            rows = list(csv.DictReader(lines))
        found.append([float(row['latency_ms']) for row in rows if row['latency_ms']])
    return found if all(found) else []
