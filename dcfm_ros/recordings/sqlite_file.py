"""SQLite files of a bag, whole, cut off, or with their last messages in a write-ahead log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
import shutil
import sqlite3
import tempfile

from dcfm_ros.recordings.bag_messages import BagLosses, BagTopic
from dcfm_ros.recordings.frame import SourceError
from dcfm_ros.recordings.write_ahead_log import log_problem


class SqliteFile:
    """A .db3 file; neither it nor its log is changed.

    Rows are read in the order of the table, because the index is often what is missing.
    """

    def __init__(self, path: Path, stack: ExitStack, losses: BagLosses) -> None:
        """Open the file, which `stack` closes; what cannot be read is noted in `losses`.

        Raises:
            SourceError: If not even its topics can be read.
        """
        self._losses = losses
        self._name = path.name
        self._remedy = f'`sqlite3 {path.name} .recover | sqlite3 new.db3` may find more'
        self._database = stack.enter_context(closing(_connect(path, stack, losses)))
        query = 'SELECT name, type, serialization_format FROM topics'
        try:
            rows = self._database.execute(query).fetchall()
        except sqlite3.Error as error:
            raise SourceError(f'{error}; {self._remedy}') from error
        # In a damaged row, any column may be anything.
        self.topics = {str(name): BagTopic(str(kind), str(form)) for name, kind, form in rows}

    def messages(self, topic: str) -> Iterator[tuple[int, bytes]]:
        """Iterate over time of recording in ns and bytes of the messages of a topic."""
        query = (
            'SELECT name, timestamp, data FROM messages NOT INDEXED '
            'LEFT JOIN topics ON topics.id = topic_id '
            'WHERE name = ? OR name IS NULL ORDER BY messages.id'
        )
        num_damaged = 0
        try:
            for name, time_ns, data in self._database.execute(query, (topic,)):
                if name and isinstance(time_ns, int) and isinstance(data, bytes):
                    yield time_ns, data
                else:
                    num_damaged += 1
        except sqlite3.Error as error:
            self._losses.note(f'{self._name} ends early: {error}; {self._remedy}')
        if num_damaged:
            self._losses.note(f'{self._name} has {num_damaged} damaged rows; {self._remedy}')


def _connect(path: Path, stack: ExitStack, losses: BagLosses) -> sqlite3.Connection:
    log, index = (path.with_name(f'{path.name}-{suffix}') for suffix in ('wal', 'shm'))
    with path.open('rb') as file:
        uses_log = file.read(19)[18:] == b'\2'  # says the header
    options = 'immutable=1'  # reads no log, and makes no file
    if log.exists() and log.stat().st_size:
        losses.note(log_problem(log))
        options = 'mode=ro&readonly_shm=1'
        if not index.exists():
            # SQLite would make this file beside the recording, so let it do so elsewhere.
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            shutil.copy(log, folder)
            path = Path(shutil.copy(path, folder))
            options = 'mode=ro'
    elif uses_log and not (path.parent / 'metadata.yaml').exists():
        losses.note(f'{log.name} is missing; it may hold the last messages')
    uri = f'{path.absolute().as_uri()}?{options}'
    database = sqlite3.connect(uri, uri=True, check_same_thread=False)
    # Without it SQLite refuses a file that is shorter than its header says.
    database.execute('PRAGMA writable_schema=ON')
    return database
