"""How image and label files of a folder become the frames of a clip.

Problems are appended to a list, so that one error can report all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
import re

from dcfm_ros.files import list_files
from dcfm_ros.training.footage.clips import Frame

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png')

Files = Mapping[str, Path]
"""Path by name without suffix, in time order."""


def trailing_number(name: str) -> int | None:
    """Number at the end of a name: 7959 for '0016E5_07959'."""
    found = re.search(r'\d+$', name)
    return int(found[0]) if found else None


def split_folder(root: Path, split: str) -> Path:
    """Folder of a split; 'all' is the root itself, for data that is not split.

    Raises:
        FileNotFoundError: If it does not exist.
    """
    if split != 'all' and not (root / split).is_dir():
        raise FileNotFoundError(f"{root / split} is not a folder; 'all' stands for {root} itself")
    return existing_folder(root if split == 'all' else root / split)


def existing_folder(path: Path) -> Path:
    """Return `path`.

    Raises:
        FileNotFoundError: If it is not a folder.
    """
    if not path.is_dir():
        raise FileNotFoundError(f'{path} is not a folder')
    return path


def find_files(
    folder: Path, problems: list[str], *, ending: str = '', suffixes: tuple[str, ...] = ('.png',)
) -> dict[str, Path]:
    """Files of a folder by name, in time order; hidden ones are passed over.

    A folder that does not exist has none; two files of the same name are a problem. `ending`, for
    example '_leftImg8bit', is cut off the names. `suffixes` are lower case.
    """
    paths = list_files(folder, suffixes) if folder.is_dir() else []
    found: dict[str, Path] = {}
    for path in (p for p in paths if p.stem.endswith(ending)):
        name = path.stem.removesuffix(ending)
        if name in found:
            problems.append(f'{path} and {found[name].name} have the same name')
        found.setdefault(name, path)
    return found


def join(images: Files, labels: Files, problems: list[str], *, dense: bool) -> tuple[Frame, ...]:
    """Match images and labels by name.

    Labels without an image are problems, and where labels are `dense`, images without a label.
    """
    problems += [f'{path} has no image' for name, path in labels.items() if name not in images]
    if dense:
        problems += [f'{path} has no label' for name, path in images.items() if name not in labels]
    return tuple(Frame(path, labels.get(name)) for name, path in images.items())


def report_gaps(images: Files, problems: list[str]) -> None:
    """Report where frames are missing in a numbered sequence: wider steps than it mostly has."""
    numbers = [(number, path) for name, path in images.items()
               if (number := trailing_number(name)) is not None]  # fmt: skip
    if len(numbers) < 3:
        return
    steps = Counter(after - before for (before, _), (after, _) in pairwise(numbers))
    step = min(steps, key=lambda value: (-steps[value], value))
    for (before, path), (after, next_path) in pairwise(numbers):
        if missing := (after - before - 1) // step if step > 0 else 0:
            problems.append(f'{missing} frame(s) missing between {path} and {next_path.name}')


def cut_runs(names: Iterable[str], step: int) -> list[list[str]]:
    """Cut names in time order into runs of one sequence whose numbers are at most `step` apart."""
    runs: list[list[str]] = []
    last: tuple[str, int] | None = None
    for name in names:
        number = trailing_number(name)
        sequence = name.rstrip('0123456789')
        if last is None or number is None or last[0] != sequence or number - last[1] > step:
            runs.append([])
        runs[-1].append(name)
        last = None if number is None else (sequence, number)
    return runs
