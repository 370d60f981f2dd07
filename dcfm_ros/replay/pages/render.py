"""The pages: one HTML file each, with its style, plots and pictures inside."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import cache
import io
import re
from typing import Any

import cv2
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.replay.pages import plots
from dcfm_ros.replay.run import ReplayRun

_SUBTITLE = (
    'device', 'backend', 'precision', 'schedule', 'keyframe_interval', 'change_threshold',
    'execution', 'threads',
)  # fmt: skip


def report_page(run: ReplayRun, report: Mapping[str, Any], video: str) -> str:
    """The page of a run and its report.json, with the video beside it ('': none)."""
    return _render(
        'report.html',
        title=f'Replay of {run.name}',
        subtitle=f'{run.kind}, {_subtitle(run.metadata)}',
        run=run,
        report=report,
        video=video,
        losses=run.losses,
    )


def fleet_page(fleet: Mapping[str, Any], runs: Sequence[ReplayRun]) -> str:
    """The page of fleet.json and of the recordings that did not fail."""
    rows = fleet['rows']
    return _render(
        'fleet.html',
        title=f'Replay of {len(rows)} recordings',
        subtitle=_subtitle(fleet['metadata']),
        fleet=fleet,
        frames=[frame for run in runs for frame in run.frames],
        known={key for row in rows for key, value in row.items() if value is not None},
        losses=[f'{row["bag"]} failed: {row["error"]}' for row in rows if row['error']]
        + [f'{row["bag"]}: {loss}' for row in rows for loss in row.get('losses', ())],
    )


def comparison_page(
    comparison: Mapping[str, Any],
    one: Mapping[str, Any],
    other: Mapping[str, Any],
    latencies: Sequence[Sequence[float]],
) -> str:
    """The page of comparison.json and two reports; `latencies` of both, ms, empty if unknown."""
    losses = [f'first: {loss}' for loss in one['losses']]
    losses += [f'second: {loss}' for loss in other['losses']]
    if not comparison['same_recording']:
        losses.insert(0, 'These reports are not of the same recording.')
    title = f'{one["name"]}: two replays compared'
    return _render(
        'comparison.html', title=title, comparison=comparison, losses=losses, latencies=latencies
    )


def _subtitle(metadata: Mapping[str, Any]) -> str:
    """The options that matter most, in one line."""
    config = dict(metadata.get('config', {}))
    config.pop('change_threshold' if config.get('schedule') == 'fixed' else 'keyframe_interval', 0)
    shown = {'checkpoint': metadata.get('checkpoint')} | {n: config.get(n) for n in _SUBTITLE}
    return ', '.join(f'{words(n)}: {value}' for n, value in shown.items() if value is not None)


def plain(value: Any) -> str:
    """A value as people read it."""
    if isinstance(value, Mapping):
        return ', '.join(f'{key} {plain(item)}' for key, item in value.items()) or '-'
    if isinstance(value, (list, tuple)):
        return '; '.join(plain(item) for item in value) or '-'
    return f'{value:.3f}' if isinstance(value, float) else '-' if value is None else str(value)


def number(value: float | None, unit: str = '', factor: float = 1.0, digits: int = 1) -> str:
    """A number with its unit, '-' if it is unknown."""
    return '-' if value is None else f'{value * factor:.{digits}f}{unit}'


def percent(value: float | None) -> str:
    """A fraction as a percentage, '-' if it is unknown."""
    return number(value, ' %', 100)


def words(name: str) -> str:
    """A key as words."""
    return name.replace('_', ' ')


def short(text: str) -> str:
    """The beginnings of hashes, which are enough to see that two differ."""
    return re.sub(r'\b([0-9a-f]{12})[0-9a-f]{20,}\b', r'\1...', text)


def jpeg(image: NDArray[np.uint8]) -> str:
    """An RGB image, (H, W, 3), as a data URL."""
    is_written, data = cv2.imencode('.jpg', image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert is_written
    return 'data:image/jpeg;base64,' + base64.b64encode(data.tobytes()).decode()


def svg(figure: Figure | None) -> str:
    """A plot to be put into a page as it is; '' for None."""
    if figure is None:
        return ''
    buffer = io.StringIO()
    figure.savefig(buffer, format='svg')
    text = buffer.getvalue()
    return text[text.index('<svg') :]


def _render(template: str, **values: Any) -> str:
    """Fill a template of this package; all values are escaped, except plots."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals['plots'] = plots
    filters = (plain, number, percent, words, short, jpeg, svg)
    environment.filters.update({function.__name__: function for function in filters})
    return environment
