from __future__ import annotations

from pathlib import Path

import pytest
from small_net import make_net
from typer.testing import CliRunner

from dcfm_ros.backends.graphs import Graphs, graph_key
from dcfm_ros.backends.prepared_network import prepare
from dcfm_ros.cli.main import app
from dcfm_ros.deploy.prepare import prepare_checkpoint
from dcfm_ros.models.checkpoint import save_checkpoint

pytestmark = pytest.mark.slow
for library in ('openvino', 'onnx'):
    pytest.importorskip(library)


def test_graphs_lie_beside_the_weights(tmp_path: Path) -> None:
    net = make_net(fuse_channels=32)
    save_checkpoint(tmp_path / 'net.safetensors', net)
    done = CliRunner().invoke(app, ['prepare', str(tmp_path / 'net.safetensors')])
    assert done.exit_code == 0, done.output
    assert f'{tmp_path / "net.graphs"}: ' in done.output
    graphs = Graphs.load(tmp_path / 'net.graphs')
    assert graphs.belongs_to == graph_key(net.config)
    assert graphs.shapes.keys() == net.state_dict().keys()


def test_other_masks_are_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, other = make_net(fuse_channels=32), make_net(fuse_channels=32)
    other.mean = other.mean + 0.2  # as if the exporter had got the normalisation wrong
    save_checkpoint(tmp_path / 'net', net)
    monkeypatch.setattr('dcfm_ros.deploy.prepare.prepare', lambda _: prepare(other))
    with pytest.raises(RuntimeError, match=r'of the pixels agree with PyTorch, at least 99.5%'):
        prepare_checkpoint(tmp_path / 'net', tmp_path / 'net.graphs')
    assert not (tmp_path / 'net.graphs').exists()
