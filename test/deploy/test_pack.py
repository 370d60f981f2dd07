"""A checkpoint in half precision: what may be halved, and when it is not written."""

from __future__ import annotations

import copy
from pathlib import Path

from command import dcfm
import cv2
import pytest
from safetensors.torch import load_file
import torch
from torch import nn

from dcfm_ros.deploy.pack import pack_checkpoint
from dcfm_ros.models.checkpoint import load_checkpoint, save_checkpoint, storage_problem
from dcfm_ros.models.checkpoint_header import CheckpointError, read_metadata
from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.recordings.sources import SourceFrame, synthetic_frames
from dcfm_ros.synthetic.drive import DriveConfig


@pytest.fixture(scope='module')
def frames() -> list[SourceFrame]:
    return list(synthetic_frames(DriveConfig(num_frames=5, height=96, width=128)))


@pytest.fixture
def net() -> DCFM:
    torch.manual_seed(0)
    config = DCFMConfig(backbone='timm:mobilenetv4_conv_small', num_classes=3, fuse_channels=32)
    return DCFM(config).eval()


def batch_norms(net: DCFM) -> list[tuple[str, nn.BatchNorm2d]]:
    return [(name, m) for name, m in net.named_modules() if isinstance(m, nn.BatchNorm2d)]


def nearly_tied(net: DCFM) -> DCFM:
    """The same with rows of the classifier that only float32 tells apart."""
    tied = copy.deepcopy(net)
    weight = tied.head[-1].weight.data
    weight[1] = weight[0] * (1 + 1e-5)  # wins where the sum is positive
    weight[2] = weight[0] * (1 - 1e-5)  # and where it is negative
    return tied


@pytest.fixture
def saved(net: DCFM, tmp_path: Path) -> Path:
    path = tmp_path / 'net.safetensors'
    save_checkpoint(path, net, {'image_height': 48, 'steps': 7})
    return path


@pytest.mark.parametrize(
    ('value', 'problem'),
    [
        ([1.0, -0.3, 0.0, 65504.0], ''),
        ([1.0, 7e4], 'values up to 7e+04, above 65504'),
        ([1.0, -3e-7], 'values down to 3e-07, below 6.1e-05'),
        ([[1.0, -3e-7]], ''),  # a weight of nothing beside the others
        ([[3e-7, 2e-7]], 'values down to 2e-07, below 6.1e-05'),
        ([[1.0, 7e4]], 'values up to 7e+04, above 65504'),
        ([[0.0, 0.0]], ''),
    ],
)
def test_what_half_precision_cannot_hold(value: list[object], problem: str) -> None:
    assert storage_problem(torch.tensor(value), torch.float16) == problem


def test_statistics_out_of_range_survive_half_precision(net: DCFM, tmp_path: Path) -> None:
    (large, first), (small, second), (usual, _) = batch_norms(net)[:3]
    first.running_var[0], second.running_var[0] = 1e6, 1e-9
    save_checkpoint(tmp_path / 'half', net, dtype=torch.float16)
    stored = load_file(tmp_path / 'half')
    kept = {key for key, value in stored.items() if value.dtype == torch.float32}
    assert kept == {f'{large}.running_var', f'{small}.running_var'}
    assert stored[f'{usual}.running_var'].dtype == torch.float16
    loaded = load_checkpoint(tmp_path / 'half').state_dict()
    assert torch.equal(loaded[f'{large}.running_var'], first.running_var)
    assert torch.equal(loaded[f'{small}.running_var'], second.running_var)


def test_packed_file_is_half_and_says_what_was_compared(
    saved: Path, frames: list[SourceFrame], tmp_path: Path
) -> None:
    output = tmp_path / 'new' / 'half.safetensors'
    record = pack_checkpoint(saved, output, frames, 'a drive', 'cpu')
    assert 0.999 <= record.pop('agreement') <= 1
    assert record == {'dtype': 'float16', 'frames': 5, 'source': 'a drive', 'float32': {}}
    assert output.stat().st_size < 0.6 * saved.stat().st_size
    training = read_metadata(output).training
    assert training.pop('packed').keys() == {*record, 'agreement'}
    assert training == {'image_height': 48, 'steps': 7}


def test_tensor_that_stays_is_told_with_its_reason(
    net: DCFM, frames: list[SourceFrame], tmp_path: Path
) -> None:
    name, norm = batch_norms(net)[0]
    norm.bias.data[0] = 1e-6
    save_checkpoint(tmp_path / 'net', net)
    record = pack_checkpoint(tmp_path / 'net', tmp_path / 'half', frames, '', 'cpu')
    reason = 'values down to 1e-06, below 6.1e-05'
    assert record['float32'] == {f'{name}.bias': reason}


def test_other_masks_are_refused_and_nothing_is_written(
    net: DCFM, frames: list[SourceFrame], tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / 'net', nearly_tied(net))
    with pytest.raises(CheckpointError, match=r'equal the old ones in \d+\.\d+% .* 99\.9%'):
        pack_checkpoint(tmp_path / 'net', tmp_path / 'half', frames, '', 'cpu')
    assert [path.name for path in tmp_path.iterdir()] == ['net']


def test_command_packs_on_frames_of_a_folder(
    saved: Path, frames: list[SourceFrame], tmp_path: Path
) -> None:
    (tmp_path / 'images').mkdir()
    for index, frame in enumerate(frames[:2]):
        cv2.imwrite(str(tmp_path / 'images' / f'{index}.png'), frame.image[..., ::-1])
    output = tmp_path / 'half.safetensors'
    run = dcfm('pack', saved, '--output', output, '--frames', tmp_path / 'images')
    assert run.returncode == 0, run.stderr
    packed = read_metadata(output).training['packed']
    assert packed['source'] == str(tmp_path / 'images')
    assert f'equal pixels: {packed["agreement"]:.4%} of 2 frames' in run.stdout


def test_command_that_refuses_keeps_the_old_file(net: DCFM, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / 'net', nearly_tied(net), {'image_height': 48})
    (tmp_path / 'half').write_text('old')
    run = dcfm('pack', tmp_path / 'net', '--output', tmp_path / 'half')
    assert run.returncode == 1
    assert 'at least 99.9% are needed; nothing written' in run.stderr
    assert (tmp_path / 'half').read_text() == 'old'
