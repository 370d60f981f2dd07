"""Files in the order of their numbers; files and folders that appear whole; tables of YAML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
import errno
from itertools import chain
import json
import math
import os
from pathlib import Path
import re
import shutil
import tempfile
from typing import Any

import yaml

_MAX_SIZE = 100_000
"""Keys and values of a table."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors that say that there is no place for more; the last one is that of a limit."""


def list_files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files of a folder by the end of their names, 'a2' before 'a10'.

    Folders are passed over, and hidden files: macOS leaves `._a.png` beside `a.png` on other file
    systems.

    Args:
        folder: Where to look, not below it.
        suffixes: Lower case, with their dot; names may have them in upper case.
    """
    paths = (p for p in folder.iterdir() if not p.name.startswith('.'))
    found = (p for p in paths if p.name.lower().endswith(suffixes) and not p.is_dir())
    return sorted(found, key=lambda path: (_numerical(path.stem), path.name))


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to fill, which moves to `folder` when the body ends without an error.

    Raises:
        FileExistsError: If `folder` is there already and not an empty folder.
        OSError: If the disk is full, with the name of the folder.
    """
    folder = folder.resolve()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileExistsError(f'{folder} exists already')
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _part_of(folder) as part:
        part.mkdir()
        yield part
        part.replace(folder)


@contextmanager
def into_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to write into, whose files move to `folder` when the body ends.

    If the body fails, none of them appears, and older ones stay; so do other files at any time.

    Raises:
        OSError: If the disk is full; the message says so.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    # Inside, not beside it: the folder may be a disk of its own, to which nothing can be moved.
    part = Path(tempfile.mkdtemp(dir=folder, prefix='.part.'))
    try:
        yield part
        for file in sorted(part.iterdir()):
            file.replace(folder / file.name)
    except OSError as error:
        if error.errno in DISK_FULL:
            what = 'the disk is full, nothing was kept'
            raise OSError(error.errno, what, str(folder)) from error
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if is_new and not any(folder.iterdir()):
            folder.rmdir()


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Give a file to write, which replaces `path` when the body ends without an error.

    Raises:
        OSError: If the disk is full, with the name of the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _part_of(path) as part:
        yield part
        part.replace(path)


def read_table(path: Path, form: str) -> dict[Any, Any]:
    """Read a YAML or JSON file that is a table, with at least one entry.

    Args:
        path: The file.
        form: What it should look like, for the error.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is something else, or a key is there twice: YAML would keep the last.
    """
    try:
        text = path.read_text(encoding='utf-8')
        root = yaml.compose(text, yaml.SafeLoader)
        if root and _size(root, {}) > _MAX_SIZE:
            raise ValueError(f'it has more than {_MAX_SIZE} entries, aliases written out')
        table = yaml.safe_load(text)  # JSON is YAML as well
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f'{path} is not YAML or JSON of this form: {error}') from error
    if not isinstance(table, dict) or not isinstance(root, yaml.MappingNode) or not table:
        raise ValueError(f'{path} must be a table {form}, got {table!r}')
    counts = Counter(str(key.value) for key, _ in root.value)
    if repeated := [key for key, count in counts.items() if count > 1]:
        raise ValueError(f'{path} must have each key once, got {", ".join(repeated)} again')
    return table


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write figures as JSON, nan as null; see `write_text`."""
    write_text(path, json.dumps(_without_nan(values), indent=2) + '\n')


def write_text(path: Path, text: str) -> None:
    """Write UTF-8; see `write_bytes`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file that is at any time either the old one or the whole new one."""
    with new_file(path) as part:
        part.write_bytes(data)


def _size(node: yaml.Node, known: dict[int, float]) -> float:
    """Values in a part of a file, aliases written out, of which few lines can make billions."""
    if id(node) not in known:
        known[id(node)] = math.inf  # for one that holds itself
        children = chain(*node.value) if isinstance(node, yaml.MappingNode) else node.value
        is_scalar = not isinstance(node, yaml.CollectionNode)
        known[id(node)] = 1 if is_scalar else 1 + sum(_size(child, known) for child in children)
    return known[id(node)]


@contextmanager
def _part_of(path: Path) -> Iterator[Path]:
    """Give a place beside a path, of which nothing is left when the body ends."""
    try:
        # Beside it: from another disk a file would be copied, not moved.
        with tempfile.TemporaryDirectory(prefix=f'.{path.name}.', dir=path.parent) as partial:
            yield Path(partial, path.name)
    except OSError as error:
        if error.filename is None and error.errno in DISK_FULL:
            # What is written to a file that is open fails without its name.
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
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
