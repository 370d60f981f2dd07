"""Two processes, through the real command line, on the CPU."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from repository import ROOT
from safetensors import safe_open

from dcfm_ros.models.checkpoint_header import read_metadata

pytestmark = pytest.mark.train


@pytest.fixture(scope='module')
def camvid(tmp_path_factory):
    """Eight frames, 64x96; the first half of them is hardly labelled."""
    root = tmp_path_factory.mktemp('camvid')
    rng = np.random.default_rng(0)
    for folder in ('train', 'trainannot'):
        (root / folder).mkdir()
    for index in range(8):
        label = np.zeros((64, 96), np.uint8)
        label[20 + 3 * index :] = 3
        image = np.where(label[..., None] == 0, 200, 60) + rng.integers(0, 20, (64, 96, 3))
        if index < 4:
            label[:, 16:] = 11
        cv2.imwrite(str(root / 'train' / f'a_{index:03d}.jpg'), image)
        cv2.imwrite(str(root / 'trainannot' / f'a_{index:03d}.png'), label)
    return root


def fit(camvid, folder, *extra):
    """Train six steps of four pairs in processes of their own."""
    command = [
        sys.executable, '-m', 'dcfm_ros.training.train', 'fit',
        '--seed_everything=3',
        '--model.net.backbone=timm:resnet10t', '--model.net.fuse_channels=16',
        '--model.net.dropout=0.0', '--model.optimisation.lr=0.003',
        '--model.optimisation.warmup_steps=0',
        '--model.class_weights=[1,1,1,2,1,1,1,1,1,1,1]',
        f'--data.train=[{{dataset: camvid, root: {camvid}}}]', '--data.batch_size=4',
        f'--data.cache_dir={camvid}/cache',
        '--data.pairs_per_epoch=12', '--data.num_workers=0', '--data.hold_out_share=0.38',
        '--data.augmentation=dcfm_ros.training.pairs.augment.RoadSceneAugmentation',
        '--data.augmentation.init_args={crop: [64, 64]}',
        '--average.decay=0.5', f'--export.folder={folder}', f'--trainer.default_root_dir={folder}',
        '--trainer.max_steps=6', '--trainer.accelerator=cpu', '--trainer.logger=false',
        '--trainer.num_sanity_val_steps=0', '--trainer.enable_progress_bar=false',
        '--trainer.precision=64-true', *extra,
    ]  # fmt: skip
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with safe_open(folder / 'last.safetensors', 'pt') as file:
        return {key: file.get_tensor(key) for key in file.keys()}, done.stderr  # noqa: SIM118


def test_two_processes_train_one_network(camvid, tmp_path):
    """On CPUs they do not share batch statistics, so this is not what one process trains."""
    devices = ('--trainer.devices=2', '--trainer.strategy=ddp')
    weights, log = fit(camvid, tmp_path, *devices)
    assert 'every process uses batch statistics of its own' in log
    assert all(value.isfinite().all() for value in weights.values())
    record = read_metadata(tmp_path / 'last.safetensors').training
    assert record['steps'] == 6
    assert 'val_miou' in record['metrics']
