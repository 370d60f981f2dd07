"""The plots of the pages. Each gives None if there is nothing to show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np

from dcfm_ros.replay.frames import ReplayedFrame, by_depth, stages_of

Frames = Sequence[ReplayedFrame]

DEEP, SHALLOW = 'with deep encoder', 'without'
"""Frames on which the deep encoder worked (in execution 'sync', keyframes), and others."""
_NAMES = {True: DEEP, False: SHALLOW, None: 'not known'}
_COLOURS = {True: '#d8663b', False: '#3b7dd8', None: '#8a97a5'}
_GREY, _DARK, _RED, _GREEN = '#8a97a5', '#1c2733', '#b00020', '#1d7a3a'
_TIME = 'time of the frame [s]'
_MANY = 2000
"""More points than this are drawn as a picture, which is smaller."""
_NUM_CLASSES, _NUM_BINS = 12, 60


def latency(frames: Frames) -> Figure:
    """Latency of every frame."""
    figure, axes = _plot(3.2)
    for is_deep, chosen in by_depth(frames):
        (dots,) = axes.plot(_times(chosen), [f.latency_ms for f in chosen], 'o')
        dots.set(color=_COLOURS[is_deep], label=_NAMES[is_deep], ms=5 if is_deep else 3)
        dots.set_rasterized(len(chosen) > _MANY)
    _mark_dropped(axes, frames)
    axes.set(xlabel=_TIME, ylabel='latency [ms]', ylim=(0, None))
    return _legend(figure)


def latency_distribution(frames: Frames) -> Figure | None:
    """Histogram of the latency, and the share of frames that are done by then."""
    answered = [f for f in frames if f.is_answered]
    if not answered:
        return None
    figure, axes = _plot(3.0)
    every = [f.latency_ms for f in answered]
    percentiles = {f'p{share}': np.percentile(every, share) for share in (50, 95, 99)}
    # One hiccup of the machine would squeeze all others into the first bin.
    end = min(max(every), 3 * float(percentiles['p99'])) or 1.0
    bins = np.linspace(0, end, _NUM_BINS + 1).tolist()
    for is_deep, chosen in by_depth(frames):
        clipped = np.clip([f.latency_ms for f in chosen], 0, end)
        axes.hist(clipped, bins, color=_COLOURS[is_deep], alpha=0.75, label=_NAMES[is_deep])
    axes.set(xlabel='latency [ms]', ylabel='frames', xlim=(0, end))
    shares = axes.twinx()
    _cumulative(shares, every, _DARK, '')
    axes.plot([], [], color=_DARK, lw=1.2, label='all, cumulative')
    shares.set(ylabel='frames done [%]', ylim=(0, 102))
    for name, value in percentiles.items():
        axes.axvline(value, color=_GREY, lw=0.8, ls=':')
        side = 'left' if value < 0.95 * end else 'right'
        axes.text(value, axes.get_ylim()[1], f' {name} ', ha=side, va='top', fontsize=8)
    return _legend(figure)


def latency_of_two(latencies: Sequence[Sequence[float]]) -> Figure:
    """Share of the frames of two runs that are done, by latency in ms."""
    figure, axes = _plot(3.0)
    for name, is_first, values in zip(('first', 'second'), (False, True), latencies, strict=True):
        _cumulative(axes, values, _COLOURS[is_first], name)
    end = max(min(3 * float(np.percentile(values, 99)), max(values)) for values in latencies)
    axes.set(xlabel='latency [ms]', ylabel='frames done [%]', xlim=(0, end or 1.0))
    return _legend(figure)


def latency_by_recording(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Percentiles of the latency, a line per row of a fleet that has not failed."""
    rows = [row for row in rows if not row['error']]
    figure, axes = _plot(0.8 + 0.3 * len(rows))
    places = range(len(rows))
    p50, p99, longest = ([row[f'latency_ms_{n}'] for row in rows] for n in ('p50', 'p99', 'max'))
    axes.hlines(places, p50, p99, color=_COLOURS[False], lw=2)
    axes.plot(p50, places, 'o', color=_COLOURS[False], label='p50')
    axes.plot(p99, places, '|', ms=12, color=_COLOURS[False], label='p99')
    axes.plot(longest, places, '.', color=_COLOURS[True], label='max')
    axes.set_yticks(places, [row['report'] for row in rows])
    axes.set(xlabel='latency [ms]', xlim=(0, None), ylim=(len(rows) - 0.5, -0.5))
    return _legend(figure, is_long=True)


