import dataclasses
import json
from multiprocessing import get_context
from pathlib import Path
import shutil
import sys
import time

import cv2
import numpy as np
import pytest
from repository import ROOT
import yaml

from dcfm_ros.cli.train import ablate
from dcfm_ros.models.checkpoint import save_checkpoint
from dcfm_ros.training.ablated_network import (
    SWITCHES,
    AblatedConfig,
    build_network,
    load_network,
    read_network_metadata,
)
from dcfm_ros.training.evaluation.clip_choice import ClipChoice
from dcfm_ros.training.footage.datasets import find_clips
from dcfm_ros.training.footage.label_sets import CAMVID, CITYSCAPES
from dcfm_ros.training.losses import LossOptions
from dcfm_ros.training.studies.ablate import run_study, train_and_evaluate
from dcfm_ros.training.studies.ages import loss_by_age
from dcfm_ros.training.studies.runs import Run, check_inputs, claim, merged, training_config
from dcfm_ros.training.studies.study_data import EvaluationData, named
from dcfm_ros.training.studies.study_table import as_markdown
from dcfm_ros.training.studies.variants import STUDIES, Study, Variant, study

pytestmark = pytest.mark.train


def settings(changes):
    """The innermost names and values of nested changes."""
    found = {}
    for key, value in changes.items():
        found.update(settings(value) if isinstance(value, dict) else {key: value})
    return found


def test_table_v_switches_one_feature_off_per_row():
    rows = study('decomposition').on({}).variants
    assert [settings(row.changes) for row in rows] == [
        {'key_uses_independent': False},
        {'key_uses_common': False},
        {'nonkey_uses_independent': False},
        {'nonkey_uses_common': False},
        {},
    ]
    assert [row.published['miou_nonkey'] for row in rows] == pytest.approx(
        [0.437, 0.427, 0.434, 0.0359, 0.446]
    )


def test_table_vi_switches_terms_off():
    rows = study('losses').on({}).variants
    assert [(row.name, settings(row.changes)) for row in rows] == [
        ('L_I', {'nonkey': 0.0, 'consistency': 0.0}),
        ('L_B', {'keyframe': 0.0, 'consistency': 0.0}),
        ('L_I + L_B', {'consistency': 0.0}),
        ('L_I + L_B + L_con', {}),
    ]
    assert [row.published['mvc16'] for row in rows] == pytest.approx([0.825, 0.833, 0.83, 0.835])


def test_table_vii_changes_the_kinds():
    rows = study('loss_types').on({}).variants
    assert settings(rows[0].changes) == {'segmentation': 'ce_dice', 'distance': 'l1'}
    assert settings(rows[3].changes) == {'segmentation': 'ohem'}
    assert settings(rows[5].changes) == {}


def test_the_full_model_is_one_training_for_all_studies():
    base = yaml.safe_load((ROOT / 'config/train/ablation.yaml').read_text())
    folders = {name: [row.folder for row in study(name).on(base).variants] for name in STUDIES}
    assert all(names.count('full') == 1 for names in folders.values())
    others = [name for names in folders.values() for name in names if name != 'full']
    assert len(set(others)) == len(others) == 4 + 3 + 5 + 1


ANY = {
    'model': {
        'net': {'nonkey_uses_common': False},
        'loss': {'keyframe': 0.0, 'nonkey': 0.5, 'segmentation': 'ohem', 'distance': 'l1'},
    },
    'data': {
        'gaps': {'class_path': 'dcfm_ros.training.pairs.gaps.AgeMatchedGaps', 'init_args': {}}
    },
}


