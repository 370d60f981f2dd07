"""Any bit that flips in a checkpoint or in its graphs is found before it becomes a mask."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
from typing import Any

from checkpoint_files import rewrite
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save
from small_net import make_net

from dcfm_ros.backends.graphs import Graphs, GraphsError, weights_key
from dcfm_ros.models.checkpoint import copy_checkpoint, load_checkpoint, save_checkpoint
from dcfm_ros.models.checkpoint_header import (
    CheckpointError,
    find_checkpoint,
    read_metadata,
    read_weights,
)
from dcfm_ros.models.checksums import data_problem, header_problem, seal


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / 'net.safetensors', make_net(), {'note': 'a'})
    return tmp_path / 'net.safetensors'


def flip(path: Path, place: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << bit
    path.write_bytes(data)


def read_whole(path: Path) -> None:
    read_metadata(path)
    read_weights(path)


def load_in_torch(path: Path) -> None:
    load_checkpoint(path)


def copy(path: Path) -> None:
    metadata = read_metadata(path)
    copy_checkpoint(path, path.with_name('copy'), metadata.config, metadata.training)


@pytest.mark.parametrize('read', [read_whole, load_in_torch, copy])
@pytest.mark.parametrize('share', [0.3, 0.6, 0.999])
def test_a_bit_of_a_weight_is_found(
    checkpoint: Path, read: Callable[[Path], Any], share: float
) -> None:
    read(checkpoint)
    flip(checkpoint, int(share * checkpoint.stat().st_size))
    with pytest.raises(CheckpointError, match=r'net\.safetensors cannot be loaded: its tensors'):
        read(checkpoint)


def test_a_letter_of_a_class_name_is_found(checkpoint: Path) -> None:
    flip(checkpoint, checkpoint.read_bytes().index(b'class 7') + 6)
    with pytest.raises(CheckpointError, match=r'net\.safetensors cannot be loaded: its header'):
        read_metadata(checkpoint)


TENSORS = {'a': np.arange(3, dtype=np.float32), 'b': np.ones((2, 1), np.float16)}


def is_unlike(path: Path) -> bool:
    """Whether a file is read without a problem, and is another than it was."""
    try:
        problem = header_problem(path) or data_problem(path)
        with safe_open(path, 'np') as file:
            metadata = file.metadata() or {}
        found = load_file(path)
    except Exception:
        return False
    is_same = metadata.get('x') == 'y' and found.keys() == TENSORS.keys()
    is_same = is_same and all(
        found[name].dtype == value.dtype and np.array_equal(found[name], value)
        for name, value in TENSORS.items()
    )
    return not is_same and not problem


@pytest.mark.parametrize('is_sealed', [True, False])
def test_every_bit_of_a_file(tmp_path: Path, is_sealed: bool) -> None:
    whole = save(TENSORS, {'x': 'y'})
    whole = seal(whole) if is_sealed else whole
    path, unlike = tmp_path / 'a', 0
    for place in range(8, len(whole)):
        for bit in range(8):
            path.write_bytes(whole)
            flip(path, place, bit)
            unlike += is_unlike(path)
    assert unlike == 0 if is_sealed else unlike > 100


def test_file_of_an_earlier_release_has_none(checkpoint: Path) -> None:
    rewrite(checkpoint)
    read_whole(checkpoint)
    load_checkpoint(checkpoint)
    assert data_problem(checkpoint) == header_problem(checkpoint) == ''


def test_sealing_twice_changes_nothing(checkpoint: Path) -> None:
    data = checkpoint.read_bytes()
    assert seal(data) == data
    length = int.from_bytes(data[:8], 'little')
    assert length % 8 == 0
    assert json.loads(data[8 : 8 + length])['__metadata__']['crc32']


@pytest.mark.parametrize('suffix', ['.graphs', '.int8.graphs'])
def test_a_bit_of_a_graph_is_found(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f'a{suffix}'
    data = find_checkpoint().with_suffix(suffix).read_bytes()
    path.write_bytes(data)
    Graphs.load(path)
    for place in (*range(100, 4000, 300), len(data) // 2, len(data) - 1):
        path.write_bytes(data)
        flip(path, place)
        with pytest.raises(GraphsError, match=path.name):
            Graphs.load(path)


def test_packaged_files_have_checksums() -> None:
    path = find_checkpoint()
    for suffix in ('.safetensors', '.graphs', '.int8.graphs'):
        with safe_open(path.with_suffix(suffix), 'np') as file:
            assert {'crc32', 'crc32_data'} <= file.metadata().keys()
    assert Graphs.load(path.with_suffix('.int8.graphs')).belongs_to == weights_key(path)
