from __future__ import annotations

import json
import shutil

from command import dcfm
import pytest
from safetensors.torch import load_file, save_file
from source_networks import make_segformer, make_smp, make_torchvision, save_folder
import torch

from dcfm_ros.deploy.convert import convert_network
from dcfm_ros.models.checkpoint_header import CheckpointError, read_metadata
from dcfm_ros.models.labels import CAMVID_NAMES, CAMVID_PALETTE

PREPROCESSOR = {
    'do_normalize': True,
    'do_rescale': True,
    'do_resize': True,
    'image_mean': [0.4, 0.5, 0.6],
    'image_std': [0.1, 0.2, 0.3],
    'rescale_factor': 1 / 255,
    'size': {'height': 96, 'width': 128},
}


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp('segformer') / 'source'
    save_folder(make_segformer(), folder)
    return folder


@pytest.fixture
def segformer(saved, tmp_path):
    """A folder that a test may spoil."""
    return shutil.copytree(saved, tmp_path / 'source')


def edit(path, **changes):
    values = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**values, **changes}))


def test_names_and_preprocessing_of_a_segformer_are_read(segformer):
    names = ['floor', 'wall', 'sky', 'car', 'rest']
    edit(segformer / 'config.json', id2label=dict(zip('01234', names, strict=True)))
    edit(segformer / 'preprocessor_config.json', **PREPROCESSOR, do_reduce_labels=True)
    done = convert_network('segformer', segformer)
    assert done.net.config.class_names == tuple(names)
    assert done.net.config.image_mean == pytest.approx((0.4, 0.5, 0.6))
    assert done.net.config.image_std == pytest.approx((0.1, 0.2, 0.3))
    assert done.training['image_height'] == 96
    assert done.training['do_reduce_labels'] is True
    (note, _) = done.notes
    assert 'resizes to 96x128' in note
    assert 'shrunk to 96 rows, never enlarged' in note


@pytest.mark.parametrize(
    'changes',
    [
        {},
        {'do_rescale': False},
        {'rescale_factor': 1 / 127.5},
        {'do_normalize': False},
        {'size': 512},
    ],
)
def test_normalisation_is_that_of_the_image_processor(segformer, changes):
    transformers = pytest.importorskip('transformers')
    edit(segformer / 'preprocessor_config.json', **{**PREPROCESSOR, 'do_resize': False, **changes})
    net = convert_network('segformer', segformer).net
    processor = transformers.SegformerImageProcessor.from_pretrained(segformer)
    image = torch.randint(0, 256, (3, 32, 48), dtype=torch.uint8)
    expected = processor(images=image, return_tensors='pt')['pixel_values'].double()
    torch.testing.assert_close((image / 255 - net.mean) / net.std, expected, rtol=0, atol=2e-3)


def test_names_that_were_not_given_are_generic(segformer):
    done = convert_network('segformer', segformer)
    assert done.net.config.class_names[:2] == ('class 0', 'class 1')
    assert done.training == {'source': 'converted from segformer, source'}
    assert any('preprocessor_config.json is missing' in note for note in done.notes)


def test_labels_are_a_known_set_or_a_file(tmp_path):
    save_folder(make_segformer(num_classes=11), tmp_path / 'source')
    config = convert_network('segformer', tmp_path / 'source', labels='camvid').net.config
    assert config.class_names == CAMVID_NAMES
    assert config.palette == CAMVID_PALETTE
    (tmp_path / 'classes.yaml').write_text(
        ''.join(f'{i}: {{name: n{i}, rgb: [{i}, 1, 2]}}\n' for i in range(11))
    )
    labels = str(tmp_path / 'classes.yaml')
    config = convert_network('segformer', tmp_path / 'source', labels=labels).net.config
    assert config.class_names[3] == 'n3'
    assert config.palette[3] == (3, 1, 2)


