"""The page of a replay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dcfm_ros.replay.pages import spread_plots, time_plots
from dcfm_ros.replay.pages.render import render, svg, words
from dcfm_ros.replay.run import ReplayRun

_SUBTITLE = (
    'device', 'backend', 'precision', 'schedule', 'keyframe_interval', 'change_threshold',
    'execution', 'threads',
)  # fmt: skip


def report_page(run: ReplayRun, report: Mapping[str, Any], *, video: str = '') -> str:
    """The page as HTML.

    Args:
        run: The run.
        report: As in report.json.
        video: Overlay video beside the page; '' for none.
    """
    frames, compared = run.frames, report['accuracy'] or report['fidelity']
    plots = {
        'latency': time_plots.latency(frames),
        'latency_distribution': spread_plots.latency_distribution(frames),
        'stages': spread_plots.stages(frames),
        'keyframes': time_plots.keyframes(frames),
        'by_age': spread_plots.by_age(compared),
        'class_ious': spread_plots.class_ious(compared),
        'correctness': time_plots.correctness(frames),
        'change': time_plots.change(frames),
        'stamps': time_plots.stamps(frames),
        'classes': time_plots.classes(frames, run.class_names, run.palette),
    }
    return render(
        'report.html',
        title=f'Replay of {run.name}',
        subtitle=f'{run.kind}, {subtitle(run.metadata)}',
        run=run,
        report=report,
        video=video,
        losses=[f'Not all of the recording could be read: {loss}' for loss in run.losses],
        versus=versus(report),
        plots={name: svg(plot) for name, plot in plots.items()},
        provenance=_provenance(report),
    )


def subtitle(metadata: Mapping[str, Any]) -> str:
    """The options that matter most, in one line."""
    config = dict(metadata.get('config', {}))
    config.pop('change_threshold' if config.get('schedule') == 'fixed' else 'keyframe_interval', 0)
    shown = {'checkpoint': metadata.get('checkpoint')} | {n: config.get(n) for n in _SUBTITLE}
    return ', '.join(f'{words(n)}: {value}' for n, value in shown.items() if value is not None)


def versus(report: Mapping[str, Any]) -> str:
    """What the masks are compared with."""
    return 'the labels' if report['accuracy'] else 'the per-frame network'


def _provenance(report: Mapping[str, Any]) -> dict[str, Any]:
    """All metadata with one level of names, and the resources."""
    shown: dict[str, Any] = {}
    groups = {**report['metadata'], 'resources': report['resources']}
    for name, value in groups.items():
        if isinstance(value, Mapping):
            shown |= {f'{name}: {key}': item for key, item in value.items()}
        else:
            shown[name] = value
    return shown | {'masks_sha256': report['masks_sha256']}
