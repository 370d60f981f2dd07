import json

import cv2
import numpy as np
import pytest
from safetensors import safe_open
import torch

from dcfm_ros.models.checkpoint import load_checkpoint, read_metadata
from dcfm_ros.training.augment import Augmentation
from dcfm_ros.training.data import CamVidPairs
from dcfm_ros.training.drive_cache import rendered_drives
from dcfm_ros.training.module import SymmetricTraining
from dcfm_ros.training.train import main


@pytest.fixture(scope='module')
def camvid(tmp_path_factory):
    """Six frames of two drives, 64x96: sky above road."""
    root = tmp_path_factory.mktemp('camvid')
    rng = np.random.default_rng(0)
    for folder in ('train', 'trainannot'):
        (root / folder).mkdir()
    for index in range(6):
        label = np.zeros((64, 96), np.uint8)
        label[30:] = 3
        image = np.where(label[..., None] == 0, 200, 60) + rng.integers(0, 20, (64, 96, 3))
        name = f'{"ab"[index % 2]}_{index:03d}'
        cv2.imwrite(str(root / 'train' / f'{name}.jpg'), image)
        cv2.imwrite(str(root / 'trainannot' / f'{name}.png'), label)
    return root


def fit(camvid, folder, *extra, steps=4):
    """Train a tiny network through the real command line; one epoch is two steps of two pairs."""
    torch.set_num_threads(1)
    main([
        'fit',
        '--seed_everything=3',
        '--model.backbone=mit_b0', '--model.fuse_channels=16', '--model.warmup_steps=0',
        f'--data.root={camvid}', '--data.batch_size=2', '--data.pairs_per_epoch=4',
        '--data.num_workers=0', '--data.drive_share=0', '--data.hold_out_share=0.34',
        '--data.augmentation.crop=[64,64]',
        '--average.decay=0.5', f'--export.folder={folder}', f'--trainer.default_root_dir={folder}',
        f'--trainer.max_steps={steps}', '--trainer.accelerator=cpu', '--trainer.logger=false',
        '--trainer.num_sanity_val_steps=0', '--trainer.enable_progress_bar=false',
        '--trainer.callbacks+=lightning.pytorch.callbacks.ModelCheckpoint',
        f'--trainer.callbacks.dirpath={folder}', '--trainer.callbacks.save_last=true',
        '--trainer.callbacks.save_top_k=-1',
        *extra,
    ])  # fmt: skip


def weights(path):
    with safe_open(path, 'pt') as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


@pytest.fixture(scope='module')
def trained(camvid, tmp_path_factory):
    folder = tmp_path_factory.mktemp('trained')
    fit(camvid, folder)
    return folder


def test_training_exports_networks_that_load(trained):
    for name in ('best', 'last'):
        net = load_checkpoint(trained / f'{name}.safetensors')
        assert net.config.num_classes == 11
        assert net(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)).isfinite().all()


def test_training_record_says_how_the_weights_came_to_be(trained):
    record = read_metadata(trained / 'last.safetensors').training
    assert record['steps'] == 4
    assert record['image_height'] == 360
    assert record['seed'] == 3
    assert set(record) >= {'dataset', 'command', 'hours', 'hardware', 'metrics'}
    assert 0 <= record['metrics']['val_miou_nonkey'] <= 1
    assert json.dumps(record)


def test_resumed_training_equals_an_uninterrupted_one(camvid, trained, tmp_path):
    fit(camvid, tmp_path, f'--ckpt_path={trained / "epoch=0-step=2.ckpt"}')
    assert read_metadata(tmp_path / 'last.safetensors').training['steps'] == 4
    whole, resumed = (weights(folder / 'last.safetensors') for folder in (trained, tmp_path))
    for key, value in whole.items():
        torch.testing.assert_close(resumed[key], value, rtol=0, atol=0, msg=key)


def test_a_few_steps_lower_the_loss(camvid):
    torch.manual_seed(0)
    small = Augmentation(crop=(64, 64))
    data = CamVidPairs(
        camvid, 4, 4, num_workers=0, drive_share=0, hold_out_share=0, augmentation=small
    )
    data.setup('fit')
    batch = next(iter(data.train_dataloader()))
    module = SymmetricTraining('mit_b0', fuse_channels=16, dropout=0, drop_path=0)
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        loss = module.loss(batch).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_initial_checkpoint_of_another_network_is_refused(trained):
    with pytest.raises(ValueError, match=r'`initial_checkpoint` must fit.*fuse_channels: 16'):
        SymmetricTraining('mit_b0', initial_checkpoint=trained / 'last.safetensors')


def test_initial_checkpoint_is_where_training_starts(trained):
    path = trained / 'last.safetensors'
    module = SymmetricTraining('mit_b0', fuse_channels=16, initial_checkpoint=path)
    assert all(torch.equal(module.net.state_dict()[k], v) for k, v in weights(path).items())


def test_class_weights_must_be_one_per_class():
    with pytest.raises(ValueError, match=r'`class_weights` must be one weight per class \(11\)'):
        SymmetricTraining('mit_b0', class_weights=[1.0, 2.0])


def test_problems_with_the_data_stop_the_training_before_it_starts(camvid, tmp_path):
    with pytest.raises(FileNotFoundError, match='is not a folder'):
        fit(tmp_path / 'nowhere', tmp_path)


def test_drives_are_rendered_once_and_exactly(tmp_path):
    images, labels = rendered_drives(tmp_path, 1, 2, 48, 64)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again, _ = rendered_drives(tmp_path, 1, 2, 48, 64)
    assert images.shape == (1, 2, 48, 64, 3)
    assert labels.max() < 11
    assert np.array_equal(images, again)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == files
