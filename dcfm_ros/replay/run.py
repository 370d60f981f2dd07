"""`ReplayRun`: what a replay leaves behind, through the engine alone or through the node."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.masks.overlay import RGB
from dcfm_ros.replay.frames import ReplayedFrame
from dcfm_ros.replay.quality import RunQuality


@dataclass(kw_only=True)
class Resources:
    """What a run took of the machine; None where it was not measured."""

    cpu_s: float | None = None
    """Processor time of all threads, for the frames of the run alone."""
    wall_s: float | None = None
    """Time in which that was spent."""
    peak_memory_mb: float | None = None
    """Resident memory of the process at its highest, MB."""


@dataclass(kw_only=True)
class ReplayRun:
    """A recording that went through the engine (offline) or through the node (online)."""

    name: str
    """Of the recording, for headings and tables."""
    kind: str
    """'offline' or 'online'."""
    video: str
    """File name of the overlay video."""
    class_names: tuple[str, ...]
    palette: tuple[RGB, ...]
    """One RGB colour per class."""
    frames: list[ReplayedFrame]
    """Every frame of the recording, answered or not, in order (`ReplayRecorder.frames`)."""
    quality: RunQuality
    """Its masks against labels and against the per-frame network."""
    losses: list[str]
    """What of the recording could not be read or used, and what is odd about it, in words."""
    metadata: dict[str, Any]
    """Where the results come from: `provenance.describe_run`."""
    resources: Resources = field(default_factory=Resources)
    masks_sha256: str | None = None
    """Of all masks in order: equal if and only if two runs gave the same masks."""
    transport: dict[str, Any] | None = None
    """Online only: rmw, qos, transport profile, rate_hz, ros_share, ...; goes into the report."""
    snapshots: list[NDArray[np.uint8]] = field(default_factory=list, repr=False)
    """Overlay frames for the page, RGB (`ReplayRecorder.snapshots`)."""
