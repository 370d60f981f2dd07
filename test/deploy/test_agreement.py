from __future__ import annotations

import copy

from engines import make_engine
import pytest
from small_net import make_images, make_net

from dcfm_ros.deploy.agreement import compare_masks
from dcfm_ros.recordings.frame import SourceFrame


def test_compared_are_the_masks_of_the_stream() -> None:
    net = make_net()
    frames = [
        SourceFrame(image=image, stamp_ns=number) for number, image in enumerate(make_images(5))
    ]
    assert compare_masks(make_engine(net), make_engine(copy.deepcopy(net)), frames) == (1.0, 5)
    shifted = copy.deepcopy(net)
    shifted.head[-1].weight.data = net.head[-1].weight.data.roll(1, 0)
    assert compare_masks(make_engine(net), make_engine(shifted), frames) == (0.0, 5)
    with pytest.raises(ValueError, match='no frame'):
        compare_masks(make_engine(net), make_engine(net), [])
