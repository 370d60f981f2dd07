from dataclasses import replace

import cv2
import numpy as np
import pytest

from dcfm_ros.models.labels import CITYSCAPES_NAMES
from dcfm_ros.recordings.bag_writer import write_bag
from dcfm_ros.recordings.sources import SourceFrame
from dcfm_ros.training.data import PairData
from dcfm_ros.training.pairs.augment import RoadSceneAugmentation
from dcfm_ros.training.pairs.gaps import NeighbourGaps
from dcfm_ros.training.pairs.source_options import SourceOptions

WHOLE = RoadSceneAugmentation(crop=(32, 48), scale=(1, 1), stretch=0, rotation_deg=0)


def put(folder, labelled, count=6):
    """A clip of noise in which the frames `labelled` are sky above road."""
    label = np.repeat([[0], [3]], [16, 16], axis=0).repeat(48, axis=1).astype(np.uint8)
    rng = np.random.default_rng(0)
    for kind, numbers in (('images', range(count)), ('masks', labelled)):
        (folder / kind).mkdir(parents=True)
        for number in numbers:
            noise = rng.integers(0, 255, (32, 48, 3), np.uint8)
            cv2.imwrite(str(folder / kind / f'{number}.png'), noise if kind == 'images' else label)


@pytest.fixture
def footage(tmp_path):
    """Training clips with ten and four labels, one clip to validate on."""
    (tmp_path / 'classes.yaml').write_text('0: {name: sky}\n3: {name: road}\n')
    put(tmp_path / 'train' / 'long', range(10), 12)
    put(tmp_path / 'train' / 'short', range(4))
    put(tmp_path / 'val' / 'one', [1, 2], 3)
    return tmp_path


def folder(root, split='train', **options):
    return SourceOptions(dataset='folder', root=root, split=split, **options)


def data(root, *train, **options):
    return PairData(
        list(train),
        gaps=NeighbourGaps(),
        cache_dir=root / 'cache',
        batch_size=1,
        num_workers=0,
        **{'augmentation': WHOLE, **options},
    )


def spoil(path):
    path.write_text('no image')


def problems(pairs):
    with pytest.raises(ValueError, match='problem') as error:
        pairs.prepare_data()
    return str(error.value)


def test_problems_of_all_sources_are_told_at_once(footage):
    spoil(footage / 'train/long/images/3.png')
    (footage / 'val/one/images/1.png').unlink()
    message = problems(
        data(
            footage,
            folder(footage),
            folder(footage, 'test'),
            SourceOptions(dataset='camvid', root=footage, motion='video'),
            validation=folder(footage, 'val'),
        )
    )
    assert '4 problem(s)' in message
    assert 'images/3.png cannot be read' in message
    assert f'folder {footage} test: {footage}/test is not a folder' in message
    assert 'trainannot is not a folder' in message
    assert 'val/one/masks/1.png has no image' in message


def test_only_frames_that_pairs_are_made_of_are_decoded(footage):
    spoil(footage / 'val/one/images/0.png')
    spoil(footage / 'train/long/images/11.png')  # the last label is on frame 9
    data(footage, folder(footage), validation_age=1).prepare_data()
    assert 'images/11.png' in problems(data(footage, folder(footage, in_memory=True)))
    validation = data(footage, folder(footage), validation=folder(footage, 'val'))
    assert 'val/one/images/0.png cannot be read' in problems(validation)


def test_good_files_are_decoded_once_until_they_change(footage, monkeypatch):
    data(footage, folder(footage)).prepare_data()
    with monkeypatch.context() as patch:
        patch.setattr(cv2, 'imread', None)
        data(footage, folder(footage)).prepare_data()
        data(footage, folder(footage)).setup('fit')
    spoil(footage / 'train/long/images/3.png')
    for _ in range(2):
        assert '1 problem(s)' in problems(data(footage, folder(footage)))


