"""Files of own colours."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcfm_ros.masks.class_labels import ClassLabels
from dcfm_ros.masks.overlay import RGB
from dcfm_ros.masks.palette import read_palette

NAMES = ('road', 'sky', 'car')
PALETTE = ((1, 1, 1), (2, 2, 2), (3, 3, 3))


def read(folder: Path, text: str) -> tuple[RGB, ...]:
    path = folder / 'classes.yaml'
    path.write_text(text)
    return read_palette(path, NAMES, PALETTE)


def test_classes_are_found_by_name_and_the_others_keep_their_colour(tmp_path: Path) -> None:
    text = '0: {name: car, rgb: [9, 8, 7]}\n40: {name: road, rgb: [0, 0, 255]}'
    assert read(tmp_path, text) == ((0, 0, 255), (2, 2, 2), (9, 8, 7))


def test_entries_of_classes_yaml_that_are_no_class_are_passed_over(tmp_path: Path) -> None:
    text = """
        0: {name: null}
        1: {name: sky}
        2: {any_of: [road, car], rgb: [5, 5, 5]}
        3: {name: car, rgb: [6, 6, 6]}
    """
    assert read(tmp_path, text) == ((1, 1, 1), (2, 2, 2), (6, 6, 6))


def test_the_topic_labels_is_such_a_file(tmp_path: Path) -> None:
    colours = {0: (7, 7, 7), 1: (8, 8, 8), 2: (9, 9, 9)}
    labels = ClassLabels(dict(enumerate(NAMES)), dict(colours))
    assert read(tmp_path, labels.to_json()) == tuple(colours.values())


@pytest.mark.parametrize(
    ('text', 'problem'),
    [
        ('0: {name: cat, rgb: [1, 2, 3]}', "'cat' is no class; there are road, sky, car"),
        ('0: {name: car, rgb: [1, 2]}', r'rgb of car must be three numbers 0 to 255, got \[1, 2'),
        ('0: {name: car, rgb: [1, 2, true]}', 'rgb of car'),
        ('0: {name: car, rgb: [1, 2, 3]}\n1: {name: car, rgb: [1, 2, 4]}', 'car is there twice'),
        ('0: {name: car}', 'no class has a colour'),
        ('0: [1, 2, 3]', r'id 0 must be {name, rgb}, got \[1, 2, 3\]'),
        ('0: {name: car, rgb: [1, 2, 3]}\n0: {name: sky, rgb: [1, 2, 4]}', 'got 0 again'),
        ('[]', 'must be a table'),
    ],
)
def test_anything_else_is_refused_by_name(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as error:
        read(tmp_path, text)
    assert 'classes.yaml' in str(error.value)
