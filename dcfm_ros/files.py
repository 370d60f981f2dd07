"""Files in the order of their numbers, and text files that appear as a whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
import json
import math
import os
from pathlib import Path
import re
import tempfile
from typing import Any


def in_numerical_order(paths: Iterable[Path]) -> list[Path]:
    """Sort by name so that 'a2' comes before 'a10'."""
    return sorted(paths, key=lambda path: (_numerical(path.stem), path.name))


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write figures as JSON, nan as null; the file appears as a whole."""
    write_text(path, json.dumps(_without_nan(values), indent=2) + '\n')


def write_text(path: Path, text: str) -> None:
    """Write a file that is either the old one or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}')
    try:
        with os.fdopen(handle, 'w', encoding='utf-8') as file:
            file.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _numerical(name: str) -> list[tuple[int, int, str]]:
    """Sort key under which 'a2' comes before 'a10'."""
    parts = re.findall(r'\d+|\D+', name)
    return [(0, int(part), '') if part.isdecimal() else (1, 0, part) for part in parts]


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