@pytest.mark.parametrize('base', [{}, ANY])
def test_rows_are_what_their_names_say_whatever_the_training_is(base):
    def configs(name):
        rows = study(name).on({'data': {}, **base}).variants
        return {
            row.name: merged(merged({'model': {}, 'data': {}}, base), row.changes) for row in rows
        }

    def net(config):
        return AblatedConfig(backbone='mit_b0', num_classes=11, **config['model'].get('net', {}))

    def loss(config):
        return LossOptions(**config['model'].get('loss', {}))

    table = configs('decomposition')
    assert not net(table['full model']).is_ablated
    for name, config in table.items():
        off = [switch for switch in SWITCHES if not getattr(net(config), switch)]
        assert len(off) == (name != 'full model')
    for name, config in configs('losses').items():
        terms = {'L_I': 'keyframe', 'L_B': 'nonkey', 'L_con': 'consistency'}
        for sign, term in terms.items():
            assert (getattr(loss(config), term) > 0) == (sign in name.split(' + '))
        if base and 'L_B' in name:
            assert loss(config).nonkey == 0.5
    segmentation = {'CE': 'ce', 'CE+Dice': 'ce_dice', 'OhemCE': 'ohem'}
    for name, config in configs('loss_types').items():
        first, second = name.split(', ')
        kinds = (segmentation[first], second.lower())
        assert (loss(config).segmentation, loss(config).distance) == kinds
    neighbours, age_matched = (config['data']['gaps'] for config in configs('gaps').values())
    assert neighbours['class_path'].endswith('NeighbourGaps')
    assert neighbours['init_args'] == {'reach': 1}
    assert age_matched['class_path'].endswith('AgeMatchedGaps')
    assert age_matched['init_args'] == {'keyframe_intervals': [6]}


def test_a_row_that_the_training_is_already_shares_its_runs():
    [row] = [row for row in study('loss_types').on(ANY).variants if not row.changes]
    assert (row.name, row.folder) == ('OhemCE, L1', 'full')
    gaps = {'class_path': 'dcfm_ros.training.pairs.gaps.NeighbourGaps'}
    rows = study('gaps').on({'data': {'gaps': gaps}}).variants
    assert [row.folder for row in rows] == ['full', 'age_matched_k_6']
    farther = {'data': {'gaps': gaps | {'init_args': {'reach': 3}}}}
    rows = study('gaps').on(farther).variants
    assert [row.folder for row in rows] == ['neighbours_paper', 'age_matched_k_6']


def test_unknown_study_is_refused():
    known = r'one of decomposition, .*, gaps, or a folder of variants'
    with pytest.raises(ValueError, match=rf'`name` must be {known}, got .table9.'):
        study('table9')


@pytest.fixture
def own(tmp_path):
    """Folder of a study of one's own with the files that are given, name=text."""

    def write(**files):
        folder = tmp_path / 'mine'
        folder.mkdir()
        for name, text in files.items():
            (folder / f'{name}.yaml').write_text(text)
        return folder

    return write


def test_every_yaml_of_a_folder_is_a_variant(own):
    folder = own(
        b='model:\n  # no name\n  loss: {nonkey: 0}', a='# Base!\n# more\n', c_9='# X: y\na: 1'
    )
    (folder / 'notes.txt').write_text('not a variant')
    mine = study(str(folder))
    assert [(row.name, row.changes, row.folder) for row in mine.variants] == [
        ('Base!', {}, 'full'),
        ('b', {'model': {'loss': {'nonkey': 0}}}, 'b'),
        ('X: y', {'a': 1}, 'c_9'),
    ]
    assert mine.columns == ('miou', 'miou_key', 'miou_nonkey', 'mvc8')
    assert (mine.interval, mine.mode) == (4, 'past')


def test_title_of_a_folder_is_the_first_line_of_its_readme(own):
    folder = own(a='')
    assert study(f'{folder}/').title == 'mine'
    (folder / 'README.md').write_text('# What helps\n\nText.\n')
    assert study(str(folder)).title == 'What helps'


