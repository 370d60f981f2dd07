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
