"""A Python in which only some of the installed packages, and what they need, can be imported."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, packages_distributions, requires
import os
from pathlib import Path
import re

from packaging.requirements import Requirement
from repository import ROOT

_SITE = """
import sys

ABSENT = set({absent!r})


class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, *arguments):
        if name.partition('.')[0] in ABSENT:
            return None
        return self.finder.find_spec(name, *arguments)


sys.meta_path[:] = map(Without, sys.meta_path)
"""


def packages_beside(*wanted: str) -> set[str]:
    """Import names of the installed packages that `wanted` do not need, without our own."""
    needed = _with_requirements(wanted)
    return {
        name
        for name, owners in packages_distributions().items()
        if name != 'dcfm_ros' and not needed & {_normalised(owner) for owner in owners}
    }


def lean_environment(folder: Path, *wanted: str) -> dict[str, str]:
    """The environment for such a Python and the processes that it starts; writes into `folder`."""
    site = folder / 'sitecustomize.py'
    site.write_text(_SITE.format(absent=sorted(packages_beside(*wanted))), encoding='utf-8')
    return {**os.environ, 'PYTHONPATH': os.pathsep.join([str(folder), str(ROOT)])}


def _with_requirements(wanted: tuple[str, ...]) -> set[str]:
    needed: set[str] = set()
    waiting = [*wanted]
    while waiting:
        name = _normalised(waiting.pop())
        if name in needed:
            continue
        needed.add(name)
        try:
            lines = requires(name) or []
        except PackageNotFoundError:  # for another system
            continue
        for requirement in map(Requirement, lines):
            if not requirement.marker or requirement.marker.evaluate({'extra': ''}):
                waiting.append(requirement.name)
    return needed


def _normalised(name: str) -> str:
    return re.sub(r'[-_.]+', '-', name).lower()