@pytest.mark.parametrize(
    ('files', 'message'),
    [
        ({}, 'must be a folder with a yaml per variant, got .*mine'),
        ({'a': '- 1'}, r'a.yaml must be a table of changes, got \[1\]'),
        ({'a': 'b: ['}, 'a.yaml is not YAML: '),
        ({'a': '', 'b': '# b'}, 'must be the only one without changes, got .*a.yaml and .*b.yaml'),
        ({'a_b': 'c: 1', 'a-b': 'c: 2'}, 'must differ .* names, got .*a-b.yaml and .*a_b.yaml'),
        ({'Full': 'c: 1', 'a': ''}, 'got .*Full.yaml and .*a.yaml'),
    ],
)
def test_folders_without_a_study_are_refused(own, files, message):
    with pytest.raises(ValueError, match=message):
        study(str(own(**files)))


def test_configurations_are_merged_key_by_key():
    base = {'a': {'b': 1, 'c': 2}, 'd': {'class_path': 'X', 'init_args': {'e': 3}}}
    assert merged(base, {'a': {'b': 5}})['a'] == {'b': 5, 'c': 2}
    same = merged(base, {'d': {'init_args': {'f': 4}}})['d']
    assert same == {'class_path': 'X', 'init_args': {'e': 3, 'f': 4}}
    other = merged(base, {'d': {'class_path': 'Y'}})['d']
    assert other == {'class_path': 'Y'}
    assert base['a'] == {'b': 1, 'c': 2}


PANELS = {'class_path': 'dcfm_ros.training.image_panels.ImagePanels'}
STATE = {'class_path': 'lightning.pytorch.callbacks.ModelCheckpoint'}


@pytest.mark.parametrize(
    ('given', 'kept'),
    [
        (PANELS, [PANELS]),
        (PANELS['class_path'], [PANELS['class_path']]),
        ([STATE, PANELS], [PANELS]),
        (STATE, []),
        (None, []),
    ],
)
def test_a_training_has_the_callbacks_of_its_yaml_and_one_state(given, kept, tmp_path):
    base = {'trainer': {'callbacks': given}}
    assert training_config(base, Variant('a'), 1, tmp_path)['trainer']['callbacks'] == kept


def claimed(folder, base):
    run = Run(folder, training_config(base, Variant('a'), 1, folder), {}, False, 1)
    claim(run)
    return (folder / 'train.yaml').read_text()


def test_a_run_is_the_same_wherever_its_folder_is_seen_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('a').mkdir()
    base = {'trainer': {'max_steps': 2, 'callbacks': [PANELS]}}
    claimed(Path('a'), base)
    # As before: a state of its own, under two names.
    there = yaml.safe_load(Path('a/train.yaml').read_text())
    there['trainer']['callbacks'].append({**STATE, 'init_args': {'dirpath': 'a'}})
    Path('a/train.yaml').write_text(yaml.safe_dump(there))
    written = yaml.safe_load(claimed(tmp_path / 'a', base))
    assert written['export']['folder'] == str(tmp_path / 'a')
    assert written['trainer']['callbacks'] == [PANELS]
    for other in ({'max_steps': 3, 'callbacks': [PANELS]}, {'max_steps': 2}):
        with pytest.raises(ValueError, match=r'a/train\.yaml is of another configuration'):
            claimed(tmp_path / 'a', {'trainer': other})


def test_missing_data_to_validate_on_are_named(tmp_path):
    absent = {'dataset': 'folder', 'root': str(tmp_path / 'absent')}
    run = Run(tmp_path, {'data': {'train': [], 'validation': absent}}, {}, False, 1)
    with pytest.raises(FileNotFoundError, match=r'training data: .*absent \(folder\)'):
        check_inputs(run, [])


def evaluation_data(root, **changes):
    own = {'interval': 2, 'mode': 'past'}
    own = {name: changes.pop(name, value) for name, value in own.items()}
    return EvaluationData(choice=ClipChoice(dataset='camvid', root=Path(root), **changes), **own)


@pytest.mark.parametrize(
    ('data', 'ends'),
    [
        ([{}, {'split': 'test'}], ['val_k2_past', 'test_k2_past']),
        ([{'root': 'day/a'}, {'root': 'night/a'}], ['val_k2_past-day-a', 'val_k2_past-night-a']),
        ([{}, {'hold_out_share': 0.1}], ['val_k2_past', 'val_held_0.1_k2_past']),
    ],
)
def test_names_tell_data_apart(data, ends):
    items = [evaluation_data(**{'root': 'a'} | changes) for changes in data]
    assert list(named(items)) == [f'camvid_{end}' for end in ends]