def test_labels_of_the_wrong_number_are_refused(segformer):
    with pytest.raises(
        ValueError, match=r'must have the 5 classes of the network in .*, got 11 in camvid'
    ):
        convert_network('segformer', segformer, labels='camvid')


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'model_type': 'upernet'},
            r"config.json: `model_type` must be 'segformer', got 'upernet'",
        ),
        ({'architectures': ['SegformerForImageClassification']}, '`architectures` must be'),
        ({'strides': [4, 2, 2, 1]}, r'`strides` must be \[4, 2, 2, 2\], got \[4, 2, 2, 1\]'),
        ({'hidden_act': 'relu'}, "`hidden_act` must be 'gelu', got 'relu'"),
        ({'id2label': {'0': 'a', '2': 'b'}}, '`id2label` must count from 0'),
    ],
)
def test_config_of_another_network_is_refused(segformer, changes, message):
    edit(segformer / 'config.json', **changes)
    with pytest.raises(CheckpointError, match=message):
        convert_network('segformer', segformer)


def test_every_mismatch_is_listed(segformer):
    tensors = load_file(segformer / 'model.safetensors')
    del tensors['segformer.encoder.block.1.0.attention.self.key.weight']
    tensors['decode_head.linear_fuse.weight'] = torch.zeros(3, 4, 1, 1)
    tensors['more'] = torch.zeros(1)
    save_file(tensors, segformer / 'model.safetensors')
    with pytest.raises(CheckpointError) as caught:
        convert_network('segformer', segformer)
    text = str(caught.value)
    assert str(segformer) in text
    assert 'missing: segformer.encoder.block.1.0.attention.self.key.weight' in text
    assert 'shape of decode_head.linear_fuse.weight: (3, 4, 1, 1), expected (20, 80, 1, 1)' in text
    assert 'unexpected: more' in text


def test_weights_in_parts_pickled_or_missing_are_refused(segformer):
    weights = segformer / 'model.safetensors'
    weights.rename(segformer / 'away')
    with pytest.raises(FileNotFoundError, match=r'model\.safetensors'):
        convert_network('segformer', segformer)
    (segformer / 'pytorch_model.bin').touch()
    with pytest.raises(CheckpointError, match=r'pytorch_model\.bin is pickled'):
        convert_network('segformer', segformer)
    (segformer / 'model.safetensors.index.json').touch()
    with pytest.raises(CheckpointError, match=r'index\.json: weights in several files'):
        convert_network('segformer', segformer)
    weights.write_bytes(b'no tensors')
    with pytest.raises(CheckpointError, match='not a whole safetensors file'):
        convert_network('segformer', segformer)


def test_wrong_folders_are_refused(segformer, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'none.config\.json'):
        convert_network('segformer', tmp_path / 'none')
    with pytest.raises(CheckpointError, match='must be the folder'):
        convert_network('segformer', segformer / 'config.json')
    with pytest.raises(CheckpointError, match='missing key `_model_class`'):
        convert_network('smp', segformer)
    (segformer / 'config.json').write_text('{')
    with pytest.raises(CheckpointError, match=r'config\.json is not JSON'):
        convert_network('segformer', segformer)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'_model_class': 'DPT'}, '`_model_class` must be one of Unet, .*DPT'),
        ({'classes': 1}, '`classes` must be at least 2, one logit for each, got 1'),
        ({'in_channels': 4}, r'`in_channels` must be 3 \(RGB\), got 4'),
        ({'activation': 'argmax'}, "got 'argmax'"),
        ({'encoder_name': 'resnet19'}, 'SMP cannot build this FPN.*resnet19'),
        ({'colour': 1}, 'SMP cannot build this FPN.*colour'),
    ],
)
def test_smp_config_that_does_not_fit_is_refused(tmp_path, changes, message):
    save_folder(make_smp('FPN', 'tu-mobilenetv3_small_050'), tmp_path)
    edit(tmp_path / 'config.json', **changes)
    with pytest.raises(CheckpointError, match=message):
        convert_network('smp', tmp_path)


def test_smp_leaves_out_classification_head_and_activation(tmp_path):
    encoder = 'tu-tf_efficientnet_lite0'
    net = make_smp('FPN', encoder, aux_params={'classes': 4}, activation='softmax2d')
    save_folder(net, tmp_path)
    done = convert_network('smp', tmp_path)
    assert done.net.config.image_mean == (0.5, 0.5, 0.5)
    assert [word for word in ('activation', 'classification head', 'normalisation')
            if not any(word in note for note in done.notes)] == []  # fmt: skip
    own = convert_network('smp', tmp_path, image_mean=(0.1, 0.2, 0.3)).net.config
    assert (own.image_mean, own.image_std) == ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5))


