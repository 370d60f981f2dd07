"""Encoders in int8: how they are written, when they are not, and how they run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
import re
import shutil

from engines import run
import numpy as np
import pytest
from typer.testing import CliRunner

from dcfm_ros.backends import prepared_network
from dcfm_ros.backends.choice import make_backend
from dcfm_ros.backends.graphs import Graphs
from dcfm_ros.cli.main import app
from dcfm_ros.deploy import quantise
from dcfm_ros.engine import EngineOptions, ScheduleOptions, SegmentationEngine, load_network
from dcfm_ros.models.checkpoint_header import find_checkpoint
from dcfm_ros.recordings.sources import synthetic_frames
from dcfm_ros.synthetic.drive import DriveConfig

pytestmark = pytest.mark.slow
for library in ('nncf', 'openvino'):
    pytest.importorskip(library)
CALIBRATION = DriveConfig(seed=1, num_frames=16, height=96, width=128)
INT8 = EngineOptions(device='cpu', precision='int8')


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint and graphs that `dcfm quantise` has made for it, with what that printed."""
    folder = tmp_path_factory.mktemp('quantised')
    packaged = find_checkpoint()
    shutil.copy(packaged, folder / 'net.safetensors')
    drive = folder / 'drive'
    runner = CliRunner()
    size = f'{CALIBRATION.height}x{CALIBRATION.width}'
    count = str(CALIBRATION.num_frames)
    made = runner.invoke(
        app, ['synth', '--output', str(drive), '--size', size, '--frames', count, '--seed', '1']
    )
    assert made.exit_code == 0, made.output
    words = ['quantise', str(folder / 'net.safetensors'), '--calibrate', str(drive / 'frames')]
    done = runner.invoke(app, words)
    assert done.exit_code == 0, done.output
    (folder / 'printed.txt').write_text(done.output)
    return folder


@pytest.fixture(scope='module')
def images() -> list[np.ndarray]:
    drive = DriveConfig(seed=3, num_frames=6, height=90, width=118)  # odd grids
    return [frame.image for frame in synthetic_frames(drive)]


def test_what_was_compared_is_printed_and_decides_for_auto(folder: Path) -> None:
    printed = (folder / 'printed.txt').read_text()
    shares = [float(share) / 100 for share in re.findall(r'(\d+\.\d+)%', printed)]
    assert len(shares) == 2
    is_close = min(shares) >= quantise.LEAST_FOR_AUTO
    assert Graphs.load(folder / 'net.int8.graphs').is_for_auto == is_close
    assert f'--precision auto {"takes" if is_close else "does not take"} it' in printed
    assert 'equal pixels' in printed
    assert 'pedestrian' in printed
    assert 'calibrated on 8 frames' in printed
    assert (folder / 'net.int8.graphs').stat().st_size < 4.5e6


def test_same_frames_give_the_same_file(folder: Path, tmp_path: Path) -> None:
    frames = synthetic_frames(CALIBRATION)
    again = tmp_path / 'again'
    quantise.quantise_checkpoint(folder / 'net.safetensors', again, frames, 'drive')
    assert again.read_bytes() == (folder / 'net.int8.graphs').read_bytes()


def test_masks_are_nearly_those_of_fp32(folder: Path, images: list[np.ndarray]) -> None:
    net = load_network(folder / 'net.safetensors')
    engines = [
        SegmentationEngine(net, EngineOptions(device='cpu', precision=precision))
        for precision in ('fp32', 'int8')
    ]
    assert [engine.backend.precision for engine in engines] == ['fp32', 'int8']
    exact, rounded = ([result.mask for result in run(engine, images)] for engine in engines)
    assert 0.94 < np.mean(np.array(exact) == np.array(rounded)) < 1
    assert engines[1].backend.failure == ''


