"""A ROS domain of its own, so that tests that run side by side do not hear each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import fcntl
import os
from pathlib import Path
import tempfile

_DOMAINS = range(1, 101)
"""Above 101 the ports of ROS 2 lie among those that Linux hands out to anybody."""


@contextmanager
def domain_of_its_own() -> Iterator[int]:
    """Name a domain in the environment that no other test on this machine uses."""
    folder = Path(tempfile.gettempdir()) / 'dcfm_ros_domains'
    folder.mkdir(exist_ok=True)
    first = os.getpid() % len(_DOMAINS)
    for domain in (*_DOMAINS[first:], *_DOMAINS[:first]):
        with (folder / str(domain)).open('w') as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            with in_domain(domain):
                yield domain
            return
    raise RuntimeError(f'all ROS domains are in use, see {folder}')


@contextmanager
def in_domain(domain: int) -> Iterator[None]:
    """What starts in the body finds the others in this domain, on this machine only."""
    values = {'ROS_DOMAIN_ID': str(domain), 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
