from __future__ import annotations

import json

import numpy as np
import pytest

from dcfm_ros.models.labels import CAMVID_NAMES, CITYSCAPES_NAMES
from dcfm_ros.training.footage.class_files import class_file_text, load_label_set, read_label_set
from dcfm_ros.training.footage.label_sets import (
    CAMVID,
    CAMVID_GROUPS,
    CITYSCAPES,
    IDD_LITE,
    VSPW,
    label_set_of,
    mapped,
)


def write(path, text):
    path.write_text(text)
    return path


def test_camvid_ids_are_classes_and_11_is_void():
    assert CAMVID.to_class[:12].tolist() == [*range(11), 255]
    assert np.flatnonzero(CAMVID.allowed).tolist() == [*range(12), 255]


def test_cityscapes_holds_train_ids_only():
    assert CITYSCAPES.to_class[:20].tolist() == [*range(19), 255]
    assert np.flatnonzero(CITYSCAPES.allowed).tolist() == [*range(19), 255]


def test_vspw_ids_are_one_above_the_classes():
    assert VSPW.to_class[[0, 1, 2, 124, 125, 254, 255]].tolist() == [255, 0, 1, 123, 255, 255, 255]
    assert VSPW.allowed.all()
    assert (VSPW.num_classes, VSPW.class_names[0], VSPW.class_names[123]) == (124, 'wall', 'train')


def test_camvid_groups_32_colours():
    assert len(CAMVID.colours) == sum(len(group) for group in CAMVID_GROUPS) == 32
    assert CAMVID.colours[64, 192, 0] == CAMVID_NAMES.index('building')  # Wall
    assert CAMVID.colours[128, 0, 192] == CAMVID_NAMES.index('road')  # LaneMkgsDriv
    assert CAMVID.colours[0, 0, 0] == 11


def test_every_camvid_class_has_its_own_colour_among_its_group():
    for name, colour, group in zip(CAMVID_NAMES, CAMVID.palette, CAMVID_GROUPS, strict=False):
        assert colour in group, name


def test_unknown_label_set_lists_the_known():
    with pytest.raises(ValueError, match="one of camvid, cityscapes, vspw, got 'kitti'"):
        load_label_set('kitti')


def test_cityscapes_is_read_as_camvid_where_they_agree():
    labels = mapped(CITYSCAPES, CAMVID)
    pairs = {
        name: 'ignored' if target == 255 else CAMVID_NAMES[target]
        for name, target in zip(CITYSCAPES_NAMES, labels.to_class.tolist(), strict=False)
    }
    assert pairs == {
        'road': 'road', 'sidewalk': 'pavement', 'building': 'building', 'wall': 'building',
        'fence': 'fence', 'pole': 'pole', 'traffic light': 'sign', 'traffic sign': 'sign',
        'vegetation': 'tree', 'terrain': 'ignored', 'sky': 'sky', 'person': 'pedestrian',
        'rider': 'bicyclist', 'car': 'car', 'truck': 'car', 'bus': 'car', 'train': 'car',
        'motorcycle': 'bicyclist', 'bicycle': 'bicyclist',
    }  # fmt: skip
    assert labels.to_class[255] == 255
    assert labels.allowed.tolist() == CITYSCAPES.allowed.tolist()
    assert (labels.class_names, labels.palette) == (CAMVID.class_names, CAMVID.palette)


def test_mapping_goes_through_the_ids_of_the_files():
    to_cityscapes = mapped(VSPW, CITYSCAPES).to_class
    assert to_cityscapes[1 + VSPW.class_names.index('road')] == CITYSCAPES_NAMES.index('road')
    assert to_cityscapes[1 + VSPW.class_names.index('cat')] == 255


def test_sets_without_a_common_class_are_not_mapped(tmp_path):
    own = read_label_set(write(tmp_path / 'classes.yaml', '0: {name: banana}'))
    with pytest.raises(ValueError, match='share a class with CamVid'):
        mapped(own, CAMVID)


def test_own_classes_follow_the_order_of_their_ids(tmp_path):
    text = '7: {name: path, rgb: [9, 8, 7]}\n2: {name: grass, rgb: [0, 255, 0]}\n0: {name: null}\n'
    write(tmp_path / 'classes.yaml', text)
    labels = read_label_set(tmp_path)
    assert labels.class_names == ('grass', 'path')
    assert labels.palette == ((0, 255, 0), (9, 8, 7))
    assert labels.to_class[[0, 2, 7, 255]].tolist() == [255, 0, 1, 255]
    assert np.flatnonzero(labels.allowed).tolist() == [0, 2, 7, 255]
    assert labels.colours == {(0, 255, 0): 2, (9, 8, 7): 7}


