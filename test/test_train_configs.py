"""The files of config/train, read by the real command line; nothing is built or trained."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import yaml

from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.training.lightning_cli import TrainingCLI
from dcfm_ros.training.losses import LossOptions
from dcfm_ros.training.optimisation import Optimisation
from dcfm_ros.training.published import published

FOLDER = Path(__file__).resolve().parents[1] / 'config' / 'train'
TABLE_I = {row.setting: row for row in published('table1_training')}
PAPER = sorted(path.stem for path in (FOLDER / 'released').iterdir())
"""Names of the published trainings."""

SETTINGS = (
    'batch', 'lambda1', 'lambda2', 'lr_encoder', 'lr_decoder', 'poly_power', 'iterations',
    'warmup',
)  # fmt: skip
"""Of Table I, as numbers."""


class Parsed(TrainingCLI):
    """The command line up to where it would build what it has read."""

    def instantiate_classes(self):
        pass


@pytest.fixture(scope='module')
def read(tmp_path_factory):
    """Reads files on top of each other, in a folder that has the classes of own footage."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp('work'))
        Path('footage').mkdir()
        Path('footage/classes.yaml').write_text('{0: {name: a}, 1: {name: b}}')
        parser = Parsed([f'--config={FOLDER / "default"}.yaml'], run=False).parser

        @cache
        def values(*names):
            found = parser.parse_args([f'--config={FOLDER / name}.yaml' for name in names])
            DCFMConfig(**found.model.net)
            LossOptions(**found.model.loss)
            Optimisation(**found.model.optimisation)
            return found

        yield values


def table_i(name, setting):
    """What Table I says of a training."""
    dataset, backbone = name.split('_', 1)
    return getattr(TABLE_I[setting], f'{dataset}_{backbone.rstrip("0123456789").split("_")[0]}')


@pytest.mark.parametrize('name', PAPER)
def test_published_trainings_are_those_of_table_i(read, name):
    values = read(name)
    model = values.model
    assert {
        'batch': values.data.batch_size,
        'optimizer': model.optimisation.optimizer,
        'lambda1': model.loss.nonkey,
        'lambda2': model.loss.consistency,
        'lr_encoder': model.optimisation.lr,
        'lr_decoder': model.optimisation.decoder_lr,
        'poly_power': model.optimisation.power,
        'iterations': values.trainer.max_steps,
        'warmup': model.optimisation.warmup_steps > 0,
    } == {
        'optimizer': table_i(name, 'optimizer').lower(),
        **{setting: table_i(name, setting) for setting in SETTINGS},
    }
    assert values.average.decay == 0
    assert f'{values.data.labels}_{model.net.backbone}' == name


RESNET = {'model.net.align_before_norm': True}
CITYSCAPES = {'data.augmentation.init_args.jitter_reference': False}
VSPW = {
    'model.loss.nonkey': 0.4,
    'model.loss.consistency': 10.0,
    'model.optimisation.decoder_lr': 6e-4,
}
RELEASED = {
    'camvid_resnet50': {**RESNET, 'data.augmentation.init_args.jitter': 0.0},
    'cityscapes_mit_b1': CITYSCAPES,
    'cityscapes_resnet18': {**RESNET, **CITYSCAPES},
    'cityscapes_resnet50': {**RESNET, **CITYSCAPES},
    'cityscapes_resnet101': {
        **RESNET,
        **CITYSCAPES,
        'data.batch_size': 4,
        'data.pairs_per_epoch': 16000,
    },
    'vspw_mit_b2': {**VSPW, 'model.optimisation.lr': 6e-5},
    'vspw_mit_b5': {**VSPW, 'model.optimisation.lr': 4e-5},
}
"""What the released code does otherwise than the paper says."""


@pytest.mark.parametrize('name', PAPER)
def test_released_files_change_what_the_released_code_does_otherwise(read, name):
    paper, released = (
        dict(read(*files).items()) for files in ((name,), (name, f'released/{name}'))
    )
    assert {key: released[key] for key in released if released[key] != paper[key]} == {
        'config': released['config'],
        **RELEASED[name],
    }


@pytest.mark.parametrize('name', [*PAPER, 'ablation', 'default'])
def test_image_baseline_trains_no_fusion(read, name):
    values = read(name, 'image_baseline')
    loss, net = values.model.loss, values.model.net
    assert (loss.keyframe, loss.nonkey, loss.consistency) == (1, 0, 0)
    assert not net.key_uses_independent
    assert not net.nonkey_uses_independent


@pytest.mark.parametrize(
    'names',
    [
        *((name,) for name in [*PAPER, 'default', 'own_footage']),
        ('cityscapes_resnet101', 'released/cityscapes_resnet101'),
    ],
)
def test_trainings_end_with_a_validation_at_the_size_of_the_robot(read, names):
    values = read(*names)
    data = values.data
    assert values.trainer.max_steps % (data.pairs_per_epoch // data.batch_size) == 0
    assert data.validation_height in (None, values.export.image_height)


def test_ablation_starts_from_what_the_image_network_exports(read):
    start = read('ablation', 'image_baseline', 'ablation_start')
    weights = f'features:{start.export.folder}/last.safetensors'
    assert read('ablation').model.initial_weights == weights


def test_every_file_writes_into_a_folder_of_its_own():
    folders = []
    for path in FOLDER.glob('*.yaml'):
        values = yaml.safe_load(path.read_text())
        folders += [values['export']['folder']] if 'export' in values else []
        assert not set(values['trainer']) & {'default_root_dir', 'plugins'}
    assert len(set(folders)) == len(folders) == len(PAPER) + 4
