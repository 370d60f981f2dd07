"""Logs of SQLite that are whole, damaged, cut off, or left of an earlier use of their file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import shutil
import sqlite3

import pytest

from dcfm_ros.recordings.write_ahead_log import log_problem

PAGE = 24 + 4096


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    made = sqlite3.connect(tmp_path / 'a.db3', isolation_level=None)
    made.execute('PRAGMA journal_mode=WAL')
    made.execute('PRAGMA wal_autocheckpoint=0')
    made.execute('CREATE TABLE t(x)')
    add(made, 20)
    yield made
    made.close()


def add(database: sqlite3.Connection, count: int) -> None:
    for number in range(count):
        database.execute('INSERT INTO t VALUES (?)', (bytes([number]) * 3000,))


def copy(folder: Path) -> Path:
    """Database and log as they are now, which is what a killed recorder leaves."""
    (folder / 'copy').mkdir(exist_ok=True)
    for suffix in ('', '-wal'):
        shutil.copy(folder / f'a.db3{suffix}', folder / 'copy')
    return folder / 'copy' / 'a.db3-wal'


def rows(log: Path) -> int:
    """As many as SQLite reads."""
    for suffix in ('', '-wal'):
        shutil.copy(log.with_name(f'a.db3{suffix}'), log.with_name(f'b.db3{suffix}'))
    reader = sqlite3.connect(log.with_name('b.db3'))
    try:
        return int(reader.execute('SELECT count(*) FROM t').fetchone()[0])
    except sqlite3.OperationalError:  # not even the table was read
        return 0
    finally:
        reader.close()


def test_whole_log_has_no_problem(tmp_path: Path, database: sqlite3.Connection) -> None:
    log = copy(tmp_path)
    assert log_problem(log) == ''
    assert rows(log) == 20


def test_log_that_was_used_again_has_no_problem(
    tmp_path: Path, database: sqlite3.Connection
) -> None:
    database.execute('PRAGMA wal_checkpoint(FULL)')
    add(database, 2)  # at the front of the file; old pages are left behind them
    log = copy(tmp_path)
    assert log.stat().st_size > 20 * PAGE
    assert log_problem(log) == ''
    assert rows(log) == 22


def test_log_of_a_transaction_that_was_not_ended(
    tmp_path: Path, database: sqlite3.Connection
) -> None:
    database.execute('PRAGMA cache_size=5')  # so that pages are written before its end
    database.execute('BEGIN')
    add(database, 50)
    log = copy(tmp_path)
    assert 'pages can be read' in log_problem(log)
    assert rows(log) == 20
    database.execute('ROLLBACK')


def test_every_damage_that_sqlite_takes_for_the_end_is_told(
    tmp_path: Path, database: sqlite3.Connection
) -> None:
    log = copy(tmp_path)
    data = log.read_bytes()
    silent = 0
    for place in (*range(32), *range(32, len(data), 499)):
        damaged = bytearray(data)
        damaged[place] ^= 4
        log.write_bytes(damaged)
        num_rows, problem = rows(log), log_problem(log)
        silent += num_rows < 20
        assert (num_rows == 20) == (problem == ''), (place, num_rows, problem)
        assert not problem or log.name in problem
    assert silent > 100


def test_log_that_was_cut_off_within_a_page_is_told(
    tmp_path: Path, database: sqlite3.Connection
) -> None:
    log = copy(tmp_path)
    data = log.read_bytes()
    for length in range(1, len(data), 997):
        log.write_bytes(data[:length])
        if (length - 32) % PAGE:
            assert 'ends early' in log_problem(log) or 'can be read' in log_problem(log)
