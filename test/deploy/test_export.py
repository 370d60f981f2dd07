"""`dcfm export`: the written models give the masks of the engine, or are not written."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path
import sys

from command import dcfm
from documents import blocks_of
import numpy as np
import pytest
from repository import ROOT
from small_net import make_images, make_net
from source_networks import convert_small

from dcfm_ros.deploy import export
from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.masks.class_mask import class_mask
from dcfm_ros.models.checkpoint import load_checkpoint, save_checkpoint
from dcfm_ros.synthetic.drive import DriveConfig, render_drive

pytestmark = pytest.mark.slow

onnxruntime = pytest.importorskip('onnxruntime')
openvino = pytest.importorskip('openvino')
pytest.importorskip('onnx')
IN_TORCH = EngineOptions(device='cpu', backend='torch', precision='fp32')
DRIVE = DriveConfig(num_frames=4, height=96, width=128)
FILES = {
    'onnx': ['keyframe.onnx', 'model.json', 'nonkey_frame.onnx'],
    'openvino': [
        *('keyframe.bin', 'keyframe.xml', 'model.json', 'nonkey_frame.bin', 'nonkey_frame.xml'),
    ],
}


@pytest.fixture(scope='module')
def net():
    return make_net(fuse_channels=32)


@pytest.fixture
def checkpoint(net, tmp_path):
    path = tmp_path / 'net.safetensors'
    save_checkpoint(path, net, {'image_height': 48})
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def run_onnx(path, **inputs):
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    outputs = [output.name for output in session.get_outputs()]
    return dict(zip(outputs, session.run(None, inputs), strict=True))


def run_openvino(path, **inputs):
    options = {'INFERENCE_PRECISION_HINT': 'f32'}
    given = openvino.Core().compile_model(path, 'CPU', options)(inputs)
    return {output.any_name: array for output, array in given.items()}


@pytest.mark.parametrize(
    ('kind', 'run', 'suffix'), [('onnx', run_onnx, '.onnx'), ('openvino', run_openvino, '.xml')]
)
def test_written_models_give_the_masks_of_the_engine(kind, run, suffix, net, checkpoint, tmp_path):
    output = tmp_path / 'new' / 'models'
    done = dcfm('export', checkpoint, '--format', kind, '--output', output, '--size', '67x91')
    assert done.returncode == 0, done.stderr
    assert names(output) == FILES[kind]
    engine = SegmentationEngine(net, IN_TORCH, ScheduleOptions(keyframe_interval=9))
    first, second = make_images(2, (67, 91))
    expected = [engine.step(image, index) for index, image in enumerate((first, second))]
    key = run(output / f'keyframe{suffix}', image=first[None])
    nonkey = run(output / f'nonkey_frame{suffix}', image=second[None], common=key['common'])
    assert set(key) == {'logits', 'common'}
    assert set(nonkey) == {'logits'}
    for found, result in zip((key, nonkey), expected, strict=True):
        largest = np.abs(result.logits).max()
        assert np.abs(found['logits'] - result.logits).max() < 1e-4 * largest
        assert np.mean(class_mask(found['logits'][0], (67, 91)) == result.mask) >= 0.995


def test_model_file_has_figures_and_classes(net, checkpoint, tmp_path):
    done = dcfm('export', checkpoint, '--output', tmp_path / 'out', '--json', tmp_path / 'f.json')
    facts = json.loads((tmp_path / 'out' / 'model.json').read_text())
    assert facts == json.loads((tmp_path / 'f.json').read_text())
    assert facts['size'] == [48, 64]  # as trained
    assert facts['class_names'] == list(net.class_names)
    assert facts['models'] == {'keyframe': 'keyframe.onnx', 'nonkey_frame': 'nonkey_frame.onnx'}
    assert facts['equal_pixels'] >= 0.995
    assert 0 < facts['largest_logit_difference'] < 1e-4
    assert (facts['motion'], facts['note'], facts['engine_pixels']) == ('none', '', None)
    assert 'equal pixels: ' in done.stdout


def test_weights_that_ask_for_motion_are_exported_without_it_and_say_so(tmp_path):
    moving = make_net(fuse_channels=32, motion='flow')
    save_checkpoint(tmp_path / 'net', moving)
    done = dcfm('export', tmp_path / 'net', '--output', tmp_path / 'out', '--size', '96x128')
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / 'out' / 'model.json').read_text())
    assert facts['motion'] == 'none'
    assert facts['equal_pixels'] >= 0.995 > facts['engine_pixels']
    assert 'FlowChain' in facts['note']
    assert '`mask_blending`' in facts['note']
    assert f'engine with motion compensation: {facts["engine_pixels"]:.2%}' in done.stdout


@pytest.mark.parametrize('name', ['segformer', 'FPN', 'lraspp'])
def test_networks_of_other_libraries_are_exported(tmp_path, name):
    path = convert_small(tmp_path, name)
    done = dcfm('export', path, '--output', tmp_path / 'out', '--size', '96x128')
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / 'out' / 'model.json').read_text())
    assert facts['network'].startswith({'FPN': 'smp', 'lraspp': 'torchvision'}.get(name, name))
    assert facts['equal_pixels'] >= 0.995
    assert 'FlowChain' in facts['note']
    assert 'mask_blending' not in facts['note']  # not theirs by itself
    outputs = run_onnx(
        tmp_path / 'out' / 'keyframe.onnx', image=next(render_drive(DRIVE))[0][None]
    )
    assert outputs['logits'].shape[1] == 5
    assert 'common' in outputs


def test_sizes_are_the_multiples_that_a_network_demands(tmp_path):
    path = convert_small(tmp_path, 'FPN')
    save_checkpoint(path, load_checkpoint(path), {'image_height': 100})
    assert export.export_checkpoint(path, tmp_path / 'out')['size'] == (96, 128)
    message = r'`size` must be multiples of 32 .*\(96x128, for example\), got 100x128'
    with pytest.raises(ValueError, match=message):
        export.export_checkpoint(path, tmp_path / 'other', size=(100, 128))
    assert not (tmp_path / 'other').exists()


def test_program_of_the_manual_gives_the_masks_of_the_engine(tmp_path):
    (program,) = (b for b in blocks_of(ROOT / 'docs/export.md') if b.language == 'python')
    names = {}
    exec(compile(program.text, str(program), 'exec'), names)
    net = make_net(fuse_channels=32, motion='flow')
    save_checkpoint(tmp_path / 'net', net)
    export.export_checkpoint(tmp_path / 'net', tmp_path, 'onnx', (96, 128))
    images = [image for image, _ in render_drive(DRIVE)]
    engine = SegmentationEngine(
        net,
        replace(IN_TORCH, motion='flow', mask_blending=0.0),
        ScheduleOptions(keyframe_interval=3),
    )
    for index, mask in enumerate(names['segment'](tmp_path, images, 3)):
        assert np.mean(mask == engine.step(images[index], index).mask) > 0.995
    assert index == 3


def test_models_of_another_network_do_not_agree(net, tmp_path):
    other = make_net(fuse_channels=32, head='mlp')
    models = export.make_models(other, (64, 96))
    files = [
        export.write_model(onnx, tmp_path / name, 'onnx')
        for name, onnx in zip('ab', models, strict=True)
    ]
    runs = list(map(export.load_model, files))
    images = make_images(2, (64, 96))
    assert export.compare(other, images, *runs)['equal_pixels'] >= 0.995
    found = export.compare(net, images, *runs)
    assert found['equal_pixels'] < 0.9
    assert found['largest_logit_difference'] > 1e-2


def test_models_that_do_not_agree_are_not_written(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(export, 'LEAST_AGREEMENT', 1.01)
    done = dcfm('export', checkpoint, '--output', tmp_path / 'out')
    assert done.returncode == 1
    assert 'of the pixels agree with PyTorch, at least 101.0% are needed' in done.stderr
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--format', 'tensorrt'), '`format` must be one of onnx, openvino'),
        (('--size', '360'), '`size` must be HEIGHTxWIDTH'),
        (('--size', '16x480'), '`height` must be a whole number from 32 to 4096, got 16'),
    ],
)
def test_odd_arguments_are_refused(arguments, message, checkpoint, tmp_path):
    done = dcfm('export', checkpoint, '--output', tmp_path / 'out', *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(('kind', 'module'), [('onnx', 'onnx'), ('openvino', 'openvino')])
def test_a_library_that_is_missing_is_named(kind, module, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    done = dcfm('export', checkpoint, '--output', tmp_path / 'out', '--format', kind)
    assert done.returncode == 1
    assert f"`format` {kind} needs: pip install 'dcfm_ros[torch]'" in done.stderr
    assert not (tmp_path / 'out').exists()
