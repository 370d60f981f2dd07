from __future__ import annotations

import hashlib
import json

from command import dcfm
import cv2
import numpy as np
import pytest
from small_net import make_images, make_net
from source_networks import convert_small
import torch
import yaml

from dcfm_ros.models.checkpoint import save_checkpoint
from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.models.labels import CAMVID_NAMES, CAMVID_PALETTE
from dcfm_ros.recordings.sources import SourceError, SourceFrame
from dcfm_ros.training.data import PairData
from dcfm_ros.training.footage.datasets import find_clips
from dcfm_ros.training.footage.decoding import read_frame
from dcfm_ros.training.footage.frame_check import check_frames
from dcfm_ros.training.pairs.augment import RoadSceneAugmentation
from dcfm_ros.training.pairs.gaps import AgeMatchedGaps
from dcfm_ros.training.pairs.pair_sources import VideoPairs
from dcfm_ros.training.pairs.source_options import SourceOptions
from dcfm_ros.training.pseudo_labels import SURE, Thresholds, label_footage
from dcfm_ros.training.teacher import Teacher

ROAD, POLE, SKY = range(3)
CLASSES = DCFMConfig(backbone='mit_b0', num_classes=3, class_names=('road', 'pole', 'sky'))
BEST = np.array([
    [[ROAD, ROAD, ROAD], [POLE, POLE, POLE]],
    [[ROAD, ROAD, ROAD], [POLE, SKY, SKY]],
])  # fmt: skip
CONFIDENCE = np.array([
    [[0.99, 0.95, 0.91], [0.80, 0.70, 0.50]],
    [[0.92, 0.90, 0.65], [0.75, 0.58, 0.45]],
])  # fmt: skip
"""Class and probability of every pixel of two frames, (2, 2, 3)."""
KEPT = np.array([
    [[ROAD, ROAD, ROAD], [POLE, 255, 255]],
    [[ROAD, ROAD, 255], [POLE, 255, 255]],
])  # fmt: skip
"""With the usual thresholds. 5 of 6 pixels of road are above .9; of pole the surest half of both
frames together is kept, .80 and .75; of sky half would be one pixel, but it is below .6."""


def probabilities(frame):
    """(3, 2, 3): what the best class leaves is shared by the others."""
    others = (1 - CONFIDENCE[frame]) / 2
    is_best = np.arange(3)[:, None, None] == BEST[frame]
    return torch.tensor(np.where(is_best, CONFIDENCE[frame], others), dtype=torch.float32)


def recording(count=2, rate_hz=25.0):
    """Frame i is grey of value i, so that a prediction can tell them apart."""
    for index in range(count):
        image = np.full((2, 3, 3), index, np.uint8)
        label = np.zeros((2, 3), np.uint8)  # which must not be used
        stamp_ns = round((index + 1) * 1e9 / rate_hz)
        yield SourceFrame(image=image, stamp_ns=stamp_ns, label=label)


def label(output, frames=None, **options):
    return label_footage(
        recording() if frames is None else frames,
        lambda image: probabilities(image[0, 0, 0] % 2),
        CLASSES,
        output,
        'drive',
        **options,
    )


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp('weights') / 'tiny.safetensors'
    net = make_net(fuse_channels=32, class_names=CAMVID_NAMES, palette=CAMVID_PALETTE)
    with torch.no_grad():
        net.head[-1].weight.mul_(20)  # so that it is sure here and there
    save_checkpoint(path, net, {'image_height': 48})
    return path


def test_levels_are_exact_at_both_ends():
    thresholds = Thresholds(min_confidence=0.9, floor=0.646)  # steps of .001
    values = np.array([0.6459, 0.646, 0.6475, 0.8995, 0.8999, 0.9, 1.0], np.float32)
    assert thresholds.levels(values).tolist() == [0, 1, 2, 254, 254, SURE, SURE]
    assert [thresholds.confidence(level) for level in (1, 2, 254, SURE)] == pytest.approx(
        [0.646, 0.647, 0.899, 0.9]
    )


def test_levels_without_room_between_the_ends():
    thresholds = Thresholds(min_confidence=0.9, floor=0.9)
    values = np.array([0.89, 0.9, 0.95], np.float32)
    assert thresholds.levels(values).tolist() == [0, SURE, SURE]


