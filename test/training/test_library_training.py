"""Networks of other libraries are trained on in both roles: real trainings of small ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from repository import ROOT
from safetensors.torch import load_file
from source_networks import convert_small
import torch
from torch import Tensor

from dcfm_ros.engine import EngineOptions, SegmentationEngine, load_network
from dcfm_ros.models.checkpoint import load_checkpoint
from dcfm_ros.models.checkpoint_header import read_metadata
from dcfm_ros.training.ablated_network import AblatedConfig
from dcfm_ros.training.losses import LossOptions
from dcfm_ros.training.module import SymmetricTraining
from dcfm_ros.training.optimisation import Optimisation
from dcfm_ros.training.pairs.pair_dataset import TrainingPair
from dcfm_ros.training.train import main

pytestmark = pytest.mark.train

NAMES = ('segformer', 'FPN', 'lraspp')
SIZE = (96, 128)


@pytest.fixture(scope='module')
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each network, with the classes of `footage`."""
    folder = tmp_path_factory.mktemp('networks')
    return {name: convert_small(folder, name, 2, labels=classes(folder)) for name in NAMES}


@pytest.fixture(scope='module')
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips in the layout of own footage, 72x104: sky above road, which comes nearer."""
    root = tmp_path_factory.mktemp('own') / 'footage'
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for kind in ('images', 'masks'):
            (root / split / 'drive' / kind).mkdir(parents=True)
        for index in range(6):
            label = np.zeros((72, 104), np.uint8)
            label[30 + 2 * index :] = 1
            image = np.where(label[..., None] == 0, 200, 60) + rng.integers(0, 20, (72, 104, 3))
            home = root / split / 'drive'
            cv2.imwrite(str(home / 'images' / f'{index:06d}.png'), image)
            cv2.imwrite(str(home / 'masks' / f'{index:06d}.png'), label)
    classes(root)
    return root


def classes(folder: Path) -> str:
    path = folder / 'classes.yaml'
    path.write_text('{0: {name: sky}, 1: {name: road}}')
    return str(path)


def pair(size: tuple[int, int] = SIZE) -> TrainingPair:
    """A batch of two pairs: sky above road, a little lower in the reference."""
    label = torch.zeros(2, *size, dtype=torch.uint8)
    label[:, size[0] // 2 :] = 1
    labelled = torch.where(label[:, None] == 0, 200, 60).expand(-1, 3, -1, -1)
    noise = torch.randint(0, 40, labelled.shape)
    labelled = (labelled + noise).to(torch.uint8)
    return TrainingPair(labelled.roll(3, 2), labelled, label)


def make_module(path: Path, **options: Any) -> SymmetricTraining:
    """As the yaml makes it: no backbone, the classes of the data."""
    known = read_metadata(path).config
    net = AblatedConfig(num_classes=2, class_names=known.class_names)
    return SymmetricTraining(net, initial_weights=str(path), **options)


@pytest.mark.parametrize('name', NAMES)
def test_network_is_that_of_the_checkpoint(paths: dict[str, Path], name: str) -> None:
    module = make_module(paths[name])
    config = module.net.config
    assert config == read_metadata(paths[name]).config
    assert config.motion == 'flow'
    state, given = module.net.state_dict(), load_file(paths[name])
    assert state.keys() == given.keys()
    assert all(torch.equal(state[key], value) for key, value in given.items())
    assert module.start.endswith(f'{len(given)} of {len(given)} tensors')


@pytest.mark.parametrize('name', [*NAMES, 'Unet', 'DeepLabV3Plus'])
def test_a_few_steps_lower_the_loss_and_train_every_parameter(
    paths: dict[str, Path], tmp_path: Path, name: str
) -> None:
    path = paths.get(name) or convert_small(tmp_path, name, 2)
    torch.manual_seed(0)
    options = Optimisation(lr=3e-3, warmup_steps=0, weight_decay=0)
    module = make_module(path, optimisation=options).train()
    optimizer, _ = options.build(module.net, 100)
    batch, losses = pair(), []
    for _ in range(8):
        loss = module.loss(batch)
        optimizer.zero_grad()
        loss.total.backward()
        if not losses:
            parameters = module.net.named_parameters()
            assert not [name for name, p in parameters if p.grad is None or not p.grad.any()]
        optimizer.step()
        losses.append(loss.total.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('term', ['nonkey', 'consistency'])
def test_reference_is_trained_through_its_deep_features(
    paths: dict[str, Path], name: str, term: str
) -> None:
    weights = {'keyframe': 0.0, 'nonkey': 0.0, 'consistency': 0.0, term: 1.0}
    module = make_module(paths[name], loss=LossOptions(**weights)).train()
    images: list[Tensor] = []
    prepare = module.to_input

    def prepare_and_keep(image: Tensor) -> Tensor:
        images.append(prepare(image).requires_grad_())
        return images[-1]

    module.to_input = prepare_and_keep  # type: ignore[method-assign]
    module.loss(pair()).total.backward()
    reference, labelled = images
    assert reference.grad is not None
    assert reference.grad.abs().sum() > 0
    assert labelled.grad is not None
    assert labelled.grad.abs().sum() > 0


@pytest.mark.parametrize('name', NAMES)
def test_a_frame_paired_with_itself_has_one_loss_in_both_roles(
    paths: dict[str, Path], name: str
) -> None:
    module = make_module(paths[name]).eval()
    still = pair()
    loss = module.loss(still._replace(reference=still.labelled))
    assert loss.keyframe.item() == pytest.approx(loss.nonkey.item(), rel=1e-4)
    assert loss.consistency.item() == pytest.approx(0, abs=1e-6)
    assert loss.agreement.item() > 0.99


def test_images_are_resized_to_what_the_network_takes(paths: dict[str, Path]) -> None:
    module = make_module(paths['FPN'])
    assert module.to_input(pair((72, 104)).labelled).shape == (2, 3, 64, 96)
    loss = module.train().loss(pair((72, 104)))
    assert loss.total.isfinite()  # at the size of the labels
    exact = module.to_input(pair((64, 96)).labelled)
    assert exact.shape == (2, 3, 64, 96)


def test_encoder_and_decoder_have_their_own_learning_rates(paths: dict[str, Path]) -> None:
    net = make_module(paths['FPN']).net
    options = Optimisation(lr=1e-2, decoder_lr=1e-1, warmup_steps=0, decay_vectors=True)
    encoder, decoder = options.build(net, 100)[0].param_groups
    assert (encoder['lr'], decoder['lr']) == (1e-2, 1e-1)
    assert {id(p) for p in encoder['params']} == {id(p) for p in net.encoder.parameters()}
    assert {id(p) for p in decoder['params']} == {id(p) for p in net.decoder.parameters()}


def fit(footage: Path, folder: Path, start: str, *extra: str) -> None:
    """Four steps of two pairs, as docs/own_network.md says, smaller."""
    torch.set_num_threads(1)
    recipe = ROOT / 'config' / 'train'
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(footage.parent)
        main([
            'fit',
            f'--config={recipe}/own_footage.yaml', f'--config={recipe}/own_network.yaml',
            f'--model.initial_weights={start}',
            '--data.augmentation.init_args.crop=[64, 96]', '--data.batch_size=2',
            '--data.pairs_per_epoch=4', '--data.num_workers=0', '--data.validation_age=1',
            '--trainer.max_steps=4', '--trainer.accelerator=cpu', '--trainer.logger=false',
            '--trainer.enable_progress_bar=false', f'--export.folder={folder}', *extra,
        ])  # fmt: skip


@pytest.fixture(scope='module')
def trained(
    footage: Path, paths: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The folder of a training of each network, with its state after both validations."""
    folders = {}
    for name, path in paths.items():
        folders[name] = tmp_path_factory.mktemp(name)
        keep_all = [
            '--trainer.callbacks=lightning.pytorch.callbacks.ModelCheckpoint',
            f'--trainer.callbacks.dirpath={folders[name]}',
            '--trainer.callbacks.save_top_k=-1',
        ]
        fit(footage, folders[name], str(path), *keep_all)
    return folders


