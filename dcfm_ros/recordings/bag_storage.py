"""The files of a rosbag: which they are, and how each is opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
import shutil
import tempfile
from typing import Any

from rosbags.rosbag1 import Reader as Reader1
from rosbags.rosbag2 import Reader as Reader2
import yaml

from dcfm_ros.files import list_files
from dcfm_ros.recordings import zstd
from dcfm_ros.recordings.bag_messages import BagLosses, BagTopic
from dcfm_ros.recordings.frame import SourceError
from dcfm_ros.recordings.mcap_scan import McapScan, has_whole_index
from dcfm_ros.recordings.sources import STORAGE_SUFFIXES
from dcfm_ros.recordings.sqlite_file import SqliteFile


def storage_files(path: Path) -> list[Path]:
    """Files of a bag in the order of recording: the file itself, or those of a folder."""
    if not path.is_dir():
        return [path]
    named = _metadata(path).get('relative_file_paths')
    if named and isinstance(named, list):
        return [path / Path(str(name)).name for name in named]
    # Recorders number their files: name_0, ..., name_10; from Lyrical on 0_name_time, 1_name_time.
    return list_files(path, STORAGE_SUFFIXES)


def promised_counts(path: Path) -> dict[str, int]:
    """Messages by topic according to the folder's metadata.yaml; empty without one."""
    entries = _metadata(path).get('topics_with_message_count') or ()
    try:
        return {e['topic_metadata']['name']: int(e['message_count']) for e in entries}
    except (KeyError, TypeError, ValueError):
        return {}  # cut off, or damaged


@contextmanager
def open_storages(path: Path, losses: BagLosses) -> Iterator[list[Storage]]:
    """Open the files of a bag, in the order of recording.

    Args:
        path: The bag.
        losses: Gets a note of everything that cannot be read, now and while reading.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        SourceError: If nothing of it can be read.
    """
    if not path.exists():
        raise FileNotFoundError(f'no such file or folder: {path}')
    storages: list[Storage] = []
    with ExitStack() as stack:
        for file in storage_files(path):
            if not file.exists():
                losses.note(f'{file.name} is missing')
                continue
            try:
                storages.append(_open(file, stack, losses))
            except (SourceError, OSError) as error:
                losses.note(f'{file.name} cannot be read: {error}')
        if not storages:
            reasons = '; '.join(losses.notes) or 'no files'
            raise SourceError(f'{path} cannot be read as a bag: {reasons}')
        yield storages


def _open(file: Path, stack: ExitStack, losses: BagLosses) -> Storage:
    if file.suffix == '.bag':
        try:
            return IndexedFile(stack.enter_context(Reader1(file)), file, losses)
        except Exception as error:  # of many kinds: the reader trusts what it reads
            raise SourceError(str(error) or type(error).__name__) from error
    if file.suffix == '.zstd':
        file = _decompressed(file, stack, losses)
    if file.suffix == '.db3':
        return SqliteFile(file, stack, losses)
    if file.suffix != '.mcap':
        raise SourceError(f'it is none of {", ".join(STORAGE_SUFFIXES)}, .bag')
    reason = 'it has no topics'
    if has_whole_index(file):
        try:
            return IndexedFile(stack.enter_context(Reader2(file)), file, losses)
        except Exception as error:
            reason = str(error) or type(error).__name__
    scan = McapScan(file, losses)
    if not scan.topics:
        raise SourceError(reason)
    return scan


def _decompressed(file: Path, stack: ExitStack, losses: BagLosses) -> Path:
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    whole = Path(folder, file.stem)
    with file.open('rb') as packed, zstd.open(packed, 'rb') as source, whole.open('wb') as target:
        try:
            shutil.copyfileobj(source, target)
        except (EOFError, zstd.ZstdError) as error:
            losses.note(f'{file.name} ends early: {error}')
    return whole


class IndexedFile:
    """An .mcap or .bag file with an index, read by rosbags."""

    def __init__(self, reader: Any, path: Path, losses: BagLosses) -> None:
        self.topics = {
            c.topic: BagTopic(c.msgtype, getattr(c.ext, 'serialization_format', 'ros1'))
            for c in reader.connections
        }
        self._reader = reader
        self._path = path
        self._losses = losses

    def messages(self, topic: str) -> Iterator[tuple[int, bytes]]:
        """Iterate over time of recording in ns and bytes of the messages of a topic."""
        chosen = [c for c in self._reader.connections if c.topic == topic]
        if not chosen:  # the reader would then give the messages of all
            return
        promised, count, reason = sum(c.msgcount for c in chosen), 0, ''
        last_ns, num_last = -1, 0
        try:
            for _, time_ns, raw in self._reader.messages(chosen):
                count += 1
                num_last = num_last + 1 if time_ns == last_ns else 1
                last_ns = time_ns
                yield time_ns, raw
        except Exception as error:  # of many kinds: the reader trusts what it reads
            reason = f' ({str(error) or type(error).__name__})'
        # The reader stops at damage, at some kinds in silence; there may be more behind it.
        if (reason or count < promised) and self._path.suffix == '.mcap':
            for time_ns, raw in McapScan(self._path, self._losses).messages(topic):
                if time_ns == last_ns and num_last:
                    num_last -= 1
                elif time_ns >= last_ns:
                    count += 1
                    yield time_ns, raw
        if count < promised or (reason and not promised):
            found = f'{count} of {promised or "?"} messages on {topic} can be read'
            self._losses.note(f'{self._path.name} is damaged: {found}{reason}')


Storage = IndexedFile | McapScan | SqliteFile
"""A file of a bag: `topics` by name, `messages` of a topic in the order of recording."""


def _metadata(path: Path) -> dict[str, Any]:
    file = path / 'metadata.yaml'
    if not file.is_file():
        return {}
    try:
        values = yaml.safe_load(file.read_text(encoding='utf-8'))['rosbag2_bagfile_information']
    except (yaml.YAMLError, ValueError, KeyError, TypeError, RecursionError):
        return {}  # written last, so a recorder that was killed may have cut it off too
    return values if isinstance(values, dict) else {}
