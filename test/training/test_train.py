import json
import math
import shutil
import tempfile

import cv2
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.demos.boring_classes import BoringModel
import numpy as np
import pytest
from safetensors import safe_open
import torch
from torch.utils.data import DataLoader

from dcfm_ros.models.checkpoint import load_checkpoint
from dcfm_ros.models.checkpoint_header import read_metadata
from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.training.data import PairData
from dcfm_ros.training.footage.drive_cache import rendered_drives
from dcfm_ros.training.lightning_cli import WeightAverage, WholeCheckpointIO
from dcfm_ros.training.losses import LossOptions
from dcfm_ros.training.module import SymmetricTraining
from dcfm_ros.training.optimisation import Optimisation, poly_with_warmup
from dcfm_ros.training.pairs.augment import RoadSceneAugmentation
from dcfm_ros.training.pairs.pair_dataset import TrainingPair
from dcfm_ros.training.pairs.source_options import SourceOptions
from dcfm_ros.training.train import main

pytestmark = pytest.mark.train


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
        '--data.seed=5',
        '--data.augmentation=dcfm_ros.training.pairs.augment.RoadSceneAugmentation',
        f'--data.augmentation.init_args={still}',
        '--average.decay=0.5', f'--export.folder={folder}',
        f'--trainer.max_steps={steps}', '--trainer.accelerator=cpu',
        '--trainer.num_sanity_val_steps=0', '--trainer.enable_progress_bar=false',
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
    """Four steps, with the state after each of the two validations."""
    folder = tmp_path_factory.mktemp('trained')
    keep_all = [
        '--trainer.callbacks+=lightning.pytorch.callbacks.ModelCheckpoint',
        f'--trainer.callbacks.dirpath={folder}',
        '--trainer.callbacks.save_top_k=-1',
    ]
    fit(camvid, folder, '--trainer.logger=false', *keep_all)
    return folder


@pytest.fixture(scope='module')
def resumed(camvid, trained, tmp_path_factory):
    """The last two of the four steps again, where nothing else may be written."""
    folder = tmp_path_factory.mktemp('resumed')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(tempfile, 'tempdir', str(folder / 'absent'))
        fit(camvid, 'out', f'--ckpt_path={trained / "epoch=0-step=2.ckpt"}')
    return folder / 'out'


@pytest.fixture(scope='module')
def half(camvid, tmp_path_factory):
    """Three steps of two batches in half precision, the second of them validated."""
    folder = tmp_path_factory.mktemp('half')
    fit(
        camvid,
        folder,
        '--model.net.backbone=timm:mobilenetv4_conv_small',
        '--trainer.precision=bf16-mixed',
        '--trainer.accumulate_grad_batches=2',
        '--trainer.check_val_every_n_epoch=2',
        '--trainer.logger=false',
        steps=3,
    )
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
    assert record['data_seed'] == 5
    assert set(record) >= {'dataset', 'command', 'hours', 'hardware', 'metrics'}
    assert 0 <= record['metrics']['val_miou_nonkey'] <= 1
    assert json.dumps(record)


def test_resumed_training_equals_an_uninterrupted_one(trained, resumed):
    assert read_metadata(resumed / 'last.safetensors').training['steps'] == 4
    again = weights(resumed / 'last.safetensors')
    for key, value in weights(trained / 'last.safetensors').items():
        torch.testing.assert_close(again[key], value, rtol=0, atol=0, msg=key)


def test_one_folder_gets_all_that_a_training_writes(resumed):
    assert [path.name for path in resumed.parent.iterdir()] == ['out']
    files = {path.name for path in resumed.iterdir()} - {'best.safetensors'}  # if it got better
    assert files == {'last.safetensors', 'last.ckpt', 'log'}
    assert [path.name for path in resumed.glob('log/version_0/config.yaml')] == ['config.yaml']
    assert len(list(resumed.glob('log/version_0/events.out.*'))) == 1
    assert torch.load(resumed / 'last.ckpt', weights_only=True)['global_step'] == 4


def test_without_curves_the_options_are_beside_the_networks(half):
    files = {path.name for path in half.iterdir()}
    assert files == {'best.safetensors', 'last.safetensors', 'last.ckpt', 'config.yaml'}


def test_failed_write_leaves_the_old_state(tmp_path):
    path = tmp_path / 'new' / 'last.ckpt'
    WholeCheckpointIO().save_checkpoint({'global_step': 1}, path)
    with pytest.raises(AttributeError, match='pickle'):
        WholeCheckpointIO().save_checkpoint({'global_step': 2, 'lost': lambda: None}, path)
    assert torch.load(path, weights_only=True) == {'global_step': 1}
    assert list(path.parent.iterdir()) == [path]


