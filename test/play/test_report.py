from __future__ import annotations

from dcfm_ros.play.report import summarise
from dcfm_ros.ros.frame_timing import FrameTiming


def test_share_of_the_node_is_the_latency_without_the_engine() -> None:
    engine = {'preprocess': 1.0, 'independent': 9.0, 'common': 30.0, 'decode': 4.0, 'mask': 4.0}
    timings = [
        FrameTiming(latency_ms=50.0, wait_ms=1.0, stage_ms={'convert': 0.5, **engine}),
        FrameTiming(
            latency_ms=20.0,
            wait_ms=2.0,
            stage_ms={'decode_image': 1.5, 'independent': 9.0, 'decode': 4.0, 'mask': 3.0},
        ),
    ]
    found = summarise(timings)
    assert found['frames'] == 2
    assert (found['share_ms']['p50'], found['share_ms']['max']) == (3.0, 4.0)
    assert found['latency_ms']['max'] == 50.0
    assert (found['wait_ms']['max'], found['convert_ms']['max']) == (2.0, 1.5)
