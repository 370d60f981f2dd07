"""`ClassGroups`: classes put together, `person: [pedestrian, bicyclist]`, as a file names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
import re
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.files import read_table
from dcfm_ros.masks.overlay import RGB
from dcfm_ros.masks.palette import parse_colour
from dcfm_ros.models.checkpoint_header import read_metadata
from dcfm_ros.models.labels import UNLABELLED

_NAME = r'[A-Za-z][A-Za-z0-9_]*'
_FORM = '{group: [class, class, ...]}'


@dataclass(frozen=True, eq=False)
class ClassGroups:
    """Groups of a network's classes; their ids count from 0 in the order of the file."""

    names: tuple[str, ...]
    """Of letters, digits and _, for each is the end of a topic."""
    palette: tuple[RGB, ...]
    table: NDArray[np.uint8]
    """Group id of every class id, (256,); 255: in no group."""

    def ids(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Group of every pixel of a class mask, (H, W); 255: in no group, or unlabelled."""
        return np.asarray(cv2.LUT(mask, self.table), np.uint8)

    def member(self, mask: NDArray[np.uint8], group: int) -> NDArray[np.uint8]:
        """255 where a class mask, (H, W), has a class of the group with this id, 0 elsewhere."""
        inside = np.where(self.table == group, 255, 0).astype(np.uint8)
        return np.asarray(cv2.LUT(mask, inside), np.uint8)

    def classes(self, group: int) -> NDArray[np.intp]:
        """Ids of the classes in the group with this id, rising."""
        return np.flatnonzero(self.table == group)

    def members(self, class_names: Sequence[str]) -> dict[str, list[str]]:
        """Names of the classes in each group."""
        return {
            name: [class_names[index] for index in self.classes(group)]
            for group, name in enumerate(self.names)
        }


def read_groups(
    path: Path | str, class_names: Sequence[str], palette: Sequence[RGB]
) -> ClassGroups:
    """Read a file of groups.

    It is a table {group: [class, class, ...]}, or {group: {classes: [...], rgb: [r, g, b]}} for a
    group that shall not have the colour of its first class. A class is in one group at most.

    Args:
        path: YAML or JSON file.
        class_names: All classes, in the order of their ids.
        palette: RGB colour of each class.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it says anything else; everything that is wrong is listed.
    """
    entries = read_table(Path(path), _FORM)
    problems: list[str] = []
    table = np.full(256, UNLABELLED, np.uint8)
    colours = []
    owners: dict[str, str] = {}
    for group, (name, entry) in enumerate(entries.items()):
        if not isinstance(name, str) or not re.fullmatch(_NAME, name):
            allowed = 'a letter, then letters, digits and _'
            problems.append(f'the name of a group must be {allowed}, got {name!r}')
        members, colour = _parse_entry(name, entry, problems)
        ids = []
        for member in members:
            if member not in class_names:
                known = f'there are {", ".join(class_names)}'
                problems.append(f'group {name} has {member!r}, which is no class; {known}')
            elif member in owners:
                problems.append(f'class {member} is in {owners[member]} and again in {name}')
            else:
                owners[member] = str(name)
                ids.append(class_names.index(member))
        table[ids] = group
        colours.append(colour or (palette[ids[0]] if ids else (0, 0, 0)))
    if problems:
        raise ValueError(f'{path}: ' + '; '.join(problems))
    return ClassGroups(tuple(entries), tuple(colours), table)


def read_groups_of(path: Path | str | None, checkpoint: Path) -> ClassGroups | None:
    """Read a file of groups of a checkpoint's classes, without the weights; None: no groups.

    Raises:
        FileNotFoundError: If one of the files is absent.
        CheckpointError: If the checkpoint cannot be used.
        ValueError: As `read_groups`.
    """
    if path is None:
        return None
    config = read_metadata(checkpoint).config
    return read_groups(path, config.class_names, config.palette)


def _parse_entry(name: Any, entry: Any, problems: list[str]) -> tuple[list[str], RGB | None]:
    """Classes and colour of a group; what is wrong with it goes to `problems`."""
    members, colour = entry, None
    if isinstance(entry, Mapping) and {'classes'} <= entry.keys() <= {'classes', 'rgb'}:
        members = entry['classes']
        if 'rgb' in entry and (colour := parse_colour(entry['rgb'])) is None:
            problems.append(
                f'the rgb of group {name} must be three numbers 0 to 255, got {entry["rgb"]!r}'
            )
    is_list = isinstance(members, list) and members and all(isinstance(m, str) for m in members)
    if not is_list:
        allowed = '[class, class, ...] or {classes: [...], rgb: [r, g, b]}'
        problems.append(f'group {name} must be {allowed}, with one class at least, got {entry!r}')
        return [], colour
    return members, colour
