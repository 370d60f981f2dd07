"""A training on labels that are sets of classes, through the real command line."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from settings import setting
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
import torch

from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.training.evaluation.clip_choice import ClipChoice
from dcfm_ros.training.evaluation.evaluate import evaluate_dataset
from dcfm_ros.training.evaluation.jobs import Options
from dcfm_ros.training.train import main

pytestmark = pytest.mark.train

ROADSIDE, FAR, SKY = 4, 5, 6
"""Values of IDD-lite: pole, sign or fence; building or tree; sky."""
BRIGHTNESS = {ROADSIDE: 30, FAR: 120, SKY: 220}


@pytest.fixture(scope='module')
def stills(tmp_path_factory):
    """IDD-lite's layout: stripes of three values, each with its brightness, in any order."""
    root = tmp_path_factory.mktemp('idd_lite')
    rng = np.random.default_rng(0)
    for kind in ('train', 'trainannot'):
        (root / kind).mkdir()
    for index in range(12):
        label = np.repeat(rng.permutation([ROADSIDE, FAR, SKY]), 32)[None].repeat(64, 0)
        grey = np.vectorize(BRIGHTNESS.get)(label)[..., None] + rng.integers(0, 30, (64, 96, 3))
        cv2.imwrite(str(root / f'train/{index}_0.jpg'), grey.astype(np.uint8))
        cv2.imwrite(str(root / f'trainannot/{index}_0.png'), label.astype(np.uint8))
    return root


def fit(root, folder, steps):
    torch.set_num_threads(1)
    whole = '{crop: [64, 96], scale: [1, 1], rotation_deg: 0, jitter: 0, pair_jitter: 0, blur: 0}'
    main([
        'fit', '--seed_everything=1', '--model.net.backbone=mit_b0',
        '--model.net.fuse_channels=16', '--model.optimisation.lr=2e-3',
        '--model.optimisation.decoder_lr=0.1', '--model.optimisation.warmup_steps=0',
        f'--data.train=[{{dataset: idd_lite, root: {root}, motion: none}}]',
        '--data.augmentation=dcfm_ros.training.pairs.augment.RoadSceneAugmentation',
        f'--data.augmentation.init_args={whole}', f'--data.cache_dir={root}/cache',
        '--data.batch_size=4', '--data.pairs_per_epoch=80', '--data.num_workers=0',
        '--data.hold_out_share=0.25', '--average.decay=0.5', f'--export.folder={folder}',
        f'--trainer.max_steps={steps}', '--trainer.accelerator=cpu',
        '--trainer.num_sanity_val_steps=0', '--trainer.enable_progress_bar=false',
        '--trainer.log_every_n_steps=1',
    ])  # fmt: skip


def losses(folder):
    events = EventAccumulator(str(folder / 'log/version_0'))
    events.Reload()
    return [event.value for event in events.Scalars('loss')]


def test_loss_falls_and_the_sets_are_learned(stills, tmp_path):
    fit(stills, tmp_path, steps=30)
    found = losses(tmp_path)
    assert np.isfinite(found).all()
    assert np.mean(found[-5:]) < np.mean(found[:5]) / 3
    figures = evaluate_dataset(
        tmp_path / 'last.safetensors',
        ClipChoice(dataset='idd_lite', root=stills, split='train', hold_out_share=0.25),
        [setting(interval=1)],
        floors=False,
        options=Options(engine=EngineOptions(device='cpu'), streaming=False),
    )
    iou = figures['rows'][0]['coarse_iou']
    names = ('building or pole or sign or fence', 'building or tree', 'sky')
    assert [iou[name] > 0.8 for name in names] == [True] * 3, iou
