import json

import cv2
import numpy as np
import pytest
from safetensors import safe_open
import torch

from dcfm_ros.models.checkpoint import load_checkpoint, read_metadata
from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.training.augment import RoadSceneAugmentation
from dcfm_ros.training.data import PairData
from dcfm_ros.training.drive_cache import rendered_drives
from dcfm_ros.training.module import SymmetricTraining
from dcfm_ros.training.optimisation import Optimisation
from dcfm_ros.training.schedule import poly_with_warmup
from dcfm_ros.training.source_options import SourceOptions
from dcfm_ros.training.train import main


def config(**values):
    return DCFMConfig(backbone='mit_b0', num_classes=11, fuse_channels=16, **values)


def poly(step, **values):
    return poly_with_warmup(step, total_steps=100, warmup_steps=2, min_lr=1e-3, **values)


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


def arguments(camvid, folder, *extra, steps=4):
    """A tiny network; one epoch is two steps of two pairs."""
    still = '{scale: [1.0, 1.0], stretch: 0.0, rotation_deg: 0.0, crop: [64, 64]}'
    return [
        'fit',
        '--seed_everything=3',
        '--model.net.backbone=mit_b0', '--model.net.fuse_channels=16',
        '--model.optimisation.warmup_steps=0',
        f'--data.train=[{{dataset: camvid, root: {camvid}}}]', '--data.batch_size=2',
        f'--data.cache_dir={camvid}/cache',
        '--data.pairs_per_epoch=4', '--data.num_workers=0', '--data.hold_out_share=0.34',
        '--data.augmentation=dcfm_ros.training.augment.RoadSceneAugmentation',
        f'--data.augmentation.init_args={still}',
        '--average.decay=0.5', f'--export.folder={folder}', f'--trainer.default_root_dir={folder}',
        f'--trainer.max_steps={steps}', '--trainer.accelerator=cpu', '--trainer.logger=false',
        '--trainer.num_sanity_val_steps=0', '--trainer.enable_progress_bar=false',
        '--trainer.callbacks+=lightning.pytorch.callbacks.ModelCheckpoint',
        f'--trainer.callbacks.dirpath={folder}', '--trainer.callbacks.save_last=true',
        '--trainer.callbacks.save_top_k=-1',
        *extra,
    ]  # fmt: skip


def fit(camvid, folder, *extra, steps=4):
    """Train a tiny network through the real command line."""
    torch.set_num_threads(1)
    main(arguments(camvid, folder, *extra, steps=steps))


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


def test_half_precision_and_accumulated_batches(camvid, tmp_path):
    options = ('--trainer.precision=bf16-mixed', '--trainer.accumulate_grad_batches=2')
    fit(camvid, tmp_path, *options, steps=2)
    record = read_metadata(tmp_path / 'last.safetensors').training
    assert record['steps'] == 2
    assert 0 < record['metrics']['train/keyframe'] < 10
    assert all(v.isfinite().all() for v in weights(tmp_path / 'last.safetensors').values())
    assert {v.dtype for v in weights(tmp_path / 'last.safetensors').values()} <= {
        torch.float32,
        torch.int64,
    }


def test_best_network_is_the_average_that_was_validated(trained):
    best = read_metadata(trained / 'best.safetensors').training['steps']
    state = torch.load(trained / f'epoch={best // 2 - 1}-step={best}.ckpt', weights_only=True)
    exported = weights(trained / 'best.safetensors')
    average = {key.removeprefix('net.'): value for key, value in state['state_dict'].items()}
    current = state['current_model_state']
    assert any((current[f'net.{key}'] != value).any() for key, value in exported.items())
    for key, value in exported.items():
        torch.testing.assert_close(value, average[key], rtol=0, atol=0, msg=key)


@pytest.mark.parametrize('optimizer', ['adamw', 'sgd'])
def test_a_few_steps_lower_the_loss(camvid, optimizer):
    torch.manual_seed(0)
    small = RoadSceneAugmentation(crop=(64, 64))
    sources = [SourceOptions(dataset='camvid', root=camvid)]
    data = PairData(
        sources,
        batch_size=4,
        pairs_per_epoch=4,
        num_workers=0,
        hold_out_share=0,
        augmentation=small,
    )
    data.setup('fit')
    batch = next(iter(data.train_dataloader()))
    lr = {'adamw': 3e-3, 'sgd': 0.1}[optimizer]
    options = Optimisation(optimizer=optimizer, lr=lr, warmup_steps=0, weight_decay=0)
    module = SymmetricTraining(config(dropout=0, drop_path=0), optimisation=options)
    [steps, schedule] = options.build(module.net, 100)
    losses = []
    for _ in range(25):
        loss = module.loss(batch).total
        steps.zero_grad()
        loss.backward()
        steps.step()
        schedule.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_encoder_and_decoder_have_their_own_learning_rates():
    net = SymmetricTraining(config()).net
    options = Optimisation(
        lr=1e-2, decoder_lr=1e-1, min_lr=1e-3, warmup_steps=2, decay_vectors=True
    )
    optimizer, schedule = options.build(net, 100)
    encoder, decoder = optimizer.param_groups
    assert len(encoder['params']) == len(list(net.encoder.parameters()))
    assert len(encoder['params']) + len(decoder['params']) == len(list(net.parameters()))
    for _ in range(51):
        optimizer.step()
        schedule.step()
    assert encoder['lr'] == pytest.approx(poly(51, base_lr=1e-2), abs=1e-15)
    assert decoder['lr'] == pytest.approx(poly(51, base_lr=1e-1), abs=1e-15)
    assert {encoder['weight_decay'], decoder['weight_decay']} == {0.01}


def test_vectors_are_not_decayed_unless_asked_for():
    optimizer, _ = Optimisation(weight_decay=0.5).build(SymmetricTraining(config()).net, 100)
    decays = {p.ndim > 1: g['weight_decay'] for g in optimizer.param_groups for p in g['params']}
    assert decays == {True: 0.5, False: 0.0}


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'optimizer': 'lion'}, "`optimizer` must be one of adamw, sgd, got 'lion'"),
        ({'lr': 1e-4, 'min_lr': 1e-3}, r'`lr` must be above `min_lr` \(0.001\), got 0.0001'),
        ({'weight_decay': -1.0}, '`weight_decay` must be at least 0, got -1.0'),
    ],
)
def test_wrong_optimisation_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Optimisation(**values)


def test_initial_weights_are_where_training_starts(trained):
    path = trained / 'last.safetensors'
    module = SymmetricTraining(read_metadata(path).config, initial_weights=str(path))
    assert all(torch.equal(module.net.state_dict()[k], v) for k, v in weights(path).items())
    assert 'last.safetensors' in module.start


def test_class_weights_must_be_one_per_class():
    with pytest.raises(ValueError, match=r'`class_weights` must be one weight per class \(11\)'):
        SymmetricTraining(config(), class_weights=[1.0, 2.0])


def test_problems_with_the_data_stop_the_training_before_it_starts(camvid, tmp_path):
    with pytest.raises(ValueError, match='nowhere/train is not a folder'):
        fit(tmp_path / 'nowhere', tmp_path)


def test_drives_are_rendered_once_and_exactly(tmp_path):
    images, labels = rendered_drives(tmp_path, 1, 2, 48, 64)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again, _ = rendered_drives(tmp_path, 1, 2, 48, 64)
    assert images.shape == (1, 2, 48, 64, 3)
    assert labels.max() < 11
    assert np.array_equal(images, again)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == files
