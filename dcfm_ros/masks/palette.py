"""Own colours for the classes of a network, from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dcfm_ros.files import read_table
from dcfm_ros.masks.overlay import RGB

_FORM = '{id: {name, rgb}}'


def read_palette(
    path: Path | str, class_names: Sequence[str], palette: Sequence[RGB]
) -> tuple[RGB, ...]:
    """Read a file of colours: a classes.yaml, or what the topic `labels` says.

    Classes are found by their names; ids are not looked at, for those of a dataset's files may be
    others than the network's. A class that the file does not name, or has no colour for, keeps
    its own.

    Args:
        path: YAML or JSON file, a table {id: {name, rgb}}.
        class_names: All classes, in the order of their ids.
        palette: RGB colour of each class so far.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it says anything else, or names what is no class; everything that is wrong
            is listed.
    """
    problems: list[str] = []
    colours: dict[str, RGB] = {}
    for key, entry in read_table(Path(path), _FORM).items():
        if not isinstance(entry, Mapping):
            problems.append(f'id {key} must be {{name, rgb}}, got {entry!r}')
            continue
        name, rgb = entry.get('name'), entry.get('rgb')
        if name is None or rgb is None:  # a value that is ignored, or a set of classes
            continue
        if name not in class_names:
            problems.append(f'{name!r} is no class; there are {", ".join(class_names)}')
        elif name in colours:
            problems.append(f'class {name} is there twice')
        elif (colour := parse_colour(rgb)) is None:
            problems.append(f'the rgb of {name} must be three numbers 0 to 255, got {rgb!r}')
        else:
            colours[name] = colour
    if not problems and not colours:
        problems.append('no class has a colour')
    if problems:
        raise ValueError(f'{path}: ' + '; '.join(problems))
    return tuple(colours.get(name, old) for name, old in zip(class_names, palette, strict=True))


def parse_colour(value: Any) -> RGB | None:
    """A colour as files have it, [r, g, b] of whole numbers 0 to 255; None if it is none."""
    if not isinstance(value, list) or len(value) != 3:
        return None
    if not all(type(part) is int and 0 <= part <= 255 for part in value):
        return None
    red, green, blue = value
    return red, green, blue
