from dataclasses import replace

import cv2
from engines import make_engine
import numpy as np
import pytest
from source_networks import convert_small
import torch

from dcfm_ros.models.checkpoint import load_checkpoint
from dcfm_ros.models.checkpoint_header import find_checkpoint
from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.synthetic.drive import DriveConfig, render_drive
from dcfm_ros.training.footage.clips import Clip, Frame
from dcfm_ros.training.footage.decoding import read_frame
from dcfm_ros.training.footage.label_sets import CAMVID, label_set_of
from dcfm_ros.training.studies.ages import loss_by_age


@pytest.fixture
def clip(tmp_path):
    """Six frames of noise; the last three have labels."""
    rng = np.random.default_rng(0)
    frames = []
    for index in range(6):
        image, label = tmp_path / f'{index}.png', tmp_path / f'{index}_label.png'
        cv2.imwrite(str(image), rng.integers(0, 256, (64, 64, 3)).astype(np.uint8))
        cv2.imwrite(str(label), rng.integers(0, 12, (64, 64)).astype(np.uint8))
        frames.append(Frame(image, label if index >= 3 else None))
    return Clip('noise', tuple(frames), 15.0, CAMVID)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return DCFM(DCFMConfig(backbone='mit_b0', num_classes=11, fuse_channels=16)).eval()


def expected_loss(net, clip, age):
    losses = []
    for index in range(3, 6):
        images = []
        for number in (index - age, index):
            image = cv2.imread(str(clip.frames[number].image))[..., ::-1].copy()
            images.append(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)
        label = cv2.imread(str(clip.frames[index].label), cv2.IMREAD_UNCHANGED).astype(np.int64)
        label[label == 11] = 255
        with torch.no_grad():
            logits = net(*images)
        losses.append(
            torch.nn.functional.cross_entropy(
                logits, torch.from_numpy(label)[None], ignore_index=255, reduction='none'
            )[0][torch.from_numpy(label) != 255]
        )
    return torch.cat(losses).mean().item()


def test_loss_is_that_of_the_network_with_an_older_keyframe(net, clip):
    found = loss_by_age(net, [clip], (0, 1, 3))
    for age, values in found.items():
        assert values['frames'] == 3
        assert values['loss'] == pytest.approx(expected_loss(net, clip, age), rel=1e-5)
        assert 0 < values['miou'] < 0.3
    assert len({values['loss'] for values in found.values()}) == 3


def test_networks_of_other_libraries_age_too(clip, tmp_path):
    net = load_checkpoint(convert_small(tmp_path, 'segformer', 11))

    def whole(_, image):
        return torch.nn.functional.interpolate(net(image), image.shape[-2:], mode='bilinear')

    found = loss_by_age(net, [clip], (0, 1))
    assert found[0]['loss'] == pytest.approx(expected_loss(whole, clip, 0), rel=1e-5)
    assert found[1]['loss'] != found[0]['loss']


@pytest.fixture(scope='module')
def drive(tmp_path_factory):
    """Six frames of a fast drive, all with labels."""
    folder, frames = tmp_path_factory.mktemp('drive'), []
    config = DriveConfig(num_frames=6, height=128, width=160, speed_mps=12.0, seed=1)
    for index, (image, label) in enumerate(render_drive(config)):
        paths = folder / f'{index}.png', folder / f'{index}_label.png'
        cv2.imwrite(str(paths[0]), image[..., ::-1])
        cv2.imwrite(str(paths[1]), label)
        frames.append(Frame(*paths))
    return Clip('drive', tuple(frames), 15.0, CAMVID)


@pytest.mark.parametrize('library', ['dcfm', 'segformer'])
def test_features_move_as_in_the_engine_if_the_network_asks_for_it(drive, tmp_path, library):
    path = find_checkpoint() if library == 'dcfm' else convert_small(tmp_path, library, 11)
    net = load_checkpoint(path)
    assert net.config.motion == 'flow'
    age, expected = 4, {}
    for motion in ('none', 'flow'):
        engine = make_engine(net, keyframe_interval=9, mask_blending=0.0, motion=motion)
        losses = []
        for first in (0, 1):
            engine.reset()
            for index in range(first, first + age + 1):
                image, label = read_frame(drive.frames[index], drive.labels)
                result = engine.step(image, index)
            logits = torch.from_numpy(result.logits)
            logits = torch.nn.functional.interpolate(logits, label.shape, mode='bilinear')
            truth = torch.from_numpy(label)[None].long()
            loss = torch.nn.functional.cross_entropy(
                logits, truth, ignore_index=255, reduction='none'
            )
            losses.append(loss[truth != 255])
        expected[motion] = torch.cat(losses).mean().item()
    found = loss_by_age(net, [drive], [age])[age]
    assert found['frames'] == 2
    difference = abs(expected['flow'] - expected['none'])
    assert difference > 1e-5
    assert abs(found['loss'] - expected['flow']) < 0.02 * difference


def test_sets_of_classes_cost_their_summed_probabilities(net, clip):
    all_classes = {value: tuple(range(11)) for value in range(11)} | {11: 255}
    labels = label_set_of('any', CAMVID.class_names, CAMVID.palette, all_classes)
    for value in loss_by_age(net, [replace(clip, labels=labels)], (0, 1)).values():
        assert value['loss'] == pytest.approx(0, abs=1e-6)
    one = label_set_of(
        'one',
        CAMVID.class_names,
        CAMVID.palette,
        all_classes | {value: value for value in range(9)},
    )
    found = loss_by_age(net, [replace(clip, labels=one)], (0,))[0]['loss']
    assert 0 < found < loss_by_age(net, [clip], (0,))[0]['loss']


def test_frames_without_an_older_one_are_left_out(net, clip):
    found = loss_by_age(net, [clip], (4, 5))
    assert [values['frames'] for values in found.values()] == [2, 1]


@pytest.mark.parametrize(
    ('ages', 'message'),
    [((-1,), r'numbers from 0, got \[-1\]'), ((1, 6), r'nothing is labelled at \[6\]')],
)
def test_impossible_ages_are_refused(net, clip, ages, message):
    with pytest.raises(ValueError, match=message):
        loss_by_age(net, [clip], ages)
