"""Where the figures of a replay come from: data, weights, machine, versions."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
import hashlib
from pathlib import Path
import platform
from typing import Any

from dcfm_ros.machine import machine

_BLOCK = 1 << 20


def describe_run(
    *,
    input_path: Path,
    files: Sequence[Path],
    topic: str | None,
    label_topic: str | None,
    checkpoint: Path,
    config: dict[str, Any],
    **more: Any,
) -> dict[str, Any]:
    """Metadata of a run, for `ReplayRun.metadata`.

    Args:
        input_path: The recording, as it was named.
        files: What it consists of, in the order of recording.
        topic: Image topic.
        label_topic: Mask topic, None without labels.
        checkpoint: Weights.
        config: Schedule, execution, device, backend and whatever else decides about the figures.
        more: Further entries; 'rmw' and 'qos' are None where no ROS took part.
    """
    facts = machine()
    return {
        'datetime': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'hostname': platform.node(),
        'architecture': platform.machine(),
        'os': f'{platform.system()} {platform.release()}',
        'machine': facts,
        'input_path': str(input_path),
        'topic': topic,
        'label_topic': label_topic,
        'data': fingerprint(files),
        'checkpoint': str(checkpoint),
        'checkpoint_sha256': fingerprint([checkpoint])['sha256'],
        'config': config,
        'rmw': None,
        'qos': None,
        **more,
    }


def fingerprint(files: Sequence[Path]) -> dict[str, Any]:
    """Size and hashes of files, as if they were one; of one file, those that md5sum tells.

    The metadata.yaml of a bag is not among its files: it is rewritten when a bag is moved.
    """
    # MD5 is what ros2_benchmark tells; nothing is guarded by it.
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    size = 0
    present = [file for file in files if file.is_file()]
    for path in present:
        with path.open('rb') as file:
            while block := file.read(_BLOCK):
                md5.update(block)
                sha256.update(block)
                size += len(block)
    return {
        'files': [file.name for file in present],
        'size_bytes': size,
        'md5': md5.hexdigest(),
        'sha256': sha256.hexdigest(),
    }


class PeakMemory:
    """Resident memory of this process at its highest since this was made; Linux only."""

    def __init__(self) -> None:
        with suppress(OSError):  # else it is the highest since the process began
            Path('/proc/self/clear_refs').write_text('5', encoding='ascii')

    def read_mb(self) -> float | None:
        """MB, or None where the system does not tell."""
        with suppress(OSError):
            for line in Path('/proc/self/status').read_text(encoding='ascii').splitlines():
                if line.startswith('VmHWM:'):
                    return round(int(line.split()[1]) * 1024 / 1e6, 1)
        return None
