from __future__ import annotations

from pathlib import Path

import pytest

from dcfm_ros.files import list_files, new_file, new_folder, read_table

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