@pytest.mark.parametrize('size', [None, (90, 118)])
def test_slices_and_any_size_are_as_close_to_fp32_as_the_whole(
    folder: Path, images: list[np.ndarray], size: tuple[int, int] | None
) -> None:
    net = load_network(folder / 'net.safetensors')
    exact, whole = (make_backend(net, 'cpu', precision=name) for name in ('fp32', 'int8'))
    independent = exact.encode_independent(exact.to_input(images[0]))
    (expected,) = exact.encode_common(independent)
    (given,) = whole.encode_common(whole.encode_independent(whole.to_input(images[0])))
    sliced = make_backend(net, 'cpu', precision='int8', num_slices=3)._network
    stages = sliced.compile(size) if size else sliced.for_any_size
    assert len(stages.deep) == 3
    known = {'state': stages.shallow({'image': images[0][None]})['feature']}
    for part in stages.deep:
        known |= part(known)
    # Not equal: a value between two steps of a scale is rounded to one or the other.
    distance, allowed = (np.abs(common - expected).mean() for common in (known['common_0'], given))
    assert 0 < distance < 1.2 * allowed < 0.2 * np.abs(expected).mean()


def test_amortised_stream_runs_in_int8(folder: Path, images: list[np.ndarray]) -> None:
    net = load_network(folder / 'net.safetensors')
    options = EngineOptions(device='cpu', precision='int8', execution='amortised')
    engine = SegmentationEngine(net, options, ScheduleOptions(keyframe_interval=2))
    results = run(engine, images)
    assert [result.keyframe_age for result in results] == [0, 1, 2, 1, 2, 1]
    assert (engine.backend.precision, engine.backend.failure) == ('int8', '')


def test_pytorch_goes_on_in_fp32_if_openvino_fails(
    folder: Path, images: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    net = load_network(folder / 'net.safetensors')
    engine = SegmentationEngine(net, INT8)

    def fail(size: object) -> None:
        raise RuntimeError('no such instruction')

    monkeypatch.setattr(engine.backend._network, 'compile', fail)
    with pytest.warns(RuntimeWarning, match='no such instruction'):
        (result,) = run(engine, images[:1])
    assert (engine.backend.name, engine.backend.precision) == ('torch', 'fp32')
    exact = SegmentationEngine(net, EngineOptions(device='cpu', precision='fp32'))
    assert np.mean(run(exact, images[:1])[0].mask == result.mask) > 0.999


@pytest.mark.parametrize(
    ('is_for_auto', 'has_instructions'), [(True, True), (True, False), (False, True)]
)
def test_auto_takes_what_is_close_where_the_cpu_is_fast_at_it(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_for_auto: bool,
    has_instructions: bool,
) -> None:
    monkeypatch.setattr(prepared_network, 'has_int8_instructions', lambda: has_instructions)
    graphs = replace(Graphs.load(folder / 'net.int8.graphs'), is_for_auto=is_for_auto)
    graphs.save(tmp_path / 'net.int8.graphs')
    net = load_network(shutil.copy(folder / 'net.safetensors', tmp_path))
    engine = SegmentationEngine(net, EngineOptions(device='cpu'))
    assert (engine.backend.precision == 'int8') == (is_for_auto and has_instructions)
    assert SegmentationEngine(net, INT8).backend.precision == 'int8'


def test_masks_that_differ_are_refused_and_nothing_is_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantise, 'LEAST_AGREEMENT', 1.0)
    output = tmp_path / 'net.int8.graphs'
    with pytest.raises(RuntimeError, match=r'agree with fp32, at least 100% are needed; nothing'):
        quantise.quantise_checkpoint(
            folder / 'net.safetensors', output, synthetic_frames(CALIBRATION), 'drive'
        )
    assert not output.exists()


def test_too_few_frames_are_refused(folder: Path, tmp_path: Path) -> None:
    frames = list(synthetic_frames(CALIBRATION))[:7]
    with pytest.raises(ValueError, match='drive has too few frames, at least 8 are needed'):
        quantise.quantise_checkpoint(folder / 'net.safetensors', tmp_path / 'x', frames, 'drive')


@pytest.mark.parametrize(('count', 'kept'), [(3, [0, 1, 2]), (9, [0, 4, 8]), (10, [0, 4, 8])])
def test_many_clips_are_thinned_evenly(count: int, kept: list[int]) -> None:
    assert quantise._spread(iter(range(count)), 3) == kept