def test_half_precision_and_accumulated_batches(half):
    record = read_metadata(half / 'last.safetensors').training
    assert record['steps'] == 3
    assert 0 < record['metrics']['train/keyframe'] < 10
    exported = weights(half / 'last.safetensors').values()
    assert all(value.isfinite().all() for value in exported)
    assert {value.dtype for value in exported} <= {torch.float32, torch.int64}


def test_records_hold_validations_of_their_own_weights_only(half):
    records = [read_metadata(half / f'{name}.safetensors').training for name in ('best', 'last')]
    assert [record['steps'] for record in records] == [2, 3]
    validated, not_validated = (record['metrics'] for record in records)
    assert validated.keys() - not_validated.keys() == {
        'val_miou',
        'val_miou_key',
        'val_miou_nonkey',
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


@pytest.mark.parametrize('stale', [None, 'best', 'damaged'])
def test_complete_training_without_its_network_gets_it_by_being_resumed(
    camvid, trained, tmp_path, stale
):
    path = tmp_path / 'last.safetensors'
    if stale == 'best':
        shutil.copy(trained / 'best.safetensors', path)
    elif stale:
        path.write_bytes(b'0' * 99)
    state = f'--ckpt_path={trained / "epoch=1-step=4.ckpt"}'
    fit(camvid, tmp_path, state)
    assert read_metadata(path).training['steps'] == 4
    found = weights(path)
    for key, value in weights(trained / 'last.safetensors').items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=0, msg=key)


def test_complete_training_keeps_its_network_when_it_is_resumed(camvid, trained, tmp_path):
    path = tmp_path / 'last.safetensors'
    shutil.copy(trained / path.name, path)
    before = path.read_bytes()
    fit(camvid, tmp_path, f'--ckpt_path={trained / "epoch=1-step=4.ckpt"}')
    assert path.read_bytes() == before
    assert read_metadata(path).training['metrics']


def test_trial_run_leaves_the_networks_that_are_there(camvid, trained, tmp_path):
    for name in ('best', 'last'):
        (tmp_path / f'{name}.safetensors').write_text(name)
    fit(camvid, tmp_path, '--trainer.fast_dev_run=1')
    for name in ('best', 'last'):
        assert (tmp_path / f'{name}.safetensors').read_text() == name


def test_best_network_of_another_training_is_removed(camvid, trained, tmp_path, caplog):
    path = tmp_path / 'best.safetensors'
    unvalidated = ('--trainer.limit_val_batches=0', '--trainer.logger=false')
    path.write_text('of another one')
    fit(camvid, tmp_path, f'--ckpt_path={trained / "epoch=0-step=2.ckpt"}', *unvalidated)
    assert path.exists()
    with caplog.at_level('INFO'):
        fit(camvid, tmp_path, *unvalidated, steps=1)
    assert not path.exists()
    assert f'removed {path}, which is of another training' in caplog.text


class Watched(Callback):
    """The weights after every step."""

    def __init__(self):
        self.weights = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.weights.append(pl_module.layer.weight.detach().clone())