@pytest.mark.parametrize('file', ['best', 'last'])
@pytest.mark.parametrize('name', NAMES)
def test_training_exports_a_network_of_the_same_kind(
    trained: dict[str, Path], paths: dict[str, Path], footage: Path, name: str, file: str
) -> None:
    path = trained[name] / f'{file}.safetensors'
    metadata = read_metadata(path)
    assert metadata.config.title == read_metadata(paths[name]).config.title
    assert metadata.config.class_names == ('sky', 'road')
    assert 0 <= metadata.training['metrics']['val_miou_nonkey'] <= 1
    how = EngineOptions(device='cpu', backend='torch', precision='fp32')
    engine = SegmentationEngine(load_network(path, how), how)
    image = cv2.imread(str(footage / 'val' / 'drive' / 'images' / '000003.png'))[..., ::-1]
    found = engine.step(np.ascontiguousarray(image), 0)
    module = make_module(path).eval()
    frame = torch.from_numpy(image.copy()).permute(2, 0, 1)[None]
    label = torch.zeros(1, *found.logits.shape[-2:], dtype=torch.uint8)
    with torch.no_grad():
        expected = module.predict_pair(TrainingPair(frame, frame, label))['key'].numpy()
    # The engine resizes to what the network takes in whole numbers.
    np.testing.assert_allclose(found.logits, expected, rtol=0, atol=0.02 * np.abs(expected).max())


def test_resumed_training_equals_an_uninterrupted_one(
    trained: dict[str, Path], footage: Path, paths: dict[str, Path], tmp_path: Path
) -> None:
    state = trained['segformer'] / 'epoch=0-step=2.ckpt'
    fit(footage, tmp_path, str(paths['segformer']), f'--ckpt_path={state}')
    again = load_file(tmp_path / 'last.safetensors')
    for key, value in load_file(trained['segformer'] / 'last.safetensors').items():
        torch.testing.assert_close(again[key], value, rtol=0, atol=0, msg=key)


def test_next_training_starts_from_its_export(trained: dict[str, Path]) -> None:
    path = trained['FPN'] / 'best.safetensors'
    module, given = make_module(path), load_file(path)
    assert all(torch.equal(module.net.state_dict()[key], value) for key, value in given.items())


def test_other_classes_need_a_new_last_layer(footage: Path, tmp_path: Path) -> None:
    path = convert_small(tmp_path, 'FPN', 5)
    with pytest.raises(ValueError, match=r'num_classes: 5, not 2.*; features:.*but the head'):
        fit(footage, tmp_path / 'out', str(path))
    fit(footage, tmp_path / 'out', f'features:{path}', '--trainer.max_steps=2')
    metadata = read_metadata(tmp_path / 'out' / 'last.safetensors')
    assert metadata.config.architecture['parameters']['classes'] == 2
    assert metadata.config.class_names == ('sky', 'road')
    start = metadata.training['initial_weights']
    assert start.endswith('tensors; random: decoder.decoder.segmentation_head.0')
    load_checkpoint(tmp_path / 'out' / 'last.safetensors')
