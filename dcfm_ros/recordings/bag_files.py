"""Which files a rosbag consists of, and what its metadata.yaml says of them; opens none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

STORAGE_SUFFIXES = ('.mcap', '.db3', '.mcap.zstd', '.db3.zstd')


def storage_files(path: Path) -> list[Path]:
    """Files of a bag in the order of recording: the file itself, or those of a folder."""
    if not path.is_dir():
        return [path]
    if named := _metadata(path).get('relative_file_paths'):
        return [path / Path(name).name for name in named]
    found = [file for file in path.iterdir() if file.name.endswith(STORAGE_SUFFIXES)]
    # Recorders number their files: name_0, name_1, ..., name_10.
    return sorted(found, key=lambda file: (len(file.name), file.name))


def promised_counts(path: Path) -> dict[str, int]:
    """Messages by topic, as the folder's metadata.yaml has them; empty without one."""
    counts = {}
    for entry in _metadata(path).get('topics_with_message_count') or ():
        counts[entry['topic_metadata']['name']] = int(entry['message_count'])
    return counts


def is_bag(path: Path) -> bool:
    """Whether a path looks like a bag; a folder does by its metadata.yaml or its files."""
    if path.is_dir():
        return (path / 'metadata.yaml').is_file() or bool(storage_files(path))
    return path.name.endswith(('.bag', *STORAGE_SUFFIXES))


def _metadata(path: Path) -> dict[str, Any]:
    file = path / 'metadata.yaml'
    if not file.is_file():
        return {}
    try:
        values = yaml.safe_load(file.read_text(encoding='utf-8'))['rosbag2_bagfile_information']
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError):
        return {}  # written last: where a recorder was cut off, it may be cut off too
    return values if isinstance(values, dict) else {}
