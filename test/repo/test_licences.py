"""What `make demo` installs: pinned with hashes, and its licences listed."""

from __future__ import annotations

import csv
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
import re
import sys
from xml.etree import ElementTree

import pytest
from repository import ROOT

LOCKS = sorted((ROOT / 'locks').glob('demo-*.txt'))
PYTHONS = re.search(r'case \$\$version in ([\d. |]+)\)', (ROOT / 'Makefile').read_text('utf-8'))
_PIN = re.compile(r'([\w.-]+)==(\S+) --hash=sha256:([0-9a-f]{64})')
SAID = {
    'apache 2.0': 'Apache-2.0',
    'apache license 2.0': 'Apache-2.0',
    'apache license, version 2.0': 'Apache-2.0',
    'bsd': 'BSD-3-Clause',
    '3-clause bsd license': 'BSD-3-Clause',
    'zlib license': 'Zlib',
    'mit license': 'MIT',
    'isc license': 'ISC',
    'osi approved :: apache software license': 'Apache-2.0',
    'any-osi': 'LicenseRef-any-OSI-approved',
}
"""What packages say that do not say it in SPDX."""
CLASSIFIED = {
    'Apache Software License': 'Apache-2.0',
    'BSD License': 'BSD-3-Clause',
    'MIT License': 'MIT',
    'Python Software Foundation License': 'PSF-2.0',
}


def normal(name: str) -> str:
    return re.sub(r'[-_.]+', '-', name).lower()


def pins(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text('utf-8').splitlines() if not line.startswith('#')]
    found = [_PIN.fullmatch(line) for line in lines]
    assert all(found), path
    return {normal(match[1]): match[2] for match in found if match}


def listed() -> dict[str, dict[str, str]]:
    with (ROOT / 'LICENCES.csv').open(encoding='utf-8', newline='') as file:
        return {row['package']: row for row in csv.DictReader(file)}


def version_of(lock: Path) -> str:
    return lock.stem.removeprefix('demo-')


def test_every_python_of_make_demo_has_a_lock() -> None:
    assert PYTHONS
    assert {version_of(lock) for lock in LOCKS} == set(PYTHONS[1].replace('|', ' ').split())


@pytest.mark.parametrize('lock', LOCKS, ids=version_of)
def test_lock_has_the_versions_of_the_constraints(lock: Path) -> None:
    """Run .ci/lock after a change of constraints.txt."""
    minor = int(version_of(lock).partition('.')[2])
    wanted = {}
    files = ('constraints.txt', 'test/legs/jazzy.txt')
    texts = [(ROOT / name).read_text('utf-8') for name in files]
    for line in '\n'.join(texts).splitlines():
        pin, _, marker = line.partition(';')
        if '==' not in pin:
            continue
        marked = re.search(r"([<>]=?) '3\.(\d+)'", marker)
        if (
            marked
            and not {
                '<': minor < int(marked[2]),
                '>=': minor >= int(marked[2]),
            }[marked[1]]
        ):
            continue
        name, _, version = pin.strip().partition('==')
        wanted[normal(name)] = version
    found = pins(lock)
    assert {'numpy', 'openvino', 'ros-rclpy', 'pip', 'setuptools'} < found.keys()
    assert found == {name: wanted.get(name) for name in found}


def test_every_locked_package_is_listed_with_its_versions() -> None:
    locked: dict[str, set[str]] = {}
    for lock in LOCKS:
        for name, version in pins(lock).items():
            locked.setdefault(name, set()).add(version)
    rows = listed()
    assert rows.keys() == locked.keys()
    wrong = {n: (r['versions'], locked[n]) for n, r in rows.items()
             if set(r['versions'].split()) != locked[n]}  # fmt: skip
    assert not wrong
    assert list(rows) == sorted(rows)


def licence_of(name: str) -> str:
    """What an installed package says of its licence, as SPDX has it; '' if it does not say."""
    described = Path(sys.prefix, 'share', name.removeprefix('ros-').replace('-', '_'))
    if (manifest := described / 'package.xml').exists() and name.startswith('ros-'):
        licences = ElementTree.parse(manifest).getroot().findall('license')
        texts = sorted({(entry.text or '').strip() for entry in licences})
        return ' AND '.join(SAID.get(text.lower(), text) for text in texts)
    metadata = distribution(name).metadata
    if said := metadata.get('License-Expression'):
        return str(said)
    text = str(metadata.get('License') or '').strip()
    if text and len(text) < 50 and text != 'UNKNOWN':
        return SAID.get(text.lower(), text)
    classes = [line.rpartition(' :: ')[2] for line in metadata.get_all('Classifier') or ()
               if line.startswith('License')]  # fmt: skip
    return CLASSIFIED.get(classes[0], classes[0]) if classes else ''


def test_licences_are_those_that_the_installed_packages_state() -> None:
    wrong, num_checked = {}, 0
    for name, row in listed().items():
        try:
            installed = distribution(name).version
        except PackageNotFoundError:  # of another Python
            continue
        if installed not in row['versions'].split():
            continue
        stated = licence_of(name)
        num_checked += bool(stated)
        if stated and stated not in (row['licence'], row['stated_as']):
            wrong[name] = stated, row['licence']
    assert not wrong
    assert num_checked > 80
