"""Files of groups, and masks of groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from repository import ROOT

from dcfm_ros.masks.groups import ClassGroups, read_groups
from dcfm_ros.models.labels import CAMVID_NAMES, CAMVID_PALETTE

NAMES = ('road', 'pedestrian', 'sky', 'bicyclist')
PALETTE = ((10, 11, 12), (20, 21, 22), (30, 31, 32), (40, 41, 42))
MASK = np.array([[0, 1, 2], [3, 255, 7]], np.uint8)


def read(folder: Path, text: str) -> ClassGroups:
    path = folder / 'groups.yaml'
    path.write_text(text)
    return read_groups(path, NAMES, PALETTE)


@pytest.fixture
def groups(tmp_path: Path) -> ClassGroups:
    return read(tmp_path, 'person: [bicyclist, pedestrian]\ndrivable: [road]\n')


def test_ids_follow_the_file(groups: ClassGroups) -> None:
    assert groups.names == ('person', 'drivable')
    assert groups.classes(0).tolist() == [1, 3]
    assert groups.classes(1).tolist() == [0]
    assert groups.ids(MASK).tolist() == [[1, 0, 255], [0, 255, 255]]


def test_members_are_named_in_the_order_of_their_ids(groups: ClassGroups) -> None:
    assert groups.members(NAMES) == {'person': ['pedestrian', 'bicyclist'], 'drivable': ['road']}


def test_pixels_of_a_group_are_255_and_all_others_0(groups: ClassGroups) -> None:
    assert groups.member(MASK, 0).tolist() == [[0, 255, 0], [255, 0, 0]]
    assert groups.member(MASK, 1).tolist() == [[255, 0, 0], [0, 0, 0]]
    assert groups.member(MASK, 0).dtype == groups.ids(MASK).dtype == np.uint8


def test_every_pixel_is_in_its_group_s_mask_and_in_no_other(groups: ClassGroups) -> None:
    mask = np.random.default_rng(0).integers(0, 256, (31, 17), np.uint8)
    ids = groups.ids(mask)
    for group in range(2):
        assert ((groups.member(mask, group) == 255) == (ids == group)).all()


def test_a_mask_that_is_not_contiguous_is_taken(groups: ClassGroups) -> None:
    assert groups.ids(MASK[:, ::-1]).tolist() == [[255, 0, 1], [255, 255, 0]]


def test_a_group_has_the_colour_of_its_first_class_unless_given(tmp_path: Path) -> None:
    text = 'person: [bicyclist, pedestrian]\nfree: {classes: [road], rgb: [0, 255, 0]}'
    assert read(tmp_path, text).palette == ((40, 41, 42), (0, 255, 0))


def test_json_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, '{"up": ["sky"]}').names == ('up',)


@pytest.mark.parametrize(
    ('text', 'problem'),
    [
        ('person: [human]', "group person has 'human', which is no class; there are road, ped"),
        ('a: [road]\nb: [sky, road]', 'class road is in a and again in b'),
        ('a: [road, road]', 'class road is in a and again in a'),
        ('2d: [road]', "must be a letter, then letters, digits and _, got '2d'"),
        ('on: [road]', 'must be a letter, then letters, digits and _, got True'),
        ('a/b: [road]', "got 'a/b'"),
        ('a: []', r'group a must be \[class, class, ...\].*one class at least, got \[\]'),
        ('a: road', "got 'road'"),
        ('a: {rgb: [1, 2, 3]}', 'group a must be'),
        ('a: {classes: [road], rgb: [1, 2, 256]}', r'rgb of group a must be .* got \[1, 2, 256\]'),
        ('a: [road]\na: [sky]', 'must have each key once, got a again'),
        ('', 'must be a table {group: .*, got None'),
        ('[road]', 'must be a table'),
        ('a: [road', 'is not YAML or JSON'),
    ],
)
def test_anything_else_is_refused_by_name(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as error:
        read(tmp_path, text)
    assert 'groups.yaml' in str(error.value)


def test_all_that_is_wrong_is_listed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'human'.*'cat'.*again in b"):
        read(tmp_path, 'a: [human, cat, sky]\nb: [sky]')


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'none\.yaml'):
        read_groups(tmp_path / 'none.yaml', NAMES, PALETTE)


def test_the_example_fits_the_packaged_weights() -> None:
    groups = read_groups(ROOT / 'config' / 'groups.yaml', CAMVID_NAMES, CAMVID_PALETTE)
    assert groups.names[:3] == ('drivable', 'walkable', 'person')
    ungrouped = np.flatnonzero(groups.table[: len(CAMVID_NAMES)] == 255)
    assert [CAMVID_NAMES[index] for index in ungrouped] == ['sky']
