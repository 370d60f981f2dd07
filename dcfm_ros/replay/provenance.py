"""Where the results of a replay come from: data, weights, machine, versions."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
import hashlib
from pathlib import Path
import platform
from typing import Any

from dcfm_ros.machine import machine
from dcfm_ros.replay.recording import Recording

_BLOCK = 1 << 20


def describe_run(
    recording: Recording, checkpoint: Path, config: dict[str, Any], **more: Any
) -> dict[str, Any]:
    """`ReplayRun.metadata`; `config` has every option that the results depend on.

    'rmw' and 'qos' are None unless `more` has them.
    """
    return {
        'datetime': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'hostname': platform.node(),
        'architecture': platform.machine(),
        'os': f'{platform.system()} {platform.release()}',
        'machine': machine(),
        'input_path': recording.source,
        'topic': recording.topic,
        'label_topic': recording.label_topic,
        'data': fingerprint(recording.files),
        'checkpoint': str(checkpoint),
        'checkpoint_sha256': fingerprint([checkpoint])['sha256'],
        'config': config,
        'rmw': None,
        'qos': None,
        **more,
    }


def fingerprint(files: Sequence[Path]) -> dict[str, Any]:
    """Size and hashes of files joined together; of one file, what md5sum and sha256sum print.

    The metadata.yaml of a bag is not one of its files: it is rewritten when a bag is moved.
    """
    # MD5 because ros2_benchmark reports it.
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
        'md5': md5.hexdigest() if present else None,
        'sha256': sha256.hexdigest() if present else None,
    }


class PeakMemory:
    """Resident memory of this process at its highest since this was made; Linux only."""

    def __init__(self) -> None:
        with suppress(OSError):  # else it is the highest since the process began
            Path('/proc/self/clear_refs').write_text('5', encoding='ascii')

    def read_mb(self) -> float | None:
        """MB, or None if unknown."""
        with suppress(OSError):
            for line in Path('/proc/self/status').read_text(encoding='ascii').splitlines():
                if line.startswith('VmHWM:'):
                    return round(int(line.split()[1]) * 1024 / 1e6, 1)
        return None