def test_without_the_check_files_must_still_be_there(footage):
    spoil(footage / 'train/long/images/3.png')
    data(footage, folder(footage), check=False).prepare_data()
    (footage / 'train/long/images/3.png').unlink()
    assert '3.png has no image' in problems(data(footage, folder(footage), check=False))


def test_bags_to_validate_on_are_extracted_beforehand(footage):
    frame = SourceFrame(
        image=np.zeros((32, 48, 3), np.uint8), stamp_ns=1, label=np.zeros((32, 48), np.uint8)
    )
    write_bag(footage / 'bags/run', [frame])
    (footage / 'bag.yaml').write_text('label_topic: /camera/label')
    bags = SourceOptions(dataset='bag', root=footage, split='bags')
    data(footage, folder(footage), validation=bags).prepare_data()
    assert len(list(footage.glob('cache/bags/run_*/images/*.png'))) == 1


def test_source_without_labels_or_known_classes_is_named(footage):
    put(footage / 'bare' / 'clip', [])
    (footage / 'classes.yaml').write_text('3: {name: carpet}')
    message = problems(data(footage, folder(footage, 'bare'), folder(footage)))
    assert f'folder {footage} bare: no frame has a label' in message
    assert f'folder {footage} train: `source` must share a class with CamVid' in message


def test_rendered_drives_have_the_classes_of_the_training(tmp_path):
    drives = SourceOptions(dataset='rendered', num_drives=1, frames_per_drive=2, size=(32, 48))
    pairs = data(tmp_path, drives, labels='cityscapes', hold_out_share=0)
    pairs.setup('fit')
    label = next(iter(pairs.train_dataloader())).label
    assert label[0, 0, 24] == CITYSCAPES_NAMES.index('sky')
    assert label[0, -1, 24] == CITYSCAPES_NAMES.index('road')


def test_rendered_drives_without_a_class_of_the_training_are_refused(tmp_path):
    (tmp_path / 'classes.yaml').write_text('3: {name: carpet}')
    drives = SourceOptions(dataset='rendered', num_drives=1)
    message = problems(data(tmp_path, drives, labels=str(tmp_path)))
    assert 'rendered train: `source` must share a class' in message


def test_every_recording_is_held_out_from(footage):
    pairs = data(footage, folder(footage), hold_out_share=0.25)
    pairs.setup('fit')
    assert len(pairs.val_dataloader()) == 2 + 1


def test_nothing_to_validate_on_is_told(footage):
    pairs = data(footage, folder(footage), hold_out_share=0.01)
    with pytest.warns(UserWarning, match='no frame to validate on'):
        pairs.setup('fit')
    assert pairs.val_dataloader() == []


def test_frames_without_a_neighbour_are_counted(footage):
    put(footage / 'train' / 'alone', [0], 1)
    with pytest.warns(UserWarning, match='1 of 15 labelled frames have no neighbour'):
        data(footage, folder(footage), hold_out_share=0).setup('fit')


def test_moved_stills_need_no_neighbour(footage, recwarn):
    put(footage / 'train' / 'alone', [0], 1)
    data(footage, folder(footage, motion='layers'), hold_out_share=0).setup('fit')
    assert not [warning for warning in recwarn if 'neighbour' in str(warning.message)]


def test_frames_at_rest_need_no_neighbour(footage, recwarn):
    pairs = data(footage, folder(footage, motion='none'))
    pairs.prepare_data()
    pairs.setup('fit')
    assert not [warning for warning in recwarn if 'neighbour' in str(warning.message)]
    first = next(iter(pairs.val_dataloader()))
    assert (first.reference == first.labelled).all()