def test_lowest_level_keeps_the_share_of_each_class_within_floor_and_minimum():
    counts = np.zeros((5, 256), np.int64)
    counts[0, [255, 10]] = 60, 40  # enough are sure
    counts[1, [255, 100, 50, 0]] = 30, 20, 10, 40  # exactly half are at 100 or above
    counts[2, [255, 100, 50, 0]] = 30, 19, 10, 41  # one pixel short of it
    counts[3, [20, 0]] = 10, 90  # half of it is below the floor; class 4 is never seen
    assert Thresholds().lowest_levels(counts).tolist() == [255, 100, 50, 1, 255]
    assert Thresholds(class_share=0).lowest_levels(counts).tolist() == [255] * 5
    assert Thresholds(class_share=1).lowest_levels(counts).tolist() == [10, 1, 1, 1, 255]


@pytest.mark.parametrize(
    ('name', 'value', 'high'),
    [('min_confidence', 1.1, 1), ('class_share', -0.1, 1), ('floor', 0.95, 0.9)],
)
def test_thresholds_outside_their_range_are_refused(name, value, high):
    with pytest.raises(ValueError, match=f'`{name}` must be from 0 to {high}, got {value}'):
        Thresholds(**{name: value})


def test_unsure_pixels_are_ignored_by_the_training(tmp_path):
    label(tmp_path / 'out')
    (clip,) = find_clips('folder', tmp_path / 'out', 'train')
    assert not check_frames([clip]).problems
    assert clip.labels.class_names == CLASSES.class_names
    assert clip.labels.palette == CLASSES.palette
    for index, frame in enumerate(clip.frames):
        image, mask = read_frame(frame, clip.labels)
        assert (image == index).all()
        np.testing.assert_array_equal(mask, KEPT[index])


def test_one_threshold_for_all_loses_the_rare_class(tmp_path):
    label(tmp_path / 'out', thresholds=Thresholds(class_share=0))
    (clip,) = find_clips('folder', tmp_path / 'out', 'train')
    masks = np.array([read_frame(frame, clip.labels)[1] for frame in clip.frames])
    np.testing.assert_array_equal(masks, np.where(KEPT == POLE, 255, KEPT))


def test_record_tells_thresholds_and_shares_of_the_classes(tmp_path):
    origin = {'source': 'drive.mp4', 'checkpoint': 'some.safetensors'}
    returned = label(tmp_path / 'out', origin=origin)
    record = json.loads((tmp_path / 'out/pseudo_labels.json').read_text())
    assert record == returned
    assert record.items() >= {**origin, 'min_confidence': 0.9, 'class_share': 0.5}.items()
    assert record.items() >= {'floor': 0.6, 'every': 1, 'images': 2, 'masks': 2}.items()
    assert record['kept'] == 7 / 12
    classes = record['classes']
    assert [classes[name]['share'] for name in CLASSES.class_names] == [6 / 12, 4 / 12, 2 / 12]
    assert [classes[name]['kept'] for name in CLASSES.class_names] == [5 / 6, 2 / 4, 0]
    thresholds = [classes[name]['threshold'] for name in CLASSES.class_names]
    assert thresholds == pytest.approx([0.9, 0.75, 0.6], abs=0.3 / 254)
    clip = yaml.safe_load((tmp_path / 'out/train/drive/clip.yaml').read_text())
    assert clip['source'] == origin


def test_frames_between_labelled_ones_are_neighbours_at_the_rate_of_the_recording(tmp_path):
    assert label(tmp_path / 'out', recording(8), every=3)['masks'] == 3
    (clip,) = find_clips('folder', tmp_path / 'out', 'train')
    assert (len(clip.frames), clip.labelled, clip.rate_hz) == (8, [0, 3, 6], 25)
    masks = [read_frame(clip.frames[index], clip.labels)[1] for index in clip.labelled]
    # Half of pole's 7 pixels: both at .80, that at .75, and those at .70, which are alike.
    expected = [KEPT[0].copy(), KEPT[1], KEPT[0].copy()]
    for mask in expected[::2]:
        mask[1, 1] = POLE
    np.testing.assert_array_equal(masks, expected)