def test_only_held_out_data_may_have_nothing_but_keyframes(camvid):
    stills = {'split': 'train', 'interval': 4}
    with pytest.raises(ValueError, match='a labelled frame with 1 frames before it'):
        evaluation_data(camvid, **stills).check(CAMVID, by_age=False)
    held = evaluation_data(camvid, **stills, hold_out_share=0.5)
    held.check(CAMVID, by_age=False)
    assert [clip.name for clip in held.choice.find()] == ['a_00020', 'a_00030']
    with pytest.raises(ValueError, match='a labelled frame with 3 frames before it'):
        held.check(CAMVID, by_age=True)
    with pytest.raises(ValueError, match='must be large enough for a labelled frame'):
        evaluation_data(camvid, **stills, hold_out_share=0.01).check(CAMVID, by_age=False)


def test_same_data_twice_is_refused():
    with pytest.raises(ValueError, match='must differ from each other, got only camvid_val_k2_'):
        named([evaluation_data('a'), evaluation_data('b/../a')])


def test_data_must_have_the_classes_of_the_training_or_be_read_as_them(camvid):
    with pytest.raises(ValueError, match=r'must have the 19 classes of Cityscapes, .* 11 of Cam'):
        evaluation_data(camvid).check(CITYSCAPES, by_age=True)
    evaluation_data(camvid, classes='cityscapes').check(CITYSCAPES, by_age=True)


def test_data_must_have_keyframes_as_old_as_they_are_asked_for(camvid):
    evaluation_data(camvid, interval=6).check(CAMVID, by_age=True)
    evaluation_data(camvid, interval=7).check(CAMVID, by_age=False)
    with pytest.raises(ValueError, match='a labelled frame with 6 frames before it, got none in'):
        evaluation_data(camvid, interval=7).check(CAMVID, by_age=True)


def test_intervals_and_modes_that_do_not_exist_are_refused(camvid):
    with pytest.raises(ValueError, match=r'`interval` must be at least 2 where .* got 1'):
        evaluation_data(camvid, interval=1).check(CAMVID, by_age=True)
    with pytest.raises(ValueError, match=r'`mode` must be .* got .future.'):
        evaluation_data(camvid, mode='future')


@pytest.fixture
def asked(monkeypatch):
    """What `dcfm ablate` asks for to be evaluated; nothing is trained."""
    found = []

    def run(chosen, configs, data, *arguments):
        for item in data:
            choice = item.choice
            found.append(
                (choice.split, choice.hold_out_share, choice.classes, item.interval, item.mode)
            )
        return {'study': chosen.title, 'columns': [], 'data': {}, 'notes': ['of it'], 'rows': []}

    monkeypatch.setattr('dcfm_ros.training.studies.ablate.run_study', run)
    return found


def test_study_says_how_it_is_evaluated(asked, tmp_path):
    ablate('gaps', ['camvid:a:val'], output=tmp_path)
    ablate('losses', ['camvid:a:val'], output=tmp_path)
    ablate('decomposition', ['camvid:a:val'], output=tmp_path, interval=3, classes='camvid')
    assert asked == [
        ('val', None, None, 6, 'past'),
        ('val', None, None, 2, 'both'),
        ('val', None, 'camvid', 3, 'both'),
    ]


def test_command_evaluates_on_what_is_held_out(asked, tmp_path, own, capsys):
    folder = str(own(a=''))
    ablate(folder, ['camvid:a:train:0.1', 'camvid:a:val'], output=tmp_path / 'out')
    assert asked == [('train', 0.1, None, 4, 'past'), ('val', None, None, 4, 'past')]
    assert 'note: of it' in capsys.readouterr().out
    assert json.loads((tmp_path / 'out/mine.json').read_text())['study'] == 'mine'
    for text in ('camvid:a', 'a:b:c:0.1:d'):
        with pytest.raises(ValueError, match=f'DATASET:ROOT:SPLIT:HOLD_OUT, got .{text}'):
            ablate(folder, [text], output=tmp_path)
    with pytest.raises(ValueError, match=r'must end with a number if anything, got .some'):
        ablate(folder, ['camvid:a:train:some'], output=tmp_path)


