"""The report of a replay: report.html, report.json and frames.csv, beside overlay.mp4."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
import csv
from dataclasses import asdict
import errno
import io
import math
from pathlib import Path
import shutil
import tempfile
from typing import Any

from dcfm_ros.files import write_json, write_text
from dcfm_ros.replay.figures import benchmark_figures, run_figures
from dcfm_ros.replay.pages.replay_page import report_html
from dcfm_ros.replay.recorder import FrameEntry, stages_of
from dcfm_ros.replay.run import ReplayRun

FORMAT_VERSION = 1
"""Of report.json: raised when a key changes its meaning."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_QUALITY = ('accuracy', 'agreement', 'changed', 'reference_changed', 'label_changed')


def write_replay_report(folder: Path, run: ReplayRun) -> dict[str, Any]:
    """Write report.json, report.html and frames.csv into a folder.

    Files are put there one by one, each as a whole; `report_folder` makes them appear together.

    Args:
        folder: Holds overlay.mp4 of the run already, if there is one.
        run: What to report.

    Returns:
        The content of report.json.

    Raises:
        OSError: If a file cannot be written.
    """
    figures = report_figures(run)
    write_text(folder / 'frames.csv', frames_csv(run.frames))
    has_video = (folder / 'overlay.mp4').exists()
    write_text(folder / 'report.html', report_html(run, figures, has_video=has_video))
    write_json(folder / 'report.json', figures)
    return figures


def report_figures(run: ReplayRun) -> dict[str, Any]:
    """The content of report.json: fractions in [0, 1], times in ms, None where undefined."""
    return {
        'format_version': FORMAT_VERSION,
        'kind': run.kind,
        'name': run.name,
        **benchmark_figures([run.frames]),
        **run_figures([run.frames]),
        'accuracy': run.quality.accuracy_figures(run.class_names),
        'fidelity': run.quality.fidelity_figures(run.class_names),
        'losses': run.losses,
        'masks_sha256': run.masks_sha256,
        'resources': asdict(run.resources),
        'transport': run.transport,
        'metadata': run.metadata,
    }


@contextmanager
def report_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to write a report into, which appears as `folder` when the body ends.

    Whatever goes wrong in the body, no part of the new report appears; files of an older one are
    replaced only when the new ones are whole.

    Raises:
        OSError: If the disk is full; the message says so.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f'.{folder.name}.'))
    try:
        yield part
        folder.mkdir(exist_ok=True)
        for file in sorted(part.iterdir()):
            file.replace(folder / file.name)
    except OSError as error:
        if error.errno in _FULL:
            what = 'the disk is full, nothing of the report was kept'
            raise OSError(error.errno, what, str(folder)) from error
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def frames_csv(frames: Sequence[FrameEntry]) -> str:
    """One line per frame; empty where a value is unknown."""
    stages = stages_of(frames)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(
        [
            'index', 'stamp_ns', 'time_s', 'answered', 'drop_cause', 'keyframe', 'reason',
            'keyframe_age', 'feature_age_ms', 'change_score', 'latency_ms',
            *(f'{name}_ms' for name in stages), *_QUALITY,
        ]
    )  # fmt: skip
    for index, frame in enumerate(frames):
        age = '' if frame.keyframe_age is None else frame.keyframe_age
        values = (
            frame.feature_age_ms,
            frame.change_score,
            frame.latency_ms,
            *(frame.stage_ms.get(name, math.nan) for name in stages),
            *(frame.quality.get(name, math.nan) for name in _QUALITY),
        )
        writer.writerow(
            [
                index,
                frame.stamp_ns,
                f'{frame.time_s:.6f}',
                int(frame.is_answered),
                frame.drop_cause,
                int(frame.is_keyframe),
                frame.reason,
                age,
                *('' if math.isnan(value) else f'{value:.4f}' for value in values),
            ]
        )
    return text.getvalue()
