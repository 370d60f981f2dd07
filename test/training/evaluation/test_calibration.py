"""`fit_temperature` and `dcfm calibrate`: a confidence that means what it says."""

from __future__ import annotations

from dataclasses import replace
import json

from command import dcfm
import cv2
import numpy as np
import pytest
from safetensors.numpy import load_file
import torch

from dcfm_ros.engine import SegmentationEngine, load_network
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.models.checkpoint import load_checkpoint, save_checkpoint
from dcfm_ros.models.checkpoint_header import find_checkpoint, read_metadata
from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.training.evaluation.calibration import _likeliest, fit_temperature
from dcfm_ros.training.evaluation.setting import Setting
from dcfm_ros.training.footage.clips import Clip
from dcfm_ros.training.footage.datasets import find_clips

SCHEDULE = Setting(keyframes=ScheduleOptions(keyframe_interval=2), phases='first')
ON_CPU = EngineOptions(device='cpu', backend='torch', precision='fp32')


@pytest.fixture(scope='module')
def drive(tmp_path_factory):
    """A rendered drive with its true labels, as a dataset."""
    folder = tmp_path_factory.mktemp('data') / 'drive'
    done = dcfm('synth', '--output', folder, '--frames', 6, '--size', '96x128')
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope='module')
def clips(drive):
    return find_clips('synthetic', drive.parent, 'all')


def test_likeliest_temperature_is_that_of_the_labels():
    """Labels are drawn from a softmax; the network is two and a half times as sure."""
    torch.manual_seed(0)
    truth = 2 * torch.randn(40_000, 5)
    labels = torch.distributions.Categorical(logits=truth).sample()
    assert _likeliest(2.5 * truth, labels) == pytest.approx(2.5, rel=0.03)
    assert _likeliest(truth / 2, labels) == pytest.approx(0.5, rel=0.03)


def test_a_network_that_is_too_sure_is_found_out(clips):
    net = load_checkpoint(find_checkpoint('default'))
    plain = fit_temperature(net, clips, SCHEDULE, ON_CPU)
    assert plain.frames == 6
    assert plain.ece_after < plain.ece_before
    last = [m for m in net.head.modules() if isinstance(m, torch.nn.Conv2d)][-1]
    with torch.no_grad():
        for weight in last.parameters():
            weight.mul_(3)
    found = fit_temperature(net, clips, SCHEDULE, ON_CPU)
    assert found.temperature == pytest.approx(3 * plain.temperature, rel=0.02)
    assert found.ece_after == pytest.approx(plain.ece_after, abs=0.01)
    assert found.ece_before > found.ece_after


def test_clips_without_labels_are_refused(clips):
    (clip,) = clips
    bare = replace(clip, frames=tuple(replace(frame, label=None) for frame in clip.frames))
    assert isinstance(bare, Clip)
    with pytest.raises(ValueError, match='`clips` must have a pixel with a label'):
        fit_temperature(load_checkpoint(find_checkpoint('default')), [bare], SCHEDULE, ON_CPU)


@pytest.mark.parametrize('value', [0, -1.0, float('nan'), float('inf')])
def test_temperature_must_be_above_0(value):
    with pytest.raises(ValueError, match='`confidence_temperature` must be above 0 and finite'):
        DCFMConfig(backbone='mit_b0', num_classes=3, confidence_temperature=value)


@pytest.mark.slow
def test_command_writes_what_engine_and_evaluation_take(drive, tmp_path):
    output = tmp_path / 'calibrated.safetensors'
    data = ('--root', drive.parent, '--dataset', 'synthetic', '--split', 'all')
    fp32 = ('--device', 'cpu', '--precision', 'fp32')
    done = dcfm('calibrate', *data, '--interval', 2, *fp32, '--output', output)
    assert done.returncode == 0, done.stderr
    was, now = read_metadata(find_checkpoint('default')), read_metadata(output)
    record = now.training['calibrated']
    temperature = now.config.confidence_temperature
    assert record['temperature'] == temperature != 1
    assert f'temperature {temperature:.3f}' in done.stdout
    assert now.config == replace(was.config, confidence_temperature=temperature)
    assert was.training.items() <= now.training.items()
    old, new = load_file(find_checkpoint('default')), load_file(output)
    assert old.keys() == new.keys()
    assert all(old[key].dtype == new[key].dtype for key in old)
    assert all(np.array_equal(old[key], new[key]) for key in old)
    rows = {}
    for checkpoint in ('default', output):
        path = tmp_path / 'figures.json'
        rest = ('--intervals', '2', '--no-streaming', '--no-floors', '--json', path)
        done = dcfm('evaluate', *data, '--checkpoint', checkpoint, *fp32, *rest)
        assert done.returncode == 0, done.stderr
        (rows[checkpoint],) = json.loads(path.read_text())['rows']
    assert rows['default']['miou'] == rows[output]['miou']
    assert rows['default']['ece'] == pytest.approx(record['ece_before'], abs=0.01)
    assert rows[output]['ece'] == pytest.approx(record['ece_after'], abs=0.01)
    assert rows[output]['ece'] != rows['default']['ece']


@pytest.mark.parametrize('backend', ['torch', 'openvino'])
def test_confidence_is_that_of_logits_divided_by_the_temperature(clips, tmp_path, backend):
    if backend == 'openvino':
        pytest.importorskip('openvino')
    net = load_checkpoint(find_checkpoint('default'))
    net.config = replace(net.config, confidence_temperature=2.0)
    save_checkpoint(tmp_path / 'net.safetensors', net)
    options = EngineOptions(device='cpu', backend=backend, precision='fp32')
    engine = SegmentationEngine(load_network(tmp_path / 'net.safetensors', options), options)
    image = cv2.imread(str(clips[0].frames[0].image), cv2.IMREAD_COLOR_RGB)
    (in_clip,) = engine.segment_clip([image])
    for result in (engine.step(image, 0), in_clip):
        logits = torch.from_numpy(result.logits).float()
        planes = torch.nn.functional.interpolate(logits, image.shape[:2], mode='bilinear')[0]
        expected = (planes / 2).softmax(0).amax(0).numpy()
        np.testing.assert_allclose(result.confidence, expected, atol=1e-4)