@pytest.fixture(scope='module')
def camvid(tmp_path_factory):
    """Four training frames that are not neighbours and a dense clip of six, 64x64."""
    root = tmp_path_factory.mktemp('camvid')
    rng = np.random.default_rng(0)
    for split, count in (('train', 4), ('val', 6)):
        (root / split).mkdir()
        (root / f'{split}annot').mkdir()
        for index in range(count):
            label = np.zeros((64, 64), np.uint8)
            label[20 + 3 * index :] = 3
            image = np.where(label[..., None] == 0, 200, 60) + rng.integers(0, 20, (64, 64, 3))
            name = f'a_{index * (10 if split == "train" else 1):05d}'
            cv2.imwrite(str(root / split / f'{name}.jpg'), image)
            cv2.imwrite(str(root / f'{split}annot' / f'{name}.png'), label)
    return root


def trainer(folder, command):
    """A shell command in place of Python's trainings; `starts` gets a line for each of them."""
    program = folder / 'python'
    program.write_text(f'#!/bin/sh\ncd "$(dirname "$5")"\necho >> starts\n{command}\n')
    program.chmod(0o755)
    return str(program)


@pytest.fixture(scope='module')
def done(camvid, tmp_path_factory):
    """A study of two variants and one seed: its arguments and its figures.

    One of them is trained, the other one gets the same weights.
    """
    folder = tmp_path_factory.mktemp('study')
    config = folder / 'tiny.yaml'
    config.write_text(
        yaml.safe_dump({
            'model': {
                'net': {'backbone': 'mit_b0', 'fuse_channels': 16},
                'optimisation': {'warmup_steps': 0},
            },
            'data': {
                'train': [{'dataset': 'camvid', 'root': str(camvid)}],
                'cache_dir': str(folder / 'cache'),
                'batch_size': 2, 'pairs_per_epoch': 4, 'num_workers': 0, 'hold_out_share': 0.25,
                'augmentation': {
                    'class_path': 'dcfm_ros.training.pairs.augment.RoadSceneAugmentation',
                    'init_args': {'crop': [64, 64]},
                },
            },
            'average': {'decay': 0.0},
            'export': {'image_height': 48},
            'trainer': {
                'max_steps': 2, 'accelerator': 'cpu', 'num_sanity_val_steps': 0,
                'enable_progress_bar': False,
            },
        })
    )  # fmt: skip
    full = Variant('full', {}, {'miou': 0.45})
    other = Variant('no fusion', {'model': {'net': {'nonkey_uses_common': False}}})
    rest = ([config], [evaluation_data(camvid)], folder / 'out', (7,))
    run_study(Study('one variant', ('miou',), (other,)), *rest)
    net = load_network(folder / 'out/no_fusion/seed_7/last.safetensors')
    fused = build_network(dataclasses.replace(net.config, nonkey_uses_common=True))
    fused.load_state_dict(net.state_dict())
    save_checkpoint(folder / 'fused', fused, {'steps': 5, 'metrics': {'loss': 1.5}})
    two = Study('two variants', ('miou', 'nonkey_loss'), (full, other))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'executable', trainer(folder, f'cp {folder}/fused last.safetensors'))
        return (two, *rest), run_study(two, *rest)


