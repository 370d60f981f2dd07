"""Processes of this machine, found by a mark in their environment."""

from __future__ import annotations

from pathlib import Path


def processes_with(mark: str) -> list[str]:
    """Command lines of the processes that were started with a variable of that name."""
    found = []
    for folder in Path('/proc').iterdir():
        try:
            if folder.name.isdigit() and mark.encode() in (folder / 'environ').read_bytes():
                found.append((folder / 'cmdline').read_text().replace('\0', ' '))
        except OSError:  # it has ended in the meantime, or is another user's
            continue
    return [line for line in found if line]  # a zombie has none
