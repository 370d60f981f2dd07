import json

import cv2
import numpy as np
import pytest
import yaml

from dcfm_ros.training.ablate import EvaluationData, as_markdown, merged, run_study
from dcfm_ros.training.studies import STUDIES, Study, Variant, study


def settings(changes):
    """The innermost names and values of nested changes."""
    found = {}
    for key, value in changes.items():
        found.update(settings(value) if isinstance(value, dict) else {key: value})
    return found


def test_table_v_switches_one_feature_off_per_row():
    rows = study('decomposition').variants
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
    rows = study('losses').variants
    assert [(row.name, settings(row.changes)) for row in rows] == [
        ('L_I', {'nonkey': 0.0, 'consistency': 0.0}),
        ('L_B', {'keyframe': 0.0, 'consistency': 0.0}),
        ('L_I + L_B', {'consistency': 0.0}),
        ('L_I + L_B + L_con', {}),
    ]
    assert [row.published['mvc16'] for row in rows] == pytest.approx([0.825, 0.833, 0.83, 0.835])


def test_table_vii_changes_the_kinds():
    rows = study('loss_types').variants
    assert settings(rows[0].changes) == {'segmentation': 'ce_dice', 'distance': 'l1'}
    assert settings(rows[3].changes) == {'segmentation': 'ohem'}
    assert settings(rows[5].changes) == {}


def test_the_full_model_is_one_training_for_all_studies():
    folders = {name: [row.folder for row in study(name).variants] for name in STUDIES}
    assert all(names.count('full') == 1 for names in folders.values())
    others = [name for names in folders.values() for name in names if name != 'full']
    assert len(set(others)) == len(others) == 4 + 3 + 5 + 1


def test_unknown_study_is_refused():
    with pytest.raises(ValueError, match=r'`name` must be one of decomposition, .*got .table9.'):
        study('table9')


def test_configurations_are_merged_key_by_key():
    base = {'a': {'b': 1, 'c': 2}, 'd': {'class_path': 'X', 'init_args': {'e': 3}}}
    assert merged(base, {'a': {'b': 5}})['a'] == {'b': 5, 'c': 2}
    same = merged(base, {'d': {'init_args': {'f': 4}}})['d']
    assert same == {'class_path': 'X', 'init_args': {'e': 3, 'f': 4}}
    other = merged(base, {'d': {'class_path': 'Y'}})['d']
    assert other == {'class_path': 'Y'}
    assert base['a'] == {'b': 1, 'c': 2}


@pytest.fixture(scope='module')
def camvid(tmp_path_factory):
    """Four training frames and a dense clip of six, 64x64."""
    root = tmp_path_factory.mktemp('camvid')
    rng = np.random.default_rng(0)
    for split, count in (('train', 4), ('val', 6)):
        (root / split).mkdir()
        (root / f'{split}annot').mkdir()
        for index in range(count):
            label = np.zeros((64, 64), np.uint8)
            label[20 + 3 * index :] = 3
            image = np.where(label[..., None] == 0, 200, 60) + rng.integers(0, 20, (64, 64, 3))
            name = f'a_{index:05d}'
            cv2.imwrite(str(root / split / f'{name}.jpg'), image)
            cv2.imwrite(str(root / f'{split}annot' / f'{name}.png'), label)
    return root


@pytest.fixture(scope='module')
def done(camvid, tmp_path_factory):
    """A study of two variants and one seed: its arguments and its figures."""
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
                'batch_size': 2, 'pairs_per_epoch': 4, 'num_workers': 0, 'hold_out_share': 0.0,
                'augmentation': {
                    'class_path': 'dcfm_ros.training.augment.RoadSceneAugmentation',
                    'init_args': {'crop': [64, 64]},
                },
            },
            'average': {'decay': 0.0},
            'trainer': {
                'max_steps': 2, 'accelerator': 'cpu', 'num_sanity_val_steps': 0,
                'enable_progress_bar': False,
            },
        })
    )  # fmt: skip
    two = Study(
        'two variants',
        ('miou', 'nonkey_loss'),
        (
            Variant('full', {}, {'miou': 0.45}),
            Variant('no fusion', {'model': {'net': {'nonkey_uses_common': False}}}),
        ),
    )
    data = [EvaluationData(dataset='camvid', root=camvid, interval=2, mode='past')]
    arguments = (two, [config], data, folder / 'out', (7,))
    return arguments, run_study(*arguments)


def test_every_variant_is_trained_and_evaluated(done):
    (_, _, _, output, _), figures = done
    assert [row['variant'] for row in figures['rows']] == ['full', 'no fusion']
    full, other = (row['camvid_val_k2_past'] for row in figures['rows'])
    assert full['nonkey_loss']['mean'] != other['nonkey_loss']['mean']
    evaluated = json.loads((output / 'full/seed_7/camvid_val_k2_past.json').read_text())
    [row] = [row for row in evaluated['rows'] if row['schedule'] == 'fixed']
    assert full['miou'] == {'mean': row['miou'], 'std': 0.0, 'values': [row['miou']]}
    trained = yaml.safe_load((output / 'no_fusion/seed_7/train.yaml').read_text())
    assert trained['seed_everything'] == trained['data']['seed'] == 7
    assert trained['model']['net']['nonkey_uses_common'] is False


def test_table_shows_the_published_figures_beside_ours(done):
    _, figures = done
    head, _, full, other = as_markdown(figures).splitlines()
    assert 'miou (camvid_val_k2_past)' in head
    assert '| 0.450 |' in full
    assert f'{figures["rows"][0]["camvid_val_k2_past"]["miou"]["mean"]:.3f} +- 0.000' in full
    assert '0.450' not in other


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


def test_failed_training_names_its_log(done, tmp_path):
    (two, [config], data, _, _), _ = done
    broken = tmp_path / 'broken.yaml'
    broken.write_text(config.read_text().replace('mit_b0', 'mit_b9'))
    with pytest.raises(RuntimeError, match=r'full/seed_7 failed, see .*train.log: .*mit_b9'):
        run_study(two, [broken], data, tmp_path / 'out', (7,))