@pytest.mark.parametrize('dataset', ['camvid', 'rendered'])
def test_nothing_is_moved_in_sources_at_rest(tmp_path, dataset):
    rng = np.random.default_rng(0)
    for name, shape in (('train', (32, 48, 3)), ('trainannot', (32, 48))):
        (tmp_path / name).mkdir()
        cv2.imwrite(
            str(tmp_path / name / '0001TP_000001.png'), rng.integers(0, 11, shape, np.uint8)
        )
    root = tmp_path if dataset == 'camvid' else None
    options = {'num_drives': 1, 'frames_per_drive': 2, 'size': (32, 48)}
    source = SourceOptions(dataset=dataset, root=root, motion='none', **options)
    same_light = RoadSceneAugmentation((32, 48), pair_jitter=0, noise=0, blur=0, occlusion=0)
    at_rest = data(tmp_path, source, hold_out_share=0, augmentation=same_light)
    at_rest.setup('fit')
    for batch in at_rest.train_dataloader():
        assert (batch.reference == batch.labelled).all()


def test_share_of_extra_objects_is_checked():
    with pytest.raises(ValueError, match=r'`paste_share` must be in \[0, 1\], got 1.5'):
        SourceOptions(dataset='rendered', paste_share=1.5)


# Sets of classes


def put_stills(root, classes, *values):
    """Stills without neighbours, each labelled with one value, and their classes.yaml."""
    for kind in ('images', 'masks'):
        (root / 'train' / kind).mkdir(parents=True)
    for number, value in enumerate(values):
        cv2.imwrite(str(root / f'train/images/{number}.png'), np.zeros((32, 48, 3), np.uint8))
        cv2.imwrite(str(root / f'train/masks/{number}.png'), np.full((32, 48), value, np.uint8))
    (root / 'classes.yaml').write_text(classes)
    return SourceOptions(dataset='stills', root=root)


FIRST = '0: {name: road}\n7: {any_of: [car, bicyclist]}\n'
SECOND = (
    '5: {any_of: [building, tree]}\n6: {any_of: [bicyclist, car]}\n7: {any_of: [tree, pole]}\n'
)
SETS = ((1, 5), (2, 5), (8, 10))
"""Of both in CamVid's ids, in the order in which they are counted on from 11."""


def labels_seen(loader, count=60):
    return {int(batch.label[0, 0, 0]) for batch, _ in zip(loader, range(count), strict=False)}


@pytest.mark.parametrize(
    ('shares', 'expected'),
    [((1, 0), {3, 13}), ((0, 1), {11, 12, 13}), ((1, 1), {3, 11, 12, 13})],
)
def test_a_set_has_one_id_in_all_sources(tmp_path, shares, expected):
    first = put_stills(tmp_path / 'first', FIRST, 0, 7)
    second = put_stills(tmp_path / 'second', SECOND, 5, 6, 7)
    sources = [replace(s, share=share) for s, share in zip((first, second), shares, strict=True)]
    pairs = data(tmp_path, *sources, hold_out_share=0, pairs_per_epoch=100)
    pairs.prepare_data()
    pairs.setup('fit')
    assert pairs.class_sets == SETS
    assert labels_seen(pairs.train_dataloader()) - {255} == expected


def test_sets_of_the_validation_are_counted_too(tmp_path):
    first = put_stills(tmp_path / 'first', FIRST, 0, 7)
    second = put_stills(tmp_path / 'second', SECOND, 5, 6, 7)
    pairs = data(tmp_path, first, validation=second)
    pairs.setup('fit')
    assert pairs.class_sets == SETS
    assert [int(batch.label[0, 0, 0]) for batch in pairs.val_dataloader()] == [11, 13, 12]


def test_sets_that_the_classes_cannot_say_are_told_of(tmp_path):
    typo = put_stills(tmp_path, '0: {name: road}\n1: {any_of: [car, bicylist]}\n', 0, 1)
    pairs = data(tmp_path, typo)
    with pytest.warns(
        UserWarning, match="pixels of 'car or bicylist' are ignored, for CamVid lacks"
    ):
        pairs.setup('fit')
    assert pairs.class_sets == ()


def test_classes_that_only_sets_have_are_told_of(tmp_path):
    source = put_stills(tmp_path, FIRST, 0, 7)
    pairs = data(tmp_path, source, labels=str(tmp_path), hold_out_share=0)
    with pytest.warns(UserWarning) as told:
        pairs.prepare_data()
    message = (
        "no training label has class 'car' (only car or bicyclist), 'bicyclist' (only car or "
    )
    assert [str(warning.message) for warning in told] == [f'{message}bicyclist)']