def test_jpeg_is_smaller_and_leaves_the_masks_exact(tmp_path):
    label(tmp_path / 'out', jpeg=True)
    (clip,) = find_clips('folder', tmp_path / 'out', 'train')
    assert [frame.image.name for frame in clip.frames] == ['000000.jpg', '000001.jpg']
    np.testing.assert_array_equal(read_frame(clip.frames[0], clip.labels)[1], KEPT[0])


def test_folder_with_something_in_it_is_refused_and_left_alone(tmp_path):
    (tmp_path / 'notes.txt').write_text('mine')
    with pytest.raises(FileExistsError, match='exists already'):
        label(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ['notes.txt']


def test_empty_folder_is_filled(tmp_path):
    (tmp_path / 'out').mkdir()
    label(tmp_path / 'out')
    assert len(find_clips('folder', tmp_path / 'out', 'train')) == 1


@pytest.mark.parametrize('error', [KeyboardInterrupt, SourceError])
def test_interrupted_call_leaves_nothing(tmp_path, error):
    def breaks_off():
        yield next(recording())
        raise error

    with pytest.raises(error):
        label(tmp_path / 'out', breaks_off())
    assert not list(tmp_path.iterdir())


def test_classes_that_no_training_could_read_are_told_before_anything_is_labelled(tmp_path):
    def never():
        raise AssertionError
        yield

    twice = DCFMConfig(backbone='mit_b0', num_classes=2, class_names=('road', 'road'))
    with pytest.raises(ValueError, match='name road is there 2 times'):
        label_footage(never(), lambda image: image, twice, tmp_path / 'out', 'drive')
    assert not list(tmp_path.iterdir())


def test_every_must_be_above_0(tmp_path):
    with pytest.raises(ValueError, match='`every` must be at least 1, got 0'):
        label(tmp_path / 'out', every=0)


def test_teacher_averages_the_probabilities_of_its_views(checkpoint):
    torch.set_num_threads(1)
    image = make_images(1, (72, 96))[0]
    mirrored = np.ascontiguousarray(image[:, ::-1])

    def alone(scale):
        return Teacher(checkpoint, [scale], flip=False, device='cpu')

    views = [
        probability
        for scale in (0.75, 1.25)
        for probability in (alone(scale)(image), alone(scale)(mirrored).flip(-1))
    ]
    expected = torch.stack(views).mean(0)
    seen = Teacher(checkpoint, [0.75, 1.25], device='cpu')(image)
    torch.testing.assert_close(seen, expected)
    torch.testing.assert_close(seen.sum(0), torch.ones(72, 96))
    assert all((view.argmax(0) != seen.argmax(0)).any() for view in views)


def test_teacher_works_at_the_height_of_its_training(checkpoint):
    image = make_images(1, (96, 128))[0]
    half = cv2.resize(image, (64, 48), interpolation=cv2.INTER_AREA)
    one = {'scales': [1.0], 'flip': False, 'device': 'cpu'}
    seen, expected = Teacher(checkpoint, **one)(image), Teacher(checkpoint, **one)(half)
    shrunk = torch.nn.functional.avg_pool2d(seen[None], 2)[0]
    assert (shrunk.argmax(0) == expected.argmax(0)).float().mean() > 0.95
    assert (Teacher(checkpoint, height=96, **one)(image) - seen).abs().max() > 0.1


def test_teacher_may_be_a_network_of_another_library(tmp_path):
    teacher = Teacher(convert_small(tmp_path, 'FPN'), [1.0], device='cpu')
    [image] = make_images(1, (90, 130))
    probabilities = teacher(image)
    assert probabilities.shape[0] == teacher.config.num_classes == 5
    torch.testing.assert_close(probabilities.sum(0), torch.ones(probabilities.shape[1:]))


def test_teacher_without_a_view_is_refused(checkpoint):
    with pytest.raises(ValueError, match='`scales` must be numbers above 0, got '):
        Teacher(checkpoint, [])


def test_command_writes_what_a_training_mixes_with_hand_made_labels(checkpoint, tmp_path):
    torch.set_num_threads(1)
    for kind in ('frames', 'camvid/train', 'camvid/trainannot'):
        (tmp_path / kind).mkdir(parents=True)
    for index, image in enumerate(make_images(9, (48, 64))):
        cv2.imwrite(str(tmp_path / f'frames/{index}.png'), image)
    for index in range(2):
        cv2.imwrite(str(tmp_path / f'camvid/train/a_{index}.png'), np.full((48, 64, 3), 90))
        cv2.imwrite(str(tmp_path / f'camvid/trainannot/a_{index}.png'), np.full((48, 64), 3))
    wanted = ('--checkpoint', checkpoint, '--device', 'cpu', '--every', 4, '--rate', 30)
    arguments = ('pseudo-label', tmp_path / 'frames', '--output', tmp_path / 'out', *wanted)
    run = dcfm(*arguments, '--floor', '0.2', '--scales', '1,1.5')
    assert run.returncode == 0, run.stderr
    assert f'9 images and 3 masks in {tmp_path}/out' in run.stdout
    record = json.loads((tmp_path / 'out/pseudo_labels.json').read_text())
    assert record['checkpoint_sha256'] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert (record['floor'], record['scales'], record['flip']) == (0.2, [1, 1.5], True)
    assert (record['source'], record['inference_height']) == (str(tmp_path / 'frames'), 48)

    again = dcfm(*arguments)
    assert again.returncode == 1
    assert again.stderr.endswith('out exists already\n')

    (clip,) = find_clips('folder', tmp_path / 'out', 'train')
    masks = [read_frame(clip.frames[index], clip.labels)[1] for index in clip.labelled]
    assert 0.2 < np.mean(np.array(masks) != 255) < 1
    assert clip.rate_hz == pytest.approx(30, abs=0.01)
    camvid = SourceOptions(dataset='camvid', root=tmp_path / 'camvid')
    pseudo = SourceOptions(dataset='folder', root=tmp_path / 'out')
    pairs = PairData(
        [camvid, pseudo],
        hold_out_share=0,
        augmentation=RoadSceneAugmentation(crop=(48, 64), scale=(1, 1)),
        cache_dir=tmp_path / 'cache',
        batch_size=8,
        pairs_per_epoch=8,
        num_workers=0,
    )
    pairs.prepare_data()
    pairs.setup('fit')
    (batch,) = pairs.train_dataloader()
    of_camvid = (batch.label == 3).flatten(1).float().mean(1) > 0.9
    assert 0 < of_camvid.sum() < 8


def test_reference_frames_are_real_neighbours_as_far_as_a_slower_camera_sees(tmp_path):
    label(tmp_path / 'out', recording(9, rate_hz=30), every=4)
    (clip,) = find_clips('folder', tmp_path / 'out', 'train')
    pairs = VideoPairs([clip], AgeMatchedGaps([3], camera_rate_hz=15))
    rng = np.random.default_rng(0)
    seen = set()
    for index in range(60):
        reference, image, _ = pairs.pair(index % 3, rng)
        seen.add((int(reference[0, 0, 0]), int(image[0, 0, 0])))
    # Ages 1 and 2 at 15 Hz are 2 and 4 frames at 30 Hz; before frame 0 there is none.
    assert seen == {(2, 0), (4, 0), (2, 4), (0, 4), (6, 8), (4, 8)}


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        (('--scales', '1,big'), "`scales` must be numbers with commas between, got '1,big'"),
        (('--scales', '0'), '`scales` must be numbers above 0, got [0.0]'),
        (('--floor', '0.95'), '`floor` must be from 0 to 0.9, got 0.95'),
        (('--checkpoint', 'none.safetensors'), 'no such checkpoint file: none.safetensors'),
    ],
)
def test_command_names_what_is_wrong(tmp_path, checkpoint, option, message):
    wanted = ('--checkpoint', checkpoint, '--output', tmp_path / 'out')
    run = dcfm('pseudo-label', tmp_path, *wanted, *option)
    assert run.returncode == 1
    assert message in run.stderr
    assert not list(tmp_path.iterdir())


def test_camera_is_no_recording(tmp_path):
    run = dcfm('pseudo-label', '0', '--output', tmp_path / 'out')
    assert '`source` must be a recording, which has an end, got camera 0' in run.stderr
