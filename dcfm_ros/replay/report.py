"""The report of a replay: report.html, report.json and frames.csv, beside overlay.mp4."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dcfm_ros.replay.run import ReplayRun


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
    raise NotImplementedError