def stages(frames: Frames) -> Figure | None:
    """Median time of every stage, on frames with and without the deep encoder."""
    if not (names := stages_of(frames)):
        return None
    figure, axes = _plot(1.9)
    for row, is_deep in enumerate((True, False)):
        left = 0.0
        chosen = [f.stage_ms for f in frames if f.is_answered and f.is_deep == is_deep]
        for index, name in enumerate(names):
            width = float(np.median([ms[name] for ms in chosen if name in ms] or [0.0]))
            label = name if is_deep else None
            axes.barh(row, width, left=left, color=f'C{index}', label=label)
            left += width
        axes.text(left, row, f'  {left:.1f} ms', va='center')
    axes.margins(x=0.14)  # room for the numbers
    axes.set_yticks([0, 1], [DEEP, SHALLOW])
    axes.invert_yaxis()
    axes.set_xlabel('median time [ms]')
    return _legend(figure, is_long=True)


def keyframes(frames: Frames) -> Figure | None:
    """Age of the common feature, and the keyframes with their reasons."""
    aged = [f for f in frames if f.keyframe_age is not None]
    if not aged:
        return None
    figure, axes = _plot(2.6)
    ages = [f.keyframe_age or 0 for f in aged]
    axes.step(_times(aged), ages, where='post', c=_GREY, lw=1, label='age of the common feature')
    for reason in dict.fromkeys(f.reason or 'unknown' for f in aged if f.is_keyframe):
        chosen = [f for f in aged if f.is_keyframe and (f.reason or 'unknown') == reason]
        ages = [f.keyframe_age or 0 for f in chosen]
        axes.plot(_times(chosen), ages, 'o', ms=5, label=f'{reason} ({len(chosen)})')
    axes.locator_params(axis='y', integer=True)
    axes.set(xlabel=_TIME, ylabel='age [frames]', ylim=(-0.3, None))
    return _legend(figure, is_long=True)


def class_ious(quality: Mapping[str, Any] | None) -> Figure | None:
    """IoU of every class that occurs."""
    known = [(v, name) for name, v in (quality or {}).get('iou', {}).items() if v is not None]
    if not known:
        return None
    figure, axes = _plot(0.6 + 0.24 * len(known))
    ious, names = zip(*sorted(known), strict=True)
    axes.bar_label(axes.barh(names, ious, color=_COLOURS[False]), fmt=' %.2f', fontsize=8)
    axes.set(xlabel='IoU', xlim=(0, 1.08))
    return figure


def by_age(quality: Mapping[str, Any] | None) -> Figure | None:
    """Quality of the masks by the age of their common feature."""
    rows = (quality or {}).get('by_age', [])
    if len(rows) < 2:
        return None
    figure, axes = _plot(2.6)
    ages = [row['age'] for row in rows]
    lines = {'miou': 'mIoU', 'pixel_accuracy': 'pixels of the same class'}
    for (key, name), colour in zip(lines.items(), (_COLOURS[False], _GREY), strict=True):
        values = np.array([row[key] for row in rows], float)  # None becomes nan
        axes.plot(ages, values, 'o-', color=colour, label=name)
    axes.locator_params(axis='x', integer=True)
    axes.set(xlabel='age of the common feature [frames]', ylim=(0, 1.02))
    return _legend(figure)


def correctness(frames: Frames) -> Figure | None:
    """Share of the pixels of each frame that are right, or as the per-frame network says."""
    lines = {
        'accuracy': ('right, of the labelled pixels', _GREEN, '-'),
        'agreement': ('same as the per-frame network', _COLOURS[False], '-'),
    }
    return _shares(frames, lines, ylabel='pixels [%]', ylim=(None, 101.0))