@pytest.mark.parametrize('start', [None, 0, 2, 4, 9])
def test_average_is_the_weights_until_it_starts(start, tmp_path):
    model, watched = BoringModel(), Watched()
    average = WeightAverage(decay=0.75, update_starting_at_step=start)
    Trainer(
        max_steps=5,
        limit_val_batches=0,
        accelerator='cpu',
        logger=False,
        callbacks=[watched, average],
        default_root_dir=tmp_path,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(model)
    first = min(start or 0, 4)
    expected = watched.weights[first]
    for weight in watched.weights[first + 1 :]:
        expected = 0.75 * expected + 0.25 * weight
    torch.testing.assert_close(model.layer.weight, expected)


@pytest.mark.parametrize(('start', 'averaged'), [(9, [8]), (1, [5, 8]), (0, [2, 5, 8])])
def test_average_is_the_weights_until_the_epoch_of_its_start(start, averaged, tmp_path):
    model, watched = BoringModel(), Watched()
    Trainer(
        max_epochs=3,
        limit_train_batches=3,
        limit_val_batches=0,
        accelerator='cpu',
        logger=False,
        callbacks=[
            watched,
            WeightAverage(decay=0.75, update_every_n_steps=0, update_starting_at_epoch=start),
        ],
        default_root_dir=tmp_path,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(model)
    expected = watched.weights[averaged[0]]
    for step in averaged[1:]:
        expected = 0.75 * expected + 0.25 * watched.weights[step]
    torch.testing.assert_close(model.layer.weight, expected)


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
    for _ in range(10):
        loss = module.loss(batch).total
        steps.zero_grad()
        loss.backward()
        steps.step()
        schedule.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


class Seen(Callback):
    """The batches of a training."""

    def __init__(self):
        self.batches = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.batches.append(batch.labelled.clone())


def trainer(folder, **options):
    quiet = dict.fromkeys(
        ('logger', 'enable_checkpointing', 'enable_progress_bar', 'enable_model_summary'), False
    )
    common = {'accelerator': 'cpu', 'num_sanity_val_steps': 0, 'default_root_dir': folder}
    return Trainer(**quiet, **common, **options)


@pytest.mark.parametrize('resumed', [False, True])
def test_overfitted_batches_come_again_in_every_epoch(camvid, tmp_path, resumed):
    data = PairData(
        [SourceOptions(dataset='camvid', root=camvid)],
        batch_size=2,
        pairs_per_epoch=8,
        num_workers=0,
        hold_out_share=0.34,
        augmentation=RoadSceneAugmentation(crop=(64, 64)),
        cache_dir=tmp_path,
    )
    seen = Seen()
    fitted = trainer(tmp_path, max_epochs=3, overfit_batches=2, callbacks=[seen])
    fitted.fit(SymmetricTraining(config()), datamodule=data)
    if resumed:
        fitted.save_checkpoint(tmp_path / 'state.ckpt')
        again = trainer(tmp_path, max_epochs=4, overfit_batches=2, callbacks=[seen])
        again.fit(SymmetricTraining(config()), datamodule=data, ckpt_path=tmp_path / 'state.ckpt')
    first, second, *rest = seen.batches
    assert len(rest) == (6 if resumed else 4)
    assert not torch.equal(first, second)
    assert all(torch.equal(batch, seen.batches[i % 2]) for i, batch in enumerate(rest))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'precision': '16-true'}, r'`trainer.precision` must be 16-mixed, .* of 16-true: '),
        (
            {'callbacks': [GradientAccumulationScheduler({1: 2})]},
            r'`trainer.accumulate_grad_batches` must be one number .* got \{1: 2, 0: 1\}',
        ),
        (
            {'max_steps': -1, 'max_epochs': -1, 'max_time': '00:00:00:09'},
            r'of `trainer.max_steps` and `max_epochs` at least one above 0, got -1 and -1: ',
        ),
    ],
)
def test_options_of_the_trainer_that_would_train_wrongly_are_refused(options, message, tmp_path):
    refused = trainer(tmp_path, **{'max_steps': 1, **options})
    image = torch.zeros((2, 3, 64, 64), dtype=torch.uint8)
    pairs = [TrainingPair(image, image, image[:, 0])]
    with pytest.raises(ValueError, match=message):
        refused.fit(SymmetricTraining(config()), DataLoader(pairs, batch_size=None))


@pytest.mark.parametrize('motion', ['none', 'flow'])
def test_an_image_network_is_trained_on_the_labelled_frame_alone(motion, tmp_path):
    labelled = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    label = torch.randint(0, 11, (2, 64, 64), dtype=torch.uint8)
    weights = []
    for reference in (labelled, torch.zeros_like(labelled)):
        torch.manual_seed(0)
        alone = LossOptions(nonkey=0, consistency=0)
        module = SymmetricTraining(config(motion=motion), alone, Optimisation(warmup_steps=0))
        trainer = Trainer(
            max_steps=2,
            accelerator='cpu',
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            default_root_dir=tmp_path,
        )
        pairs = [TrainingPair(reference, labelled, label)] * 2
        trainer.fit(module, DataLoader(pairs, batch_size=None))
        weights.append(module.net.head[-1].weight.detach())
    assert torch.equal(*weights)


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
        ({'power': -1.0}, '`power` must be at least 0, got -1.0'),
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


@pytest.mark.parametrize('weight', [-5.0, math.nan, math.inf, 0.0])
def test_class_weights_must_weigh(weight):
    values = [weight] * 11 if weight == 0 else [*[1.0] * 10, weight]
    match = rf'`class_weights` must be at least 0, finite, and not all 0, got .*{weight}\]'
    with pytest.raises(ValueError, match=match):
        SymmetricTraining(config(), class_weights=values)


def test_problems_with_the_data_stop_the_training_before_it_starts(camvid, tmp_path):
    with pytest.raises(ValueError, match='nowhere is not a folder'):
        fit(tmp_path / 'nowhere', tmp_path)


def test_drives_are_rendered_once_and_exactly(tmp_path):
    images, labels = rendered_drives(tmp_path, 1, 2, 48, 64)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again, _ = rendered_drives(tmp_path, 1, 2, 48, 64)
    assert images.shape == (1, 2, 48, 64, 3)
    assert labels.max() < 11
    assert np.array_equal(images, again)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == files
