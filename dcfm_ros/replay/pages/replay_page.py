"""The page of a replay report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dcfm_ros.replay.pages.parts import (
    note,
    number,
    page,
    picture,
    plain,
    plot,
    rows_table,
    section,
    table,
    tiles,
    video,
    warning,
)
from dcfm_ros.replay.pages.replay_plots import (
    by_age,
    change_timeline,
    class_ious,
    correctness_timeline,
    keyframe_timeline,
    latency_distribution,
    stamp_timeline,
)
from dcfm_ros.replay.pages.run_plots import class_plot, latency_plot, stage_plot
from dcfm_ros.replay.pages.transport_tables import transport_html
from dcfm_ros.replay.run import ReplayRun

_SPREADS = {
    'latency_ms': 'latency, all frames',
    'latency_ms_key': 'latency, deep encoder at work',
    'latency_ms_nonkey': 'latency, other frames',
    'jitter_ms': 'jitter',
    'feature_age_ms': 'age of the feature in use',
}
_CLOCK = {
    'offline': 'Latency is the time of one engine step; the next frame waits until it is done.',
    'online': 'Latency is from sending the image to having its mask, matched by stamp.',
}


def report_html(run: ReplayRun, figures: Mapping[str, Any], *, has_video: bool) -> str:
    """The page as a whole.

    Args:
        run: The run.
        figures: As in report.json.
        has_video: Whether overlay.mp4 lies beside the page.
    """
    compared = figures['accuracy'] or figures['fidelity']
    versus = 'labels' if figures['accuracy'] else 'the per-frame network'
    parts = [
        note(_subtitle(run)),
        warning([f'Not all of the recording could be read: {loss}' for loss in run.losses]),
        tiles(_tiles(figures)),
        video('overlay.mp4', run.snapshots) if has_video else '',
        note('Left: camera. Right: the mask of that frame.') if has_video else '',
        section('Latency', note(_CLOCK[run.kind]), _spread_table(figures)),
        section('Latency over time', plot(latency_plot(run.frames))),
        section('How latency is distributed', plot(latency_distribution(run.frames))),
        section('Time per stage', plot(stage_plot(run.frames)), _stage_table(figures)),
        section('Keyframes', _reasons(figures), plot(keyframe_timeline(run.frames))),
        _quality_section('Accuracy', figures['accuracy'], 'the labels of the recording', 'label'),
        _quality_section('Fidelity', figures['fidelity'], _REFERENCE, 'per-frame mask'),
        section(f'By the age of the feature, against {versus}', plot(by_age(compared))),
        section(f'IoU per class, against {versus}', plot(class_ious(compared))),
        section('Frame by frame', plot(correctness_timeline(run.frames))),
        section(
            'Change from frame to frame', _temporal(figures), plot(change_timeline(run.frames))
        ),
        section('Header stamps', _stamps(figures), plot(stamp_timeline(run.frames))),
        section('What was seen', plot(class_plot(run.frames, run.class_names, run.palette))),
        section('Frames', *(picture(snapshot) for snapshot in run.snapshots)),
        section('Transport', *transport_html(run.transport)),
        section('Where this comes from', table(_origin(figures))),
    ]
    return page(f'Replay of {run.name}', parts)


_REFERENCE = 'the masks of the same weights, run on every frame by itself'
_NO_WARP = 'Nothing is warped: what moves changes its pixels in the best of masks too.'
_CONSISTENCY = (
    'Of the pixels whose {what} stands still for 8 (mVC8) or 16 (mVC16) frames, so many have a '
    'mask that does too.'
)
_NAMES = {
    'miou': 'mIoU',
    'wiou': 'wIoU',
    'pixel_accuracy': 'pixels with the same class',
    'miou_key': 'mIoU, own feature',
    'miou_nonkey': 'mIoU, older feature',
    'mvc8': 'mVC8',
    'mvc16': 'mVC16',
    'streaming_miou': 'streaming mIoU',
    'labelled_frames': 'labelled frames',
    'labels_of_another_size': 'labels of another size, not counted',
    'compared_frames': 'frames',
}


def _subtitle(run: ReplayRun) -> str:
    config = run.metadata.get('config', {})
    told = {'checkpoint': run.metadata.get('checkpoint'), **config}
    names = (
        'checkpoint', 'device', 'backend', 'precision', 'schedule', 'keyframe_interval',
        'change_threshold', 'execution', 'threads',
    )  # fmt: skip
    said = (f'{n.replace("_", " ")}: {told[n]}' for n in names if told.get(n) is not None)
    return ' - '.join([run.kind, *said])


def _tiles(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    latency, memory = figures['latency_ms'], figures['resources']['peak_memory_mb']
    shown = [
        ('masks / frames', f'{figures["masks_received"]} / {figures["frames_sent"]}'),
        ('latency p50', number(latency['p50'], ' ms')),
        ('latency p99', number(latency['p99'], ' ms')),
        ('keyframes', number(figures['keyframe_share'], ' %', 100)),
    ]
    if accuracy := figures['accuracy']:
        shown += [
            ('mIoU', number(accuracy['miou'], digits=3)),
            ('mVC8', number(accuracy['mvc8'], digits=3)),
            ('streaming mIoU', number(accuracy['streaming_miou'], digits=3)),
        ]
    if fidelity := figures['fidelity']:
        shown += [
            ('pixels as per-frame', number(fidelity['pixel_accuracy'], ' %', 100)),
            ('mIoU to per-frame', number(fidelity['miou'], digits=3)),
        ]
    return [*shown, ('peak memory', number(memory, ' MB', digits=0))]


def _spread_table(figures: Mapping[str, Any]) -> str:
    rows = []
    for key, name in _SPREADS.items():
        if figures[key]['p50'] is not None:
            shown = {column: number(value, digits=2) for column, value in figures[key].items()}
            rows.append({'ms': name} | shown)
    return rows_table(rows)


def _stage_table(figures: Mapping[str, Any]) -> str:
    names = {'p50': 'p50', 'p95': 'p95', 'max': 'max', 'key': 'p50, deep', 'nonkey': 'p50, other'}
    return rows_table(
        [
            {'ms': stage} | {head: number(spread[key], digits=2) for key, head in names.items()}
            for stage, spread in figures['stage_ms'].items()
        ]
    )


def _reasons(figures: Mapping[str, Any]) -> str:
    share = number(figures['keyframe_share'], ' %', 100)
    reasons = plain(figures['keyframe_reasons'])
    age = figures['keyframe_age']
    ages = f'oldest feature in use: {number(age["max"], digits=0)} frames'
    return note(f'{figures["keyframes"]} keyframes, {share} of the frames ({reasons}); {ages}')


def _quality_section(
    heading: str, figures: Mapping[str, Any] | None, versus: str, what: str
) -> str:
    if figures is None:
        return ''
    shown = {_NAMES[name]: value for name, value in figures.items() if name in _NAMES}
    said = f'Compared with {versus}. {_CONSISTENCY.format(what=what)}'
    return section(heading, note(said), table(shown))


def _temporal(figures: Mapping[str, Any]) -> str:
    names = {
        'changed': 'the masks',
        'reference_changed': 'the per-frame network',
        'label_changed': 'the labels',
    }
    told = [
        f'{number(value, " %", 100)} in {name}'
        for key, name in names.items()
        if (value := figures['temporal'][key]) is not None
    ]
    if not told:
        return ''
    return note(f'Pixels that change from frame to frame: {", ".join(told)}. {_NO_WARP}')


def _stamps(figures: Mapping[str, Any]) -> str:
    stamps = figures['stamps']
    said = f'{number(stamps["rate_hz"], " Hz", digits=2)} for {stamps["duration_s"]:.1f} s'
    gaps = f'{stamps["gaps"]} gaps, in which {stamps["frames_missing"]} frames are missing'
    back = f'{stamps["steps_back"]} steps that do not go forward'
    listed = rows_table(stamps['longest_gaps']) if stamps['longest_gaps'] else ''
    return note(f'{said}; {gaps}; {back}') + listed


def _origin(figures: Mapping[str, Any]) -> dict[str, Any]:
    metadata = dict(figures['metadata'])
    machine, data = metadata.pop('machine', {}), metadata.pop('data', {})
    resources = {f'resources: {key}': value for key, value in figures['resources'].items()}
    return {
        **metadata,
        **{f'data: {key}': value for key, value in data.items()},
        **{f'machine: {key}': value for key, value in machine.items()},
        **resources,
        'masks_sha256': figures['masks_sha256'],
    }