def change(frames: Frames) -> Figure | None:
    """Share of the pixels of each frame that change class."""
    lines = {
        'changed': ('masks', _COLOURS[True], '-'),
        'reference_changed': ('masks of the per-frame network', _GREY, '-'),
        'label_changed': ('labels', _DARK, ':'),
    }
    return _shares(frames, lines, ylabel='changed pixels [%]', ylim=(0.0, None))


def _shares(
    frames: Frames, lines: Mapping[str, tuple[str, str, str]], **look: Any
) -> Figure | None:
    """Lines over time: by key of `ReplayedFrame.quality`, their name, colour and style."""
    figure, axes = _plot(2.4)
    for key, (name, colour, style) in lines.items():
        if chosen := [f for f in frames if key in f.quality]:
            values = [100 * f.quality[key] for f in chosen]
            axes.plot(_times(chosen), values, style, color=colour, lw=1, label=name)
    if not axes.lines:
        return None
    axes.set(xlabel=_TIME, **look)
    return _legend(figure)


def stamps(frames: Frames) -> Figure | None:
    """Steps between header stamps, and dropped frames."""
    if len(frames) < 2:
        return None
    figure, axes = _plot(2.2)
    steps_ms = np.diff([f.stamp_ns for f in frames]) / 1e6
    (dots,) = axes.plot(_times(frames)[1:], steps_ms, '.', ms=3, color=_COLOURS[False])
    dots.set_label('since the last frame')
    _mark_dropped(axes, frames)
    bottom, top = min(0.0, float(steps_ms.min()) * 1.05), float(steps_ms.max()) * 1.15
    axes.set(xlabel=_TIME, ylabel='step [ms]', ylim=(bottom, top))
    return _legend(figure)


def classes(
    frames: Frames, class_names: Sequence[str], palette: Sequence[tuple[int, int, int]]
) -> Figure | None:
    """Share of the image of the most frequent classes."""
    chosen = [f for f in frames if f.class_shares is not None]
    if not chosen:
        return None
    figure, axes = _plot(3.4)
    shares = np.stack([f.class_shares for f in chosen if f.class_shares is not None])
    mean = shares.mean(0)
    order = [i for i in np.argsort(-mean)[:_NUM_CLASSES] if mean[i] > 0]
    colours, names = np.array(palette)[order] / 255, [class_names[i] for i in order]
    axes.stackplot(_times(chosen), 100 * shares[:, order].T, labels=names, colors=colours)
    axes.set(xlabel=_TIME, ylabel='share of the image [%]', ylim=(0, 100), xmargin=0)
    return _legend(figure, is_long=True)


def _plot(height: float) -> tuple[Figure, Axes]:
    """An empty plot of the page's width, `height` in inches."""
    figure = Figure(figsize=(10, height), layout='constrained')
    axes = figure.subplots()
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    return figure, axes


def _times(frames: Frames) -> list[float]:
    return [frame.time_s for frame in frames]


def _mark_dropped(axes: Axes, frames: Frames) -> None:
    if dropped := [f.time_s for f in frames if not f.is_answered]:
        axes.plot(dropped, [0.0] * len(dropped), 'x', color=_RED, label='dropped')


def _cumulative(axes: Axes, values: Sequence[float], colour: str, name: str) -> None:
    shares = 100 * np.arange(1, len(values) + 1) / len(values)
    axes.step(np.sort(values), shares, where='post', color=colour, lw=1.2, label=name)


def _legend(figure: Figure, *, is_long: bool = False) -> Figure:
    """Add a legend that covers nothing: above the plot, or beside it for many entries."""
    above = {'loc': 'lower right', 'bbox_to_anchor': (1, 1), 'ncols': 4}
    beside = {'loc': 'center left', 'bbox_to_anchor': (1, 0.5)}
    look: Any = {'fontsize': 8, 'frameon': False, **(beside if is_long else above)}
    figure.axes[0].legend(**look)
    return figure
