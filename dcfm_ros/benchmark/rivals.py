"""Everything that `dcfm bench` times of one network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from dcfm_ros.backends.device import resolve_device
from dcfm_ros.benchmark.image_network import ImageNetwork
from dcfm_ros.benchmark.interleave import Answer, Rival
from dcfm_ros.benchmark.plain_order import PlainOrder
from dcfm_ros.engine import FrameResult, SegmentationEngine
from dcfm_ros.keyframes.execution import Beside
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.recordings.sources import SourceFrame

MakeEngine = Callable[..., SegmentationEngine]


def plain_rivals(net: DCFM, device: str, frames: Sequence[SourceFrame]) -> list[Rival]:
    """The paper's order; the first and the last of the frames are the keyframes of `nonkey_*`."""
    plain = PlainOrder(net, resolve_device(device))
    past, future = plain.common(frames[0].image), plain.common(frames[-1].image)
    return [
        Rival(what='paper_key', run=lambda frame: plain.key(frame.image)),
        Rival(what='paper_nonkey_past', run=lambda frame: plain.nonkey(frame.image, [past])),
        Rival(
            what='paper_nonkey_both', run=lambda frame: plain.nonkey(frame.image, [past, future])
        ),
    ]


def engine_rivals(
    net: DCFM, make: MakeEngine, frames: Sequence[SourceFrame], intervals: Sequence[int]
) -> list[Rival]:
    """What the engine does, each row by an engine of its own.

    Args:
        net: The network.
        make: Makes an engine of a network and a schedule.
        frames: The rivals will be given all but the last. First and last are the keyframes of the
            rows `nonkey_*`.
        intervals: Keyframe intervals of the streams; the spread one has the longest of them.
    """
    engine = partial(make, net)
    image = make(ImageNetwork(net), schedule=1)
    # Where nothing is moved, as in the plain order, whose masks these are compared with.
    steady = engine(schedule=len(frames) - 1, motion='none')
    clip = steady.segment_clip([frame.image for frame in frames])
    longest = max(intervals)
    return [
        _stream('image_baseline', image),
        _stream('key', engine(schedule=1), same_as='paper_key'),
        _stream('nonkey_past', steady, same_as='paper_nonkey_past'),
        # Its following keyframe is computed while warming up, with the second frame.
        _rival('nonkey_both', steady, lambda frame: next(clip), same_as='paper_nonkey_both'),
        *(_stream(f'sync_k{interval}', engine(schedule=interval)) for interval in intervals),
        _stream(f'amortised_k{longest}', engine(schedule=longest, execution='amortised')),
    ]


def async_rival(net: DCFM, make: MakeEngine, interval: int) -> tuple[Rival, Beside]:
    """The deep encoder in a thread, to be timed alone: it works on while others have their turn.

    Returns:
        The rival, and its thread, to be waited for before anything else is timed.

    Raises:
        ValueError: If the engine does not do that there.
    """
    execution = Beside()
    engine = make(net, schedule=interval, execution=execution)
    return _stream(f'async_k{interval}', engine), execution


def _stream(what: str, engine: SegmentationEngine, same_as: str = '') -> Rival:
    """An engine on the frames of a camera."""
    return _rival(what, engine, lambda frame: engine.step(frame.image, frame.stamp_ns), same_as)


def _rival(
    what: str,
    engine: SegmentationEngine,
    segment: Callable[[SourceFrame], FrameResult],
    same_as: str = '',
) -> Rival:
    def run(frame: SourceFrame) -> Answer:
        result = segment(frame)
        return Answer(result.mask, result.stage_ms, result.keyframe_age)

    return Rival(
        what=what,
        run=run,
        backend=engine.backend,
        failure=lambda: engine.backend_failure,
        precision=engine.precision,
        same_as=same_as,
    )
