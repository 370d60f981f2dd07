"""The files of config/train, read by the real command line; nothing is built or trained."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
import re

import pytest
from repository import ROOT
import yaml

from dcfm_ros.training.ablated_network import AblatedConfig
from dcfm_ros.training.lightning_cli import TrainingCLI
from dcfm_ros.training.losses import LossOptions
from dcfm_ros.training.optimisation import Optimisation
from dcfm_ros.training.studies.ablate import merged
from dcfm_ros.training.studies.published import published
from dcfm_ros.training.studies.variants import study

FOLDER = ROOT / 'config' / 'train'
TABLE_I = {row.setting: row for row in published('table1_training')}
PAPER = sorted(path.stem for path in (FOLDER / 'released').iterdir())
"""Names of the published trainings."""
STEPS = sorted(path.stem for path in (FOLDER / 'steps').glob('*.yaml'))
"""Variants of steps.yaml."""
EVERY = sorted(str(p.relative_to(FOLDER).with_suffix('')) for p in FOLDER.rglob('*.yaml'))

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
            AblatedConfig(**found.model.net)
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


@pytest.mark.parametrize('name', EVERY)
def test_every_file_can_be_read_with_the_classes_that_it_names(read, name):
    values = read('steps' if name.startswith('steps/') else 'default', name)
    paths = re.findall(r'class_path: ([\w.]+)', (FOLDER / f'{name}.yaml').read_text())
    assert set(paths) <= set(re.findall(r"class_path='([\w.]+)'", repr(values)))
    for module, _, class_name in (path.rpartition('.') for path in paths):
        assert hasattr(import_module(module), class_name)


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
        *((name,) for name in [*PAPER, 'default', 'own_footage', 'steps']),
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


def test_first_stage_of_the_packaged_networks_is_an_image_network(read):
    for names in (('default',), ('default', 'accurate')):
        half = read(*names, 'half_size')
        assert half.model.net == read(*names).model.net
        assert not LossOptions(**half.model.loss).needs_reference
        assert {source.motion for source in half.data.train} == {'none'}


def test_second_stage_of_the_packaged_networks_goes_on_from_the_first(read):
    half = read('default', 'half_size')
    full = read('default', 'half_size', 'full_size')
    assert full.model.initial_weights == f'{half.export.folder}/best.safetensors'
    assert full.model.net == half.model.net
    assert full.data.train == half.data.train


def test_last_stage_of_the_packaged_networks_trains_fusion_on_pairs(read):
    full = read('default', 'half_size', 'full_size')
    pairs = read('default', 'pairs')
    assert pairs.model.initial_weights == f'{full.export.folder}/best.safetensors'
    assert pairs.model.net == full.model.net
    assert LossOptions(**pairs.model.loss).needs_reference
    assert 'none' not in {source.motion for source in pairs.data.train}


def test_every_file_writes_into_a_folder_of_its_own():
    folders = {}
    for path in FOLDER.glob('*.yaml'):
        values = yaml.safe_load(path.read_text())
        folders[path.stem] = values.get('export', {}).get('folder')
        assert not set(values.get('trainer', {})) & {'default_root_dir', 'plugins'}
    for overlay in ('image_baseline', 'ablation_cityscapes'):
        assert folders.pop(overlay) is None
    assert None not in folders.values()
    assert len(set(folders.values())) == len(folders)


def changes(read, name):
    """What a variant changes in steps.yaml: the values that it has there, by name."""
    base, values = (dict(read(*names).items()) for names in (('steps',), ('steps', name)))
    names = {key for key in base | values if base.get(key) != values.get(key)} - {'config'}
    return {key: values.get(key) for key in names}


SCALE = {'data.augmentation.init_args.scale'}
LIGHT = {f'data.augmentation.init_args.{name}' for name in ('jitter', 'noise', 'blur')}
WEIGHTS = {'model.class_weights'}
MIXING = {'data.mixing'}
AVERAGE = {'average.decay', 'average.update_starting_at_step'}
GAPS = {'data.gaps'}
START = {'model.initial_weights'}
SOURCES = {'data.train'}
CHANGED = {
    '00_base': set(),
    '01_wider_zoom': SCALE,
    '02_light': LIGHT,
    '03_class_weights': WEIGHTS,
    '04_pasted_objects': SOURCES,
    '05_rare_classes': SOURCES,
    '06_classmix': MIXING,
    '07_cutmix': MIXING,
    '08_weight_average': AVERAGE,
    '09_age_matched': GAPS,
    '10_rendered_drives': SOURCES,
    '11_cityscapes': SOURCES,
    '12_pretraining': START,
    '13_self_training': SOURCES,
    '14_all': SCALE | LIGHT | WEIGHTS | MIXING | AVERAGE | GAPS | START | SOURCES,
}
"""Settings that each variant may change."""


@pytest.mark.parametrize('name', STEPS)
def test_step_changes_one_thing(read, name):
    changed = {
        next((short for short in CHANGED[name] if key.startswith(short)), key)
        for key in changes(read, f'steps/{name}')
    }
    assert changed == CHANGED[name]


def test_sources_of_a_step_change_one_thing(read):
    def sources(name):
        return [vars(source) for source in read('steps', f'steps/{name}').data.train]

    [camvid] = sources('00_base')
    assert sources('04_pasted_objects') == [{**camvid, 'paste_share': 0.3}]
    assert sources('05_rare_classes') == [{**camvid, 'balance': 0.5}]
    added = []
    for name in ('10_rendered_drives', '11_cityscapes', '13_self_training'):
        first, second = sources(name)
        assert first == {**camvid, 'share': 0.8}
        assert second['share'] == 0.2
        added.append(second)
    everything = {**camvid, 'paste_share': 0.3, 'balance': 0.5, 'share': 0.4}
    assert sources('14_all') == [everything, *added]


def test_all_steps_together_are_what_each_of_them_is(read):
    together = changes(read, 'steps/14_all')
    del together['data.train']
    for name in STEPS:
        if name not in ('07_cutmix', '14_all'):  # there is one kind of mixing at a time
            for key, value in changes(read, f'steps/{name}').items():
                if key != 'data.train':
                    assert together.pop(key, value) == value
    assert together == {}


def test_pretraining_of_the_steps_has_their_budget(read):
    start = read('steps', 'steps_start')
    assert set(changes(read, 'steps_start')) == {
        'model.loss.nonkey', 'model.loss.consistency', 'data.train', 'data.hold_out_share',
        'export.folder',
    }  # fmt: skip
    [source] = start.data.train
    assert (source.dataset, source.root, source.motion) == ('rendered', None, 'none')
    assert not LossOptions(**start.model.loss).needs_reference
    weights = f'features:{start.export.folder}/last.safetensors'
    assert read('steps', 'steps/12_pretraining').model.initial_weights == weights


def test_steps_are_a_study(read, tmp_path):
    steps = study(str(FOLDER / 'steps'))
    assert [row.folder for row in steps.variants] == ['full', *STEPS[1:]]
    assert steps.title.startswith('What each step')
    base = yaml.safe_load((FOLDER / 'steps.yaml').read_text())
    path = tmp_path / 'all'
    path.with_suffix('.yaml').write_text(yaml.safe_dump(merged(base, steps.variants[-1].changes)))
    one, two = (dict(read(*names).items()) for names in ((path,), ('steps', 'steps/14_all')))
    assert {key for key in one | two if one.get(key) != two.get(key)} == {'config'}
