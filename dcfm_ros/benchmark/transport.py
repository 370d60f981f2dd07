"""Loss, latency and CPU of images over DDS: to a subscriber that only takes them, and to the node.

The first tells what the middleware loses; what a busy node replaces by newer images is no loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
import json
from pathlib import Path
import subprocess
import sys
from typing import Any

import numpy as np

from dcfm_ros.benchmark.sections import Section
from dcfm_ros.play.fastdds import packaged_profile

RELIABILITIES = ('reliable', 'best_effort')
RECEIVERS = ('subscriber', 'node')


@dataclass(frozen=True, kw_only=True)
class TransportOptions:
    """What to send.

    Raises:
        ValueError: If a value is outside what its field says.
    """

    frames: int = 180
    """Per row of the table, at least 2."""
    rate_hz: float = 30.0
    """Frames sent per second, above 0."""
    sizes: tuple[tuple[int, int], ...] = ((480, 640), (720, 1280), (1080, 1920))
    """(H, W) of the images, rgb8."""
    checkpoint: str = 'default'
    """Weights of the node, as its parameter."""
    device: str = 'auto'
    """Parameter of the node."""

    def __post_init__(self) -> None:
        if self.frames < 2:
            raise ValueError(f'`frames` must be at least 2, got {self.frames}')
        if self.rate_hz <= 0:
            raise ValueError(f'`rate_hz` must be above 0, got {self.rate_hz}')
        if not self.sizes or min(map(min, self.sizes)) < 1:
            raise ValueError(f'`sizes` must be some, of 1x1 and more, got {self.sizes}')

    @property
    def rows(self) -> int:
        """Rows of the whole table, with and without the profile."""
        return 2 * len(self.sizes) * len(RELIABILITIES) * len(RECEIVERS)


def measure_transport(
    options: TransportOptions, on_row: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Send images with and without the shipped Fast DDS profile.

    Both ends of a row run with the profile, or without; a process reads it once, so each half of
    the table has processes of its own.

    Args:
        options: What to send.
        on_row: Called for every row that is done.

    Returns:
        'middleware' (rmw, distro, discovery range), 'frames', 'rate_hz' and 'rows'.

    Raises:
        RuntimeError: If a process fails; it has said why.
    """
    rows: list[dict[str, Any]] = []
    middleware: dict[str, Any] = {}
    for profile in (None, packaged_profile()):
        if profile and not middleware['rmw'].startswith('rmw_fastrtps'):
            break  # another middleware does not read it
        for told in _tell(options, profile):
            if 'rmw' in told:
                middleware = told
            else:
                rows.append(told)
                on_row()
    return {
        'middleware': middleware,
        'frames': options.frames,
        'rate_hz': options.rate_hz,
        'rows': rows,
    }


def transport_row(
    facts: Mapping[str, Any],
    sent_s: Sequence[float],
    latencies_ms: Sequence[float],
    *,
    lost: int,
    replaced: int,
    receiver: Mapping[str, float | None],
    sender_cpu_s: float,
) -> dict[str, Any]:
    """Put a row together.

    Args:
        facts: What was sent, and to whom.
        sent_s: When each frame was sent, ascending, at least 2; s.
        latencies_ms: Of the frames that were taken or answered, in any order.
        lost: Frames that the middleware did not bring.
        replaced: Frames that the node dropped for newer ones.
        receiver: Figures of its process, as of `ProcessMeter`.
        sender_cpu_s: CPU time of the sender, s.
    """
    duration_s = sent_s[-1] - sent_s[0]
    return {
        **facts,
        'sent_hz': round((len(sent_s) - 1) / duration_s, 2),
        'lost_percent': round(100 * lost / len(sent_s), 2),
        'replaced_percent': round(100 * replaced / len(sent_s), 2),
        **{
            f'p{percent}_ms': float(np.percentile(latencies_ms, percent)) if latencies_ms else None
            for percent in (50, 95, 99)
        },
        'cpu_percent': receiver['cpu_percent'],
        'memory_mb': receiver['memory_mb'],
        'sender_cpu_percent': 100 * sender_cpu_s / duration_s,
    }


def transport_sections(figures: Mapping[str, Any]) -> list[Section]:
    """The figures as tables, one per receiver."""
    transport = figures['transport']
    facts = {**figures['machine'], **transport['middleware']}
    tables = [
        Section('Machine', [{'fact': name, 'value': value} for name, value in facts.items()])
    ]
    sent = f'{transport["frames"]} images per row at {transport["rate_hz"]:g} Hz. '
    for receiver, title, note in (
        ('subscriber', 'Images over DDS to a subscriber that only takes them', _TO_SUBSCRIBER),
        ('node', 'Images over DDS to the node, and its masks back', _TO_NODE),
    ):
        rows = [
            {name: value for name, value in row.items() if name != 'to'}
            for row in transport['rows']
            if row['to'] == receiver
        ]
        tables.append(Section(title, rows, sent + note))
    return tables


def _tell(options: TransportOptions, profile: Path | None) -> Iterator[dict[str, Any]]:
    """Run one half of the table; what its process tells, as it comes."""
    given = {**asdict(options), 'profile': str(profile) if profile else None}
    command = [sys.executable, '-m', 'dcfm_ros.benchmark.transport_child', json.dumps(given)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith('{'):
                yield json.loads(line)
            else:  # Fast DDS complains there too
                sys.stderr.write(line)
    if child.returncode:
        raise RuntimeError(f'the sender of the images ended with {child.returncode}')


_TO_SUBSCRIBER = (
    'Queue depth 1, as in the node. `lost_percent`: what the middleware did not bring; latency '
    'from sending an image to its callback; `cpu_percent`: of the receiving process, 100 is one '
    'core; `segment_mb`: shared memory of the sender, which tells whether the profile was taken.'
)
_TO_NODE = (
    '`replaced_percent`: images that a newer one replaced while the node was busy; no loss. '
    'Latency from sending an image to receiving its mask.'
)
