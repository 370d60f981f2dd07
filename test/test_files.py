from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import errno
from pathlib import Path
import resource

import pytest

from dcfm_ros.files import (
    into_folder,
    list_files,
    new_file,
    new_folder,
    read_table,
    write_bytes,
)


@contextmanager
def no_place() -> Iterator[None]:
    """Writes fail, as they do on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


LAUGHS = 'a0: &a0 [lol]\n' + '\n'.join(
    f'a{n}: &a{n} [{", ".join([f"*a{n - 1}"] * 9)}]' for n in range(1, 12)
)
"""Twelve lines that mean billions of entries."""


def test_files_are_listed_by_number_without_hidden_ones_and_folders(tmp_path):
    for name in ('a10.png', 'a2.PNG', 'a1.jpg', '._a2.png', '.png', 'Thumbs.db', 'a3.txt'):
        (tmp_path / name).touch()
    (tmp_path / 'a4.png').mkdir()
    found = [path.name for path in list_files(tmp_path, ('.png', '.jpg'))]
    assert found == ['a1.jpg', 'a2.PNG', 'a10.png']


@pytest.mark.parametrize('exists', [False, True])
def test_new_folder_appears_when_it_is_whole(tmp_path, exists):
    folder = tmp_path / 'above' / 'new'
    if exists:
        folder.mkdir(parents=True)
    with new_folder(folder) as part:
        (part / 'a.txt').write_text('whole')
        assert not (folder / 'a.txt').exists()
    assert [path.name for path in folder.parent.iterdir()] == ['new']
    assert (folder / 'a.txt').read_text() == 'whole'


def test_new_folder_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / 'new') as part:
        (part / 'a.txt').touch()
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_new_folder_never_replaces_files(tmp_path):
    (tmp_path / 'mine.txt').touch()
    for folder in (tmp_path, tmp_path / 'mine.txt'):
        with pytest.raises(FileExistsError, match='exists already'), new_folder(folder):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ['mine.txt']


def test_new_file_replaces_the_old_one_when_it_is_whole(tmp_path):
    path = tmp_path / 'above' / 'a.txt'
    for text in ('old', 'new'):
        with new_file(path) as part:
            part.write_text(text)
    with pytest.raises(KeyboardInterrupt), new_file(path) as part:
        part.write_text('half')
        raise KeyboardInterrupt
    assert [found.name for found in path.parent.iterdir()] == ['a.txt']
    assert path.read_text() == 'new'


def test_full_disk_is_told_with_the_name_of_the_file(tmp_path: Path) -> None:
    """The system does not name a file that is open."""
    path = tmp_path / 'a.bin'
    path.write_bytes(b'old')
    with no_place(), pytest.raises(OSError, match=r'a\.bin') as raised:
        write_bytes(path, bytes(100))
    assert raised.value.errno == errno.EFBIG
    with (
        no_place(),
        pytest.raises(OSError, match='folder'),
        new_folder(tmp_path / 'folder') as part,
    ):
        (part / 'b').write_bytes(bytes(100))
    assert [found.name for found in tmp_path.iterdir()] == ['a.bin']
    assert path.read_bytes() == b'old'


def test_error_of_something_else_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='absent'), new_file(tmp_path / 'a') as part:
        (part.parent / 'absent').read_bytes()


def test_files_move_into_a_folder_together(tmp_path: Path) -> None:
    (tmp_path / 'mine').write_text('mine')
    (tmp_path / 'a').write_text('old')
    with into_folder(tmp_path) as part:
        (part / 'a').write_text('new')
        assert (tmp_path / 'a').read_text() == 'old'
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        'mine': 'mine',
        'a': 'new',
    }


def test_files_that_fail_leave_nothing_and_the_old_ones(tmp_path: Path) -> None:
    with into_folder(tmp_path / 'report') as part:
        (part / 'a').write_text('old')
    for name in ('report', 'another'):
        with (
            no_place(),
            pytest.raises(OSError, match=f'the disk is full.*{name}') as raised,
            into_folder(tmp_path / name) as part,
        ):
            (part / 'a').write_bytes(bytes(100))
        assert raised.value.errno == errno.EFBIG
    assert [path.name for path in tmp_path.iterdir()] == ['report']
    assert [path.name for path in (tmp_path / 'report').iterdir()] == ['a']
    assert (tmp_path / 'report/a').read_text() == 'old'


@pytest.mark.parametrize(
    ('text', 'problem'),
    [
        ('a: 1\na: 2', 'must have each key once, got a again'),
        ('{}', 'must be a table {name: number}, got {}'),
        ('- 1', 'must be a table'),
        ('a: [', 'is not YAML or JSON'),
        ('[' * 5000, 'recursion'),
        (f'a: {"9" * 5000}', 'digits'),
        ('&a {b: *a}', 'more than 100000 entries'),
        (LAUGHS, 'more than 100000 entries'),
        ('!!python/object/apply:os.system [exit 1]', 'could not determine a constructor'),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / 'table.yaml'
    path.write_text(text)
    with pytest.raises(ValueError, match=problem):
        read_table(path, '{name: number}')


def test_a_table_is_read_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / 'table.json'
    path.write_text('{"b": 1, "a": [2]}')
    assert list(read_table(path, '').items()) == [('b', 1), ('a', [2])]