def test_every_variant_is_trained_and_evaluated(done):
    (_, _, _, output, _), figures = done
    assert [row['variant'] for row in figures['rows']] == ['full', 'no fusion']
    full, other = (row['camvid_val_k2_past'] for row in figures['rows'])
    assert full['nonkey_loss']['mean'] != other['nonkey_loss']['mean']
    evaluated = json.loads((output / 'full/seed_7/camvid_val_k2_past.json').read_text())
    [row] = [row for row in evaluated['rows'] if row['schedule'] == 'fixed']
    assert full['miou'] == {'mean': row['miou'], 'std': 0.0, 'values': [row['miou']]}
    net = load_network(output / 'no_fusion/seed_7/last.safetensors').config
    assert (net.fuse_channels, net.nonkey_uses_common) == (16, False)
    trained = yaml.safe_load((output / 'no_fusion/seed_7/train.yaml').read_text())
    assert trained['seed_everything'] == trained['data']['seed'] == 7
    assert trained['model']['net']['nonkey_uses_common'] is False


def test_all_rows_are_computed_alike(done):
    (_, _, _, output, _), _ = done
    for variant in ('full', 'no_fusion'):
        figures = json.loads((output / variant / 'seed_7/camvid_val_k2_past.json').read_text())
        [row] = figures['rows']
        assert (row['backend'], row['precision']) == ('torch', 'fp32')
        assert figures['evaluated']['precision'] == 'fp32'


def test_networks_are_evaluated_at_the_height_of_their_training(done, camvid):
    (_, _, _, output, _), figures = done
    folder = output / 'no_fusion/seed_7'
    rows = json.loads((folder / 'camvid_val_k2_past.json').read_text())['rows']
    assert [row['height'] for row in rows] == [48]
    clips = find_clips('camvid', camvid, 'val')
    losses = loss_by_age(load_network(folder / 'last.safetensors'), clips, [1], 48)
    shown = figures['rows'][1]['camvid_val_k2_past']['nonkey_loss']['mean']
    assert shown == pytest.approx(losses[1]['loss'], abs=1e-6)


def test_table_shows_the_published_figures_beside_ours(done):
    _, figures = done
    head, _, full, other = as_markdown(figures).splitlines()
    assert 'miou (camvid_val_k2_past)' in head
    assert '| 0.450 |' in full
    assert f'{figures["rows"][0]["camvid_val_k2_past"]["miou"]["mean"]:.3f} +- 0.000' in full
    assert '0.450' not in other


def test_figures_record_the_trainings(done):
    (_, _, _, output, _), figures = done
    full, other = (row['training'] for row in figures['rows'])
    assert full['steps'] == {'mean': 5.0, 'std': 0.0, 'values': [5.0]}
    assert full['hours']['values'] == full['val_miou_key']['values'] == [None]
    record = read_network_metadata(output / 'no_fusion/seed_7/last.safetensors').training
    assert other['steps']['values'] == [record['steps']] == [2]
    assert other['hours']['values'] == [record['hours']]
    for name in ('val_miou_key', 'val_miou_nonkey'):
        assert other[name]['values'] == [record['metrics'][name]]


def test_table_shows_the_fold_where_every_training_was_validated(done):
    _, figures = done
    assert 'fold' not in as_markdown(figures)
    head, _, row = as_markdown(figures | {'rows': figures['rows'][1:]}).splitlines()
    names, cells = ([cell.strip() for cell in line.split('|')] for line in (head, row))
    training = figures['rows'][1]['training']
    for name, metric in (('fold key', 'val_miou_key'), ('fold non-key', 'val_miou_nonkey')):
        assert cells[names.index(name)] == f'{training[metric]["mean"]:.3f} +- 0.000'


def test_table_has_no_columns_of_the_paper_where_it_prints_nothing(done):
    _, figures = done
    head, *_ = as_markdown(figures).splitlines()
    assert [name for name in head.split(' | ') if 'paper' in name] == ['miou (paper) |']
    assert 'paper' not in as_markdown(figures | {'rows': figures['rows'][1:]})


