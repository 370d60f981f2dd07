"""Two replay reports side by side: what differs in their settings and in their results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
import csv
import json
from pathlib import Path
from typing import Any

from dcfm_ros.files import write_json, write_text
from dcfm_ros.replay.pages.render import comparison_page
from dcfm_ros.replay.report import FORMAT_VERSION

VALUES = (
    *(
        (f'latency{of}, {which} (ms)', f'latency_ms{key}.{which}', 'low')
        for of, key in (
            ('', ''),
            (' with deep encoder', '_key'),
            (' without deep encoder', '_nonkey'),
        )
        for which in ('mean', 'p50', 'p95', 'p99', 'max')
    ),
    ('jitter, mean (ms)', 'jitter_ms.mean', 'low'),
    ('frames per second', 'BasicPerformanceMetrics.MEAN_FRAME_RATE', 'high'),
    ('frames', 'frames_sent', ''),
    ('frames dropped', 'frames_dropped', 'low'),
    ('keyframe share', 'keyframe_share', ''),
    ('oldest feature (frames)', 'keyframe_age.max', ''),
    ('mIoU', 'accuracy.miou', 'high'),
    ('mIoU of groups', 'accuracy.group_miou', 'high'),
    ('mIoU of non-key frames', 'accuracy.miou_nonkey', 'high'),
    ('streaming mIoU', 'accuracy.streaming_miou', 'high'),
    ('mVC8', 'accuracy.mvc8', 'high'),
    ('mVC16', 'accuracy.mvc16', 'high'),
    ('same pixels as per-frame', 'fidelity.pixel_accuracy', 'high'),
    ('mIoU to per-frame', 'fidelity.miou', 'high'),
    ('mIoU of groups to per-frame', 'fidelity.group_miou', 'high'),
    ('pixels changed per frame', 'temporal.changed', 'low'),
    ('processor time (s)', 'resources.cpu_s', 'low'),
    ('peak memory (MB)', 'resources.peak_memory_mb', 'low'),
)
"""Name, keys in report.json with dots between, and which is better: low, high or neither."""
_DATA = ('data.sha256', 'topic', 'label_topic')
_NOT_SETTINGS = ('datetime', 'input_path', 'data.files')
_NOTABLE = 1e-3
"""Differences below this share of the first value are neither better nor worse."""


def read_report(path: Path) -> dict[str, Any]:
    """Read a report from its folder, or from its report.json.

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
        'group_iou': by group, 'same_masks'}; None where undefined. The load of the machine counts
        as a setting.

    Raises:
        FileNotFoundError: If one does not exist.
        ValueError: If one is not a report, or they are not of the same recording.
        OSError: If the files cannot be written.
    """
    one, other = read_report(first), read_report(second)
    # The kind says whether latencies are those of the engine or of the node.
    a, b = (_flat({'kind': report['kind'], **report['metadata']}) for report in (one, other))
    differs = [n for n in _DATA if a.get(n) != b.get(n) or (n == 'data.sha256' and a[n] is None)]
    if differs and not force:
        what = ', '.join(f'{name}: {a.get(name)} and {b.get(name)}' for name in differs)
        raise ValueError(f'the reports are not of the same recording ({what}); use --force')
    hashes = one['masks_sha256'], other['masks_sha256']
    kind = 'fidelity' if one['accuracy'] is None else 'accuracy'
    qualities = [report[kind] or {} for report in (one, other)]
    comparison = {
        'first': str(first),
        'second': str(second),
        'same_recording': not differs,
        'same_masks': None if None in hashes else hashes[0] == hashes[1],
        'settings': [
            {'setting': name, 'first': a.get(name), 'second': b.get(name)}
            for name in a | b
            if name not in _NOT_SETTINGS and a.get(name) != b.get(name)
        ],
        'figures': _rows(VALUES, _flat(one), _flat(other)),
        **{name: _ious(*(q.get(name, {}) for q in qualities)) for name in ('iou', 'group_iou')},
    }
    page = comparison_page(comparison, one, other, _latencies(first, second))
    write_text(folder / 'comparison.html', page)
    write_json(folder / 'comparison.json', comparison)
    return comparison


def _flat(values: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """Values at any depth by their keys, with dots between."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        is_inner = isinstance(value, Mapping)
        found |= _flat(value, f'{prefix}{name}.') if is_inner else {f'{prefix}{name}': value}
    return found


def _rows(
    values: Iterable[tuple[str, str, str]], one: Mapping[str, Any], other: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """A line for every value that a report has."""
    rows = []
    for name, path, better in values:
        first, second = one.get(path), other.get(path)
        row = {'figure': name, 'first': first, 'second': second}
        row |= {'difference': None, 'percent': None, 'verdict': ''}
        if first is not None and second is not None:
            row['difference'] = difference = second - first
            row['percent'] = 100 * difference / first if first else None
            if better and abs(difference) > _NOTABLE * abs(first):
                is_better = (difference < 0) == (better == 'low')
                row['verdict'] = 'better' if is_better else 'worse'
        if first is not None or second is not None:
            rows.append(row)
    return rows


def _ious(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A line for every class or group."""
    return _rows(((name, name, 'high') for name in {**one, **other}), one, other)


def _latencies(*reports: Path) -> list[list[float]]:
    """Latencies of both, from the frames.csv beside each; [] without one."""
    found = []
    for report in reports:
        file = (report if report.is_dir() else report.parent) / 'frames.csv'
        if not file.is_file():
            return []
        with file.open(encoding='utf-8', newline='') as lines:
            found.append(
                [float(r['latency_ms']) for r in csv.DictReader(lines) if r['latency_ms']]
            )
    return found if all(found) else []
