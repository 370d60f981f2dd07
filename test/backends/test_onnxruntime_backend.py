from __future__ import annotations

import sys

from backend_equality import NETS, assert_same, assert_same_stream, make_engine
import pytest
from small_net import make_images, make_net

pytest.importorskip('onnxruntime')
pytest.importorskip('onnx')


@pytest.mark.parametrize(('backbone', 'options'), NETS[:4])
def test_masks_are_those_of_pytorch(backbone, options):
    net = make_net(backbone, fuse_channels=32, **options)
    assert_same_stream(net, 'onnxruntime', count=4, schedule=2)


def test_amortised_masks_and_ages_are_those_of_pytorch():
    assert_same_stream(make_net(fuse_channels=32), 'onnxruntime', execution='amortised')


def test_clip_in_both_directions_is_that_of_pytorch():
    net, images = make_net(head='mlp', fuse_channels=32), make_images(5)
    engine = make_engine(net, 'onnxruntime', schedule=4)
    results = list(engine.segment_clip(images))
    assert engine.backend == 'onnxruntime'
    assert_same(results, list(make_engine(net, 'torch', schedule=4).segment_clip(images)))


def test_where_it_is_not_installed_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(ImportError, match=r'`backend` onnxruntime needs: pip install .*\[speed\]'):
        make_engine(make_net(fuse_channels=32), 'onnxruntime')