def test_the_labels_topic_of_the_node_is_a_class_file(tmp_path):
    topic = {'0': {'name': 'sky', 'rgb': [1, 2, 3]}, '1': {'name': 'road', 'rgb': [4, 5, 6]}}
    labels = read_label_set(write(tmp_path / 'classes.json', json.dumps(topic)))
    assert (labels.class_names, labels.palette) == (('sky', 'road'), ((1, 2, 3), (4, 5, 6)))


def test_colours_may_be_left_out(tmp_path):
    labels = read_label_set(write(tmp_path / 'classes.yaml', '0: {name: a}\n1: {name: b}\n'))
    assert len(set(labels.palette)) == 2
    assert not labels.colours


@pytest.mark.parametrize('labels', [CAMVID, CITYSCAPES, VSPW], ids=lambda labels: labels.name)
def test_class_file_gives_the_set_back(tmp_path, labels):
    again = read_label_set(write(tmp_path / 'classes.yaml', class_file_text(labels)))
    assert again.class_names == labels.class_names
    assert again.palette == labels.palette
    assert again.to_class.tolist() == labels.to_class.tolist()
    assert again.allowed.tolist() == labels.allowed.tolist()


def test_everything_wrong_with_a_class_file_is_told(tmp_path):
    path = write(
        tmp_path / 'classes.yaml',
        '255: {name: void}\n0: {name: a, rgb: [0, 0, 256]}\n1: {name: a, colour: red}\n'
        '2: {name: b, rgb: [1, 1, 1]}\n3: {name: b, rgb: [1, 1, 1]}\n4: {name: 5}\n',
    )
    with pytest.raises(ValueError, match=r'classes\.yaml') as error:
        read_label_set(path)
    for words in (
        'an id must be 0 to 254, got 255',
        'rgb of id 0 must be three numbers 0 to 255, got [0, 0, 256]',
        "id 1 must be {name, rgb} or {any_of, rgb}, got {'name': 'a', 'colour': 'red'}",
        'name b is there 2 times',
        'rgb [1, 1, 1] is there 2 times',
        'name of id 4 must be a text, got 5',
    ):
        assert words in str(error.value)


@pytest.mark.parametrize(
    'text', ['', '- a', 'a: [', '0: {name: null}', '0: {name: a}\n0: {name: b}']
)
def test_no_classes_are_an_error(tmp_path, text):
    with pytest.raises(ValueError, match=r'classes\.yaml'):
        read_label_set(write(tmp_path / 'classes.yaml', text))


def test_folder_without_class_file_says_what_is_missing(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r'no such file of classes: .*classes\.yaml; it names'
    ):
        read_label_set(tmp_path)


def test_label_set_is_loaded_by_name_or_path(tmp_path):
    write(tmp_path / 'classes.yaml', '0: {name: mine}')
    assert load_label_set('vspw') is VSPW
    assert load_label_set(str(tmp_path)).class_names == ('mine',)
    with pytest.raises(FileNotFoundError, match=r'nowhere\.yaml'):
        load_label_set('nowhere.yaml')


def test_folder_named_like_a_known_set_does_not_hide_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'camvid').mkdir()
    assert load_label_set('camvid') is CAMVID


# Sets of classes

COARSE = """
0: {name: road}
4: {any_of: [car, bus], rgb: [1, 2, 3]}
2: {name: car, rgb: [9, 9, 9]}
7: {any_of: [bus, rider, car]}
8: {any_of: [bus, car, bus]}
9: {name: null}
"""


def names_of_values(labels):
    """What every allowed value means, in words."""
    values = np.flatnonzero(labels.allowed[:255]).tolist()
    return {value: labels.entry_name(labels.classes_of(value)) for value in values}


def test_a_value_may_stand_for_a_set_of_classes(tmp_path):
    labels = read_label_set(write(tmp_path / 'classes.yaml', COARSE))
    assert labels.class_names == ('road', 'car', 'bus', 'rider')
    assert labels.sets == ((1, 2), (1, 2, 3))
    assert labels.to_class[[0, 2, 4, 7, 8, 9, 255]].tolist() == [0, 1, 4, 5, 4, 255, 255]
    assert labels.entries == ((0,), (1,), (1, 2), (1, 2, 3))
    assert labels.id_names[4:] == ('car or bus', 'car or bus or rider')
    assert labels.colours == {(9, 9, 9): 2, (1, 2, 3): 4}