def test_held_out_stills_are_evaluated_with_a_note(done, camvid):
    (two, configs, _, output, seeds), _ = done
    one = Study('', ('miou', 'miou_nonkey'), two.variants[1:])
    held = evaluation_data(camvid, split='train', hold_out_share=0.5)
    figures = run_study(one, configs, [held], output, seeds)
    name = 'camvid_train_held_0.5_k2_past'
    share, keyframes, classes = figures['notes']
    assert share.startswith(f'{name}: only what a training with hold_out_share 0.5 keeps')
    assert keyframes.endswith('none of non-key frames')
    assert classes.startswith(f'{name}: no counted label has class')
    [row] = figures['rows']
    assert row[name]['miou_nonkey'] == {'mean': None, 'std': None, 'values': [None]}
    assert row[name]['miou']['mean'] > 0


def test_a_training_keeps_one_state(done):
    states = {path.name for path in (done[0][3] / 'no_fusion/seed_7').glob('*.ckpt')}
    assert states == {'last.ckpt'}


def test_a_study_goes_on_where_it_stopped(done):
    arguments, figures = done
    folder = arguments[3] / 'full' / 'seed_7'
    trained = (folder / 'last.safetensors').stat().st_mtime_ns
    (folder / 'camvid_val_k2_past.json').unlink()
    assert run_study(*arguments)['rows'] == figures['rows']
    assert (folder / 'last.safetensors').stat().st_mtime_ns == trained


def test_runs_of_another_configuration_are_not_mixed_in(done, tmp_path):
    (two, [config], data, output, seeds), _ = done
    changed = tmp_path / 'changed.yaml'
    changed.write_text(config.read_text().replace('max_steps: 2', 'max_steps: 3'))
    with pytest.raises(ValueError, match='`output` must be empty or hold runs of this config'):
        run_study(two, [changed], data, output, seeds)


@pytest.mark.parametrize(
    ('accelerator', 'uses_gpu'), [('auto', True), ('cpu', False), (None, True)]
)
def test_training_asks_for_a_gpu_unless_it_is_for_the_cpu(
    camvid, tmp_path, monkeypatch, accelerator, uses_gpu
):
    asked = {}

    def record(function, runs, *arguments, **options):
        asked.update(options)
        raise InterruptedError

    monkeypatch.setattr('dcfm_ros.training.studies.ablate.map_in_order', record)
    config = tmp_path / 'train.yaml'
    own = {} if accelerator is None else {'trainer': {'accelerator': accelerator}}
    config.write_text(yaml.safe_dump({'data': {}, **own}))
    with pytest.raises(InterruptedError):
        run_study(study('gaps'), [config], [evaluation_data(camvid)], tmp_path / 'out', threads=3)
    assert asked == {'uses_gpu': uses_gpu, 'threads': 3}


