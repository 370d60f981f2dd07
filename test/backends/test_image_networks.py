"""Networks of other libraries through the engine, as a user has them: from files, at any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from source_networks import convert_small
import torch
from torch import nn
import torch.nn.functional as F

from dcfm_ros.backends.torch_backend import TorchBackend
from dcfm_ros.deploy.quantise import quantise_checkpoint
from dcfm_ros.engine import EngineOptions, ScheduleOptions, SegmentationEngine, load_network
from dcfm_ros.images.preprocess import shrink
from dcfm_ros.models.checkpoint_header import read_metadata
from dcfm_ros.recordings.sources import synthetic_frames
from dcfm_ros.synthetic.drive import DriveConfig
from dcfm_ros.training.ablated_network import read_network_metadata

SIZE = (150, 202)
DRIVE = DriveConfig(seed=3, num_frames=6, height=SIZE[0], width=SIZE[1])


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


def make_engine(path: Path, backend: str, interval: int) -> SegmentationEngine:
    how = EngineOptions(device='cpu', backend=backend, precision='fp32')
    return SegmentationEngine(
        load_network(path, how), how, ScheduleOptions(keyframe_interval=interval)
    )


@pytest.mark.slow
@pytest.mark.parametrize('name', ['segformer', 'FPN', 'PAN', 'lraspp'])
def test_engine_gives_the_masks_of_the_library(tmp_path: Path, name: str) -> None:
    path = convert_small(tmp_path, name)
    multiple = read_metadata(path).config.size_multiple
    engines = [make_engine(path, backend, 1) for backend in ('torch', 'openvino')]
    whole = load_network(path, EngineOptions(device='cpu', backend='torch')).eval()
    for frame in synthetic_frames(DRIVE):
        image = shrink(frame.image, 0, multiple)
        with torch.no_grad():
            logits = whole(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)
            best, second = F.interpolate(logits, SIZE, mode='bilinear').topk(2, dim=1).values[0]
            expected = F.interpolate(logits, SIZE, mode='bilinear').argmax(1)[0].numpy()
        is_clear = (best - second > 1e-4 * best.abs().max()).numpy()
        assert is_clear.mean() > 0.95
        for engine in engines:
            mask = engine.step(frame.image, frame.stamp_ns).mask
            np.testing.assert_array_equal(mask[is_clear], expected[is_clear])
    assert [engine.backend.name for engine in engines] == ['torch', 'openvino']


@pytest.mark.slow
@pytest.mark.parametrize('name', ['segformer', 'FPN'])
def test_backends_agree_between_keyframes(tmp_path: Path, name: str) -> None:
    path = convert_small(tmp_path, name)
    engines = [make_engine(path, backend, 3) for backend in ('torch', 'openvino')]
    for frame in synthetic_frames(DRIVE):
        one, other = (engine.step(frame.image, frame.stamp_ns).mask for engine in engines)
        assert np.mean(one == other) > 0.999


@pytest.mark.slow
@pytest.mark.parametrize('name', ['segformer', 'FPN'])
def test_encoders_in_int8(tmp_path: Path, name: str) -> None:
    path = convert_small(tmp_path, name)
    frames = synthetic_frames(DriveConfig(seed=3, num_frames=16, height=150, width=202))
    done = quantise_checkpoint(path, path.with_suffix('.int8.graphs'), frames, 'a drive')
    assert done.num_calibrated == 8
    how = EngineOptions(device='cpu', precision='int8')
    engine = SegmentationEngine(load_network(path, how), how)
    for frame in synthetic_frames(DRIVE):
        engine.step(frame.image, frame.stamp_ns)
    assert (engine.backend.precision, engine.backend.failure) == ('int8', '')


def test_networks_with_other_classes_have_graphs_of_their_own(tmp_path: Path) -> None:
    for count in (5, 7):
        path = convert_small(tmp_path, 'segformer', num_classes=count)
        engine = make_engine(path, 'openvino', 3)
        (frame,) = synthetic_frames(DriveConfig(num_frames=1, height=48, width=64))
        assert engine.step(frame.image, 0).logits.shape[1] == count


def test_evaluation_reads_them(tmp_path: Path) -> None:
    path = convert_small(tmp_path, 'segformer')
    assert read_network_metadata(path).config == read_metadata(path).config


def test_batch_norms_of_the_encoder_alone_are_folded(tmp_path: Path) -> None:
    # A decoder's weights are used in parts as well, which folding does not see.
    path = convert_small(tmp_path, 'DeepLabV3Plus')
    net = load_network(path, EngineOptions(device='cpu', backend='torch'))
    folded = TorchBackend(net, 'cpu').net
    left = {name for name, part in folded.named_modules() if isinstance(part, nn.BatchNorm2d)}
    before = {name for name, part in net.named_modules() if isinstance(part, nn.BatchNorm2d)}
    assert left == {name for name in before if name.startswith('decoder.')}
    assert len(before) > len(left)