def test_a_set_has_the_mixed_colour_of_its_classes():
    labels = label_set_of(
        'own', ('a', 'b', 'c'), ((0, 10, 0), (3, 20, 1), (255, 1, 1)), {0: (0, 1)}
    )
    assert labels.id_palette == (*labels.palette, (2, 15, 0))


def test_class_file_gives_sets_back(tmp_path):
    labels = read_label_set(write(tmp_path / 'classes.yaml', COARSE))
    again = read_label_set(write(tmp_path / 'classes.yaml', class_file_text(labels)))
    assert (again.class_names, again.sets) == (labels.class_names, labels.sets)
    assert again.to_class.tolist() == labels.to_class.tolist()
    assert again.colours[1, 2, 3] == 4


def test_everything_wrong_with_sets_is_told(tmp_path):
    path = write(
        tmp_path / 'classes.yaml',
        '0: {name: a}\n1: {any_of: [a]}\n2: {any_of: a or b}\n3: {any_of: [a, a]}\n'
        '4: {any_of: [a, 5]}\n5: {any_of: [a, b], name: c}\n6: {any_of: null}\n'
        '7: {any_of: [a, b], rgb: [0, 0, 300]}\n',
    )
    with pytest.raises(ValueError, match=r'classes\.yaml') as error:
        read_label_set(path)
    for words in (
        "any_of of id 1 must be two or more names, got ['a']",
        "any_of of id 2 must be two or more names, got 'a or b'",
        "any_of of id 3 must be two or more names, got ['a', 'a']",
        "any_of of id 4 must be two or more names, got ['a', 5]",
        'id 5 must be {name, rgb} or {any_of, rgb}, got',
        'any_of of id 6 must be two or more names, got None',
        'rgb of id 7 must be three numbers 0 to 255, got [0, 0, 300]',
    ):
        assert words in str(error.value)


def test_more_classes_and_sets_than_ids_are_refused(tmp_path):
    names = ', '.join(f'c{i}' for i in range(254))
    text = f'0: {{any_of: [{names}]}}\n1: {{any_of: [c0, c1]}}\n'
    with pytest.raises(ValueError, match='at most 255 classes and sets, got 256'):
        read_label_set(write(tmp_path / 'classes.yaml', text))


def test_idd_lite_is_read_as_camvid():
    assert IDD_LITE.class_names == CAMVID_NAMES
    assert names_of_values(IDD_LITE) == {
        0: 'road', 1: 'pavement', 2: 'pedestrian or bicyclist', 3: 'car or bicyclist',
        4: 'building or pole or sign or fence', 5: 'building or tree', 6: 'sky',
    }  # fmt: skip


def test_a_set_is_mapped_to_the_set_of_the_counterparts(tmp_path):
    own = read_label_set(
        write(
            tmp_path / 'classes.yaml',
            '0: {any_of: [Car, Pole]}\n1: {any_of: [car, banana]}\n2: {name: ROAD}\n',
        )
    )
    assert names_of_values(mapped(own, CAMVID)) == {0: 'pole or car', 1: '', 2: 'road'}


def test_a_set_whose_classes_are_one_elsewhere_becomes_that_class():
    cars = tuple(map(CITYSCAPES_NAMES.index, ('car', 'truck', 'bus')))
    riders = tuple(map(CITYSCAPES_NAMES.index, ('rider', 'person')))
    grass = tuple(map(CITYSCAPES_NAMES.index, ('terrain', 'vegetation')))
    coarse = label_set_of(
        'coarse', CITYSCAPES_NAMES, CITYSCAPES.palette, {0: cars, 1: riders, 2: grass}
    )
    found = names_of_values(mapped(coarse, CAMVID))
    assert found == {0: 'car', 1: 'pedestrian or bicyclist', 2: ''}  # terrain is unknown there


def test_ids_of_sets_are_those_of_all_datasets():
    sets = ((0, 1), *IDD_LITE.sets, (9, 10, 3))
    labels = IDD_LITE.with_sets(sets)
    assert labels.sets == sets
    assert names_of_values(labels) == names_of_values(IDD_LITE)
    assert labels.to_class[255] == 255
    assert {int(labels.to_class[value]) for value in range(2, 6)} == {12, 13, 14, 15}


def test_more_sets_than_ids_are_refused():
    sets = tuple((0, index) for index in range(1, 11)) * 13
    assert CITYSCAPES.with_sets(sets).sets == sets  # 19 + 130
    with pytest.raises(ValueError, match='VSPW must have at most 255 classes and sets, got 256'):
        VSPW.with_sets((*sets, (0, 1), (0, 2)))
