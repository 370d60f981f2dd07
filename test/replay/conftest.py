from __future__ import annotations

import pytest
from small_net import make_net
from small_recording import make_frames, make_options, replay

from dcfm_ros.models.checkpoint import save_checkpoint
from dcfm_ros.recordings.bag_writer import write_bag


@pytest.fixture(scope='session')
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp('net') / 'net.safetensors'
    save_checkpoint(path, make_net(), training={})
    return path


@pytest.fixture(scope='session')
def small_bag(tmp_path_factory):
    path = tmp_path_factory.mktemp('bags') / 'drive'
    write_bag(path, make_frames())
    return path


@pytest.fixture(scope='session')
def run(small_bag, weights, tmp_path_factory):
    """A replay with labels and fidelity."""
    options = make_options(weights, fidelity=True)
    return replay(small_bag, tmp_path_factory.mktemp('run'), options)
