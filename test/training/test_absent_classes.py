"""Own footage whose masks do not hold what its classes.yaml promises."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from settings import setting
import torch

from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.models.checkpoint import save_checkpoint
from dcfm_ros.models.checkpoint_header import read_metadata
from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.training.evaluation.clip_choice import ClipChoice
from dcfm_ros.training.evaluation.evaluate import evaluate_dataset
from dcfm_ros.training.evaluation.jobs import Options
from dcfm_ros.training.train import main

pytestmark = pytest.mark.train

NO_SQUARE = "no {} label has class 'square'; in a mask 255 means ignored, and classes have ids"
NOTHING = 'no pixel of any {} label has a class: in a mask 255 means ignored'


def write_footage(root, *, square=1, background=0, validation=None):
    """Two clips of a bright square before a dark ground, every second of 6 frames labelled."""
    rng = np.random.default_rng(0)
    for split, values in (('train', (background, square)), ('val', validation)):
        ground, thing = values or (background, square)
        for kind in ('images', 'masks'):
            (root / split / 'clip' / kind).mkdir(parents=True)
        for index in range(6):
            image = rng.integers(60, 110, (64, 96, 3), np.uint8)
            mask = np.full((64, 96), ground, np.uint8)
            mask[20:44, 8 * index : 8 * index + 32] = thing
            image[20:44, 8 * index : 8 * index + 32] += 120
            cv2.imwrite(str(root / split / 'clip/images' / f'{index:06d}.png'), image)
            if index % 2 == 0:
                cv2.imwrite(str(root / split / 'clip/masks' / f'{index:06d}.png'), mask)
    (root / 'classes.yaml').write_text('0: {name: background}\n1: {name: square}\n')
    return root


def fit(footage):
    torch.set_num_threads(1)
    main([
        'fit', '--model.net.backbone=mit_b0', '--model.net.fuse_channels=16',
        f'--data.labels={footage}/classes.yaml',
        f'--data.train=[{{dataset: folder, root: {footage}}}]',
        f'--data.validation={{dataset: folder, root: {footage}, split: val}}',
        '--data.augmentation=dcfm_ros.training.pairs.augment.RoadSceneAugmentation',
        '--data.augmentation.init_args={crop: [64, 64]}', f'--data.cache_dir={footage}/cache',
        '--data.batch_size=2', '--data.pairs_per_epoch=2', '--data.num_workers=0',
        f'--export.folder={footage}/out', '--trainer.max_steps=1', '--trainer.accelerator=cpu',
        '--trainer.num_sanity_val_steps=0', '--trainer.enable_progress_bar=false',
        '--trainer.logger=false',
    ])  # fmt: skip
    return read_metadata(footage / 'out/last.safetensors').training['metrics']


def evaluate(footage):
    config = DCFMConfig(backbone='mit_b0', num_classes=2, fuse_channels=16)
    torch.manual_seed(0)
    save_checkpoint(footage / 'net.safetensors', DCFM(config).eval())
    choice = ClipChoice(dataset='folder', root=footage)
    options = Options(engine=EngineOptions(device='cpu'))
    return evaluate_dataset(
        footage / 'net.safetensors', choice, [setting(interval=2)], options=options
    )


def fractions(values):
    """Every number of a row that is a fraction."""
    names = ('miou', 'wiou', 'mean_accuracy', 'streaming_miou')
    return [value for key, value in values.items() if any(key.startswith(n) for n in names)]


def test_white_objects_are_reported_where_they_are_trained_and_measured(tmp_path):
    footage = write_footage(tmp_path, square=255)
    with pytest.warns(UserWarning) as told:
        fit(footage)
    messages = [str(warning.message) for warning in told]
    for role in ('training', 'validation'):
        assert sum(NO_SQUARE.format(role) in message for message in messages) == 1
    [note] = [n for n in evaluate(footage)['notes'] if 'square' in n]
    assert note.startswith(NO_SQUARE.format('counted'))
    assert 'counts 0 in `miou`' in note


def test_the_warning_comes_again_although_the_files_are_not_decoded_again(tmp_path):
    footage = write_footage(tmp_path, validation=(0, 255))
    for _ in range(2):
        with pytest.warns(UserWarning, match=NO_SQUARE.format('validation')) as told:
            fit(footage)
        assert not any('training label' in str(warning.message) for warning in told)


def test_validation_without_a_labelled_pixel_is_undefined(tmp_path):
    footage = write_footage(tmp_path, validation=(255, 255))
    with pytest.warns(UserWarning) as told:
        metrics = fit(footage)
    messages = [str(warning.message) for warning in told]
    assert any(NOTHING.format('validation') in message for message in messages)
    assert any('val_miou is undefined' in message for message in messages)
    assert not [name for name in metrics if name.startswith('val_')]
    assert not (footage / 'out/best.safetensors').exists()
    figures = evaluate(footage)
    assert any(note.startswith(NOTHING.format('counted')) for note in figures['notes'])
    assert [set(fractions(row)) for row in figures['rows']] == [{None}] * 3


def test_training_without_a_labelled_pixel_does_not_start(tmp_path):
    footage = write_footage(tmp_path, square=255, background=255, validation=(0, 1))
    with pytest.raises(ValueError, match=NOTHING.format('training')):
        fit(footage)


def test_files_of_macos_are_no_frames(tmp_path):
    footage = write_footage(tmp_path)
    for path in list(footage.rglob('*.*')):
        path.with_name(f'._{path.name}').write_bytes(b'\0\5\26\7\0\2\0\0Mac OS X')
    assert fit(footage)['val_miou'] > 0