def test_notes_say_what_was_assumed_and_nothing_else(tmp_path):
    save_folder(make_smp('FPN', 'resnet18'), tmp_path)
    (assumed, names) = convert_network('smp', tmp_path).notes
    assert 'mean 0.485, 0.456, 0.406 (--mean), std 0.229, 0.224, 0.225 (--std)' in assumed
    assert names == 'classes are called class 0, class 1, ...: --labels names them'
    given = {'image_mean': (0.1, 0.2, 0.3)}
    (assumed, _) = convert_network('smp', tmp_path, **given).notes
    assert '--std' in assumed
    assert '--mean' not in assumed
    given['image_std'] = (0.5, 0.5, 0.5)
    assert convert_network('smp', tmp_path, **given).notes == (names,)


@pytest.mark.parametrize('name', ['mean', 'std'])
def test_normalisation_of_bytes_is_refused(segformer, name):
    values = {f'image_{name}': (123.0, 116.0, 103.0)}
    with pytest.raises(ValueError, match=rf'`{name}` must be in \[0, 1\], .* got \(123'):
        convert_network('segformer', segformer, **values)


@pytest.mark.parametrize('name', ['model.safetensors', 'other.safetensors'])
def test_command_does_not_write_into_the_source(segformer, name):
    before = sorted((path.name, path.stat().st_size) for path in segformer.iterdir())
    run = dcfm('convert', segformer, '--from', 'segformer', '--output', segformer / name)
    assert run.returncode == 1
    assert f'`output` must not be a file of the source {segformer}' in run.stderr
    assert before == sorted((path.name, path.stat().st_size) for path in segformer.iterdir())


def test_torchvision_needs_a_name_and_its_own_weights(tmp_path):
    path = tmp_path / 'net.safetensors'
    save_file(make_torchvision('lraspp_mobilenet_v3_large').state_dict(), path)
    name = 'lraspp_mobilenet_v3_large'
    assert convert_network('torchvision', path, architecture=name).net.config.cut == 2
    with pytest.raises(ValueError, match=r'`architecture` must be one of .*, got None'):
        convert_network('torchvision', path)
    with pytest.raises(ValueError, match="got 'vgg'"):
        convert_network('torchvision', path, architecture='vgg')
    with pytest.raises(CheckpointError, match=r'no fcn_resnet50: it has no tensor classifier\.4'):
        convert_network('torchvision', path, architecture='fcn_resnet50')
    with pytest.raises(FileNotFoundError):
        convert_network('torchvision', tmp_path / 'none.pth', architecture=name)
    with pytest.raises(ValueError, match='`from` must be one of'):
        convert_network('mmseg', path)


def test_pickled_code_is_not_run(tmp_path):
    torch.save({'weight': pytest.approx(1)}, tmp_path / 'net.pth')
    with pytest.raises(CheckpointError, match='cannot be read as weights'):
        convert_network('torchvision', tmp_path / 'net.pth', architecture='fcn_resnet50')


def test_command_writes_a_checkpoint(segformer, tmp_path):
    output = tmp_path / 'net.safetensors'
    run = dcfm('convert', segformer, '--from', 'segformer', '--cut', 2, '--output', output)
    assert run.returncode == 0, run.stderr
    assert 'note: preprocessor_config.json is missing' in run.stdout
    assert '5 classes' in run.stdout
    assert read_metadata(output).config.cut == 2


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['x'], '--from segformer, smp or torchvision is missing'),
        (['--from', 'smp'], 'a path is missing'),
        (['--preset', 'vspw_mit_b0'], 'the weights of the paper with --encoder, --decoder'),
        (['--cut', '2'], r'--cut (2) needs --from'),
        (['x', '--from', 'smp', '--preset', 'a'], '--preset (a) needs'),
        (['x', '--from', 'smp', '--mean', 'a'], '`mean` must be numbers'),
    ],
)
def test_command_refuses_options_that_do_not_go_together(tmp_path, words, message):
    run = dcfm('convert', *words, '--output', tmp_path / 'net.safetensors')
    assert run.returncode == 1
    assert message in run.stderr