def test_nothing_is_begun_where_the_data_is_not_there(done, tmp_path):
    (two, configs, _, _, _), _ = done
    with pytest.raises(FileNotFoundError, match='absent'):
        run_study(two, configs, [evaluation_data(tmp_path / 'absent')], tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_kept_figures_of_other_data_are_not_taken(done, camvid, tmp_path):
    (two, configs, _, output, seeds), figures = done
    other = shutil.copytree(camvid, tmp_path / 'other')
    for path in (other / 'valannot').iterdir():
        cv2.imwrite(str(path), np.where(cv2.imread(str(path), 0) == 3, 4, 0).astype(np.uint8))
    kept = output / 'full' / 'seed_7' / 'camvid_val_k2_past.json'
    before = kept.read_text()
    changed = run_study(two, configs, [evaluation_data(other)], output, seeds)
    kept.write_text(before)
    of_full = [
        study['rows'][0]['camvid_val_k2_past']['nonkey_loss'] for study in (figures, changed)
    ]
    assert of_full[0] != of_full[1]


@pytest.fixture
def trains_by(tmp_path, monkeypatch):
    """Puts a shell command in place of trainings."""
    return lambda command: monkeypatch.setattr(sys, 'executable', trainer(tmp_path, command))


@pytest.fixture
def run(tmp_path):
    """A run without anything to evaluate."""
    (tmp_path / 'run').mkdir()
    return Run(tmp_path / 'run', {}, {}, by_age=False, num_threads=1)


def test_kept_figures_of_other_weights_are_not_taken(done, tmp_path, trains_by):
    (two, configs, data, output, seeds), figures = done
    one = Study('', two.columns, two.variants[:1])
    for variant, row in zip(two.variants, figures['rows'], strict=True):
        trains_by(f'cp {output}/{variant.folder}/seed_7/last.safetensors .')
        [own] = run_study(one, configs, data, tmp_path / 'out', seeds)['rows']
        assert own['camvid_val_k2_past'] == row['camvid_val_k2_past']
        (tmp_path / 'out/full/seed_7/last.safetensors').unlink()


def test_failed_training_names_its_log(run, trains_by):
    trains_by('echo no such backbone >&2; exit 1')
    with pytest.raises(RuntimeError, match=r'run failed, see .*train.log: no such backbone'):
        train_and_evaluate(run)
    assert len((run.folder / 'starts').read_text()) == 1


def test_training_that_leaves_no_network_is_an_error(run, trains_by):
    trains_by('echo nothing to do')
    match = r'run ended without last.safetensors, see .*train.log: nothing to do'
    with pytest.raises(RuntimeError, match=match):
        train_and_evaluate(run)
    assert len((run.folder / 'starts').read_text()) == 1


def test_killed_training_is_tried_again_from_its_last_state(run, trains_by):
    trains_by(
        'touch last.ckpt; case "$*" in *last.ckpt) touch last.safetensors;; *) kill -9 $$; esac'
    )
    train_and_evaluate(run)
    assert len((run.folder / 'starts').read_text()) == 2


def test_training_that_is_always_killed_is_given_up(run, trains_by):
    trains_by('kill -9 $$')
    with pytest.raises(RuntimeError, match='run was killed 3 times, see'):
        train_and_evaluate(run)
    assert len((run.folder / 'starts').read_text()) == 3


def test_training_that_outlives_its_worker_is_waited_for(run, trains_by):
    trains_by('sleep 0.5; touch last.safetensors')
    worker = get_context('fork').Process(target=train_and_evaluate, args=(run,))
    worker.start()
    while not (run.folder / 'starts').exists():
        time.sleep(0.01)
    worker.kill()
    worker.join()
    train_and_evaluate(run)
    assert len((run.folder / 'starts').read_text()) == 1


def test_missing_initial_weights_name_the_command_that_trains_them(camvid, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = ROOT / 'config/train/ablation.yaml'
    with pytest.raises(FileNotFoundError) as error:
        run_study(study('losses'), [config], [evaluation_data(camvid)], tmp_path / 'out')
    assert str(error.value).splitlines() == [
        'no such file of initial weights: out/ablation_start/last.safetensors; train it first:',
        '  dcfm train fit --config config/train/ablation.yaml '
        '--config config/train/image_baseline.yaml --config config/train/ablation_start.yaml',
    ]
    assert not (tmp_path / 'out').exists()


def test_unknown_package_of_initial_weights_is_named_before_anything_is_trained(camvid, tmp_path):
    own = tmp_path / 'own.yaml'
    own.write_text(yaml.safe_dump({'model': {'initial_weights': 'package:lite0'}}))
    configs = [ROOT / 'config/train/ablation.yaml', own]
    with pytest.raises(ValueError, match=r"one of efficientnet-lite0, .*, got 'lite0'"):
        run_study(study('losses'), configs, [evaluation_data(camvid)], tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('start', [None, 'timm:default', 'package:efficientnet-lite0'])
def test_missing_training_data_are_named_before_anything_is_trained(camvid, tmp_path, start):
    own = tmp_path / 'own.yaml'
    train = [{'dataset': 'camvid', 'root': str(tmp_path / 'absent')}]
    own.write_text(yaml.safe_dump({'model': {'initial_weights': start}, 'data': {'train': train}}))
    configs = [ROOT / 'config/train/ablation.yaml', own]
    with pytest.raises(FileNotFoundError, match=r'training data: .*absent \(camvid\)'):
        run_study(study('losses'), configs, [evaluation_data(camvid)], tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