def test_a_source_of_sets_alone_is_trained_on(tmp_path):
    pairs = data(tmp_path, put_stills(tmp_path, SECOND, 5, 6, 7), hold_out_share=0)
    with pytest.warns(UserWarning, match='no training label has class'):
        pairs.prepare_data()
    pairs.setup('fit')
    assert labels_seen(pairs.train_dataloader()) - {255} == {11, 12, 13}


def test_pairs_are_balanced_by_classes_not_by_sets(tmp_path):
    options = {'dataset': 'stills', 'root': put_stills(tmp_path, FIRST, 0, 7, 7, 7, 7).root}
    pairs = data(tmp_path, SourceOptions(**options, balance=1.0), hold_out_share=0)
    pairs.setup('fit')
    assert labels_seen(pairs.train_dataloader()) - {255} == {3}


def test_every_source_can_keep_a_part_to_measure_on(tmp_path):
    first = put_stills(tmp_path / 'first', FIRST, *[0] * 10)
    second = put_stills(tmp_path / 'second', FIRST, *[7] * 8, *[0] * 2)
    second = SourceOptions(dataset='stills', root=second.root, hold_out_share=0.2)
    pairs = data(tmp_path, first, second, hold_out_share=0.3, pairs_per_epoch=100)
    pairs.setup('fit')
    assert len(pairs.val_dataloader()) == 3
    only = data(tmp_path, first, second, hold_out_share=0, pairs_per_epoch=100)
    only.train_options[0] = SourceOptions(dataset='stills', root=first.root, share=0)
    only.setup('fit')
    assert labels_seen(only.train_dataloader(), 100) - {255} == {11}  # its end is road


@pytest.mark.parametrize('role', ['first', 'validation'])
def test_what_is_validated_on_has_one_hold_out_share(tmp_path, role):
    own = SourceOptions(dataset='camvid', root=tmp_path, hold_out_share=0.2)
    plain = SourceOptions(dataset='camvid', root=tmp_path)
    with pytest.raises(
        ValueError, match=r'`hold_out_share` must be 0 for the source that is v.*0\.2'
    ):
        data(tmp_path, own) if role == 'first' else data(tmp_path, plain, validation=own)
    data(tmp_path, own, validation=plain)
    data(tmp_path, plain, own)


@pytest.mark.parametrize('share', [-0.1, 1.0])
def test_hold_out_share_of_a_source_is_checked(share):
    with pytest.raises(ValueError, match=rf'`hold_out_share` must be in \[0, 1\), got {share}'):
        SourceOptions(dataset='rendered', hold_out_share=share)
    with pytest.raises(ValueError, match=r"`hold_out_share` must be 0 for 'rendered', got 0\.1"):
        SourceOptions(dataset='rendered', hold_out_share=0.1)


def test_idd_lite_is_moved_like_stills(tmp_path):
    assert SourceOptions(dataset='idd_lite', root=tmp_path).chosen_motion == 'layers'


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'seed': -1}, '`seed` must be at least 0, got -1'),
        ({'validation_every': 0}, '`validation_every` must be at least 1, got 0'),
        ({'validation_every': -3}, '`validation_every` must be at least 1, got -3'),
        ({'validation_height': -5}, '`validation_height` must be at least 1 or None, got -5'),
        ({'hold_out_share': 1.0}, r'`hold_out_share` must be in \[0, 1\), got 1.0'),
        ({'hold_out_share': float('nan')}, r'`hold_out_share` must be in \[0, 1\), got nan'),
        (
            {'validation': SourceOptions(dataset='rendered')},
            "`validation` must be a dataset with a folder of its own, got 'rendered'",
        ),
    ],
)
def test_wrong_options_are_refused_before_anything_is_read(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        data(tmp_path, folder(tmp_path / 'absent'), **options)
