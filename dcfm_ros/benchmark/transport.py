"""Loss, latency and CPU of images over DDS, to a subscriber that only takes them.

It shows what the middleware loses; the node itself is measured by `dcfm replay --online`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import json
from pathlib import Path
import subprocess
import sys
from typing import Any

from dcfm_ros.benchmark.sections import Section, machine_section
from dcfm_ros.percentiles import percentiles
from dcfm_ros.play.fastdds import packaged_profile

SIZES = ((480, 640), (720, 1280), (1080, 1920))
"""(H, W) of the images, rgb8."""


def measure_transport(
    frames: int, rate_hz: float = 30.0, sizes: Sequence[tuple[int, int]] = SIZES
) -> dict[str, Any]:
    """Send images with and without the packaged Fast DDS profile.

    Both ends of a row run with the profile, or without. A process reads it once, so each half of
    the table has processes of its own.

    Args:
        frames: Images per row, at least 2.
        rate_hz: Images per second.
        sizes: (H, W) of the images.

    Returns:
        'middleware' (rmw, distro, discovery range), 'frames', 'rate_hz' and 'rows'.

    Raises:
        ValueError: If `frames` is below 2.
        RuntimeError: If a process fails; it has said why.
    """
    if frames < 2:
        raise ValueError(f'`frames` must be at least 2, got {frames}')
    options = {'frames': frames, 'rate_hz': rate_hz, 'sizes': sizes}
    rows: list[dict[str, Any]] = []
    middleware: dict[str, Any] = {}
    for profile in (None, packaged_profile()):
        if profile and not middleware['rmw'].startswith('rmw_fastrtps'):
            break  # no other middleware reads it
        for line in _run_half(options, profile):
            if 'rmw' in line:
                middleware = line
            else:
                rows.append(transport_row(**line))
    return {'middleware': middleware, 'frames': frames, 'rate_hz': rate_hz, 'rows': rows}


def transport_row(
    facts: Mapping[str, Any],
    sent_s: Sequence[float],
    latencies_ms: Sequence[float],
    *,
    segment_mb: float,
    receiver: Mapping[str, float | None],
    sender_cpu_s: float,
) -> dict[str, Any]:
    """Put a row together.

    Args:
        facts: What was sent.
        sent_s: When each frame was sent, ascending, at least 2; s.
        latencies_ms: Of the frames that arrived, in any order.
        segment_mb: Shared memory of the sender.
        receiver: Figures of its process, as of `ProcessMeter`.
        sender_cpu_s: CPU time of the sender, s.
    """
    duration_s = sent_s[-1] - sent_s[0]
    return {
        **facts,
        'sent_hz': round((len(sent_s) - 1) / duration_s, 2),
        'lost_percent': round(100 * (1 - len(latencies_ms) / len(sent_s)), 2),
        **{f'{name}_ms': value for name, value in percentiles(latencies_ms).items()},
        'cpu_percent': receiver['cpu_percent'],
        'memory_mb': receiver['memory_mb'],
        'sender_cpu_percent': 100 * sender_cpu_s / duration_s,
        'segment_mb': segment_mb,
    }


def transport_sections(figures: Mapping[str, Any]) -> list[Section]:
    """The figures as tables."""
    transport = figures['transport']
    return [
        machine_section({**figures['machine'], **transport['middleware']}),
        Section(
            'Images over DDS',
            transport['rows'],
            f'{transport["frames"]} images per row at {transport["rate_hz"]:g} Hz. {_NOTE}',
        ),
    ]


def _run_half(options: Mapping[str, Any], profile: Path | None) -> Iterator[dict[str, Any]]:
    """Run one half of the table; yields what its process prints."""
    values = {**options, 'profile': str(profile) if profile else None}
    command = [sys.executable, '-m', 'dcfm_ros.play.transport_probe', 'send']
    with subprocess.Popen(
        [*command, json.dumps(values)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith('{'):
                yield json.loads(line)
            else:  # Fast DDS complains there too
                sys.stderr.write(line)
    if child.returncode:
        raise RuntimeError(f'the sender of the images ended with {child.returncode}')


_NOTE = (
    'Queue depth 1, as in the node. `lost_percent`: what the middleware lost; latency from '
    'sending an image to its callback; `cpu_percent`: of the receiving process, 100 is one core; '
    '`segment_mb`: shared memory of the sender, which shows whether the profile is in use.'
)
