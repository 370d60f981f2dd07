"""Everything that `dcfm bench` and the GPU check time of one network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from dcfm_ros.backends.choice import Network
from dcfm_ros.backends.device import resolve_device
from dcfm_ros.backends.interface import Backend
from dcfm_ros.backends.torch_backend import TorchBackend
from dcfm_ros.backends.torch_masks import row_chunks
from dcfm_ros.benchmark.image_baseline import ImageBaseline
from dcfm_ros.benchmark.inputs import Model
from dcfm_ros.benchmark.interleave import LIBRARY, Answer, Rival
from dcfm_ros.benchmark.library_network import LibraryNetwork, LibraryOrder
from dcfm_ros.benchmark.plain_order import PlainOrder
from dcfm_ros.engine import FrameResult, SegmentationEngine
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.models.image_networks.image_network import ImageNetwork
from dcfm_ros.recordings.sources import SourceFrame


def plain_rivals(net: Model, device: str, frames: Sequence[SourceFrame]) -> list[Rival]:
    """The paper's order; the first and the last of the frames are the keyframes of `nonkey_*`.

    Of a network of another library, what that library does.
    """
    if isinstance(net, ImageNetwork):
        whole = LibraryOrder(net, resolve_device(device))
        return [Rival(what=LIBRARY, run=lambda frame: whole.segment(frame.image))]
    plain = PlainOrder(net, resolve_device(device))
    past, future = plain.common(frames[0].image), plain.common(frames[-1].image)

    def rival(what: str, *cached: Tensor) -> Rival:
        return Rival(what=what, run=lambda frame: plain.segment(frame.image, *cached))

    both = rival('paper_nonkey_both', past, future)
    return [rival('paper_key'), rival('paper_nonkey_past', past), both]


def engine_rivals(
    net: Network,
    options: EngineOptions,
    frames: Sequence[SourceFrame],
    intervals: Sequence[int],
    image_network: Model,
) -> list[Rival]:
    """The image baseline and the engine, each row by an engine of its own.

    Rows of one kind of frame move no feature, as the plain order does not; streams do what
    `options` say.

    Args:
        net: The network, as engines load it.
        options: How it is run.
        frames: The rivals get all but the last. First and last are the keyframes of the rows
            `nonkey_*`.
        intervals: Keyframe intervals of the streams; the amortised one has the longest.
        image_network: The network in PyTorch, for the image baseline, which int8 goes without.
    """
    steady = replace(options, motion='none')
    amortised = replace(options, execution='amortised')
    longest = max(intervals)
    nonkey = _engine(net, steady, len(frames) - 1)
    clip = nonkey.segment_clip([frame.image for frame in frames])
    baseline = []
    plain_key = LIBRARY if isinstance(image_network, ImageNetwork) else 'paper_key'
    if nonkey.backend.precision != 'int8':
        baseline = [_rival('image_baseline', _engine(_baseline(image_network), steady, 1))]
    return [
        *baseline,
        _rival('key', _engine(net, steady, 1), plain_key),
        _rival('nonkey_past', nonkey, 'paper_nonkey_past'),
        # Its following keyframe is computed during the warm-up, with the second frame.
        _rival('nonkey_both', nonkey, 'paper_nonkey_both', clip),
        *(_rival(f'sync_k{interval}', _engine(net, options, interval)) for interval in intervals),
        _rival(f'amortised_k{longest}', _engine(net, amortised, longest)),
    ]


def eager_rivals(net: Model, options: EngineOptions, frames: Sequence[SourceFrame]) -> list[Rival]:
    """The rows `key` and `nonkey_past` in PyTorch, kernel by kernel: what CUDA graphs replace.

    Arguments as of `engine_rivals`; the backend of the rows is 'eager'.
    """
    steady = replace(options, motion='none')
    device = resolve_device(options.device)
    backend = TorchBackend(net, device, options.precision)
    rivals = [
        _rival('key', _engine(net, steady, 1, backend), 'paper_key'),
        _rival('nonkey_past', _engine(net, steady, len(frames) - 1, backend), 'paper_nonkey_past'),
    ]
    return [replace(rival, backend='eager') for rival in rivals]


def mask_rivals(logits: Tensor, size: tuple[int, int], precision: str) -> list[Rival]:
    """The mask alone, on the host, from the same logits on every frame: without Triton, and with.

    Args:
        logits: (1, K, h, w), K at most 255.
        size: (H, W) of the mask.
        precision: What the rows say of the logits.

    Raises:
        Exception: Whatever Triton raises where it cannot compile.
    """
    from dcfm_ros.backends.triton_kernel import resized_argmax

    def in_triton() -> Tensor:
        return resized_argmax(logits, size)[0]

    def in_chunks() -> Tensor:
        chunks = row_chunks(logits, size)
        return torch.cat([chunk.argmax(dim=0).to(torch.uint8) for chunk in chunks])

    def rival(what: str, make: Callable[[], Tensor], same_as: str = '') -> Rival:
        def run(frame: SourceFrame) -> Answer:
            return Answer(np.asarray(make().cpu().numpy(), np.uint8), {})

        return Rival(what=what, run=run, precision=precision, same_as=same_as)

    in_triton()  # compiles, or says what is missing
    return [
        rival('mask_in_chunks', in_chunks),
        rival('mask_in_triton', in_triton, same_as='mask_in_chunks'),
    ]


def _baseline(net: Model) -> Network:
    """What runs all of the network on every frame."""
    return LibraryNetwork(net) if isinstance(net, ImageNetwork) else ImageBaseline(net)


def _engine(
    net: Network, options: EngineOptions, interval: int, backend: Backend | None = None
) -> SegmentationEngine:
    # Without time gaps: intervals must be what the row says.
    schedule = ScheduleOptions(keyframe_interval=interval, max_time_gap_s=0)
    return SegmentationEngine(net, options, schedule, backend=backend)


def _rival(
    what: str,
    engine: SegmentationEngine,
    same_as: str = '',
    clip: Iterator[FrameResult] | None = None,
) -> Rival:
    """An engine on the frames of a camera, or the frames of a clip that it segments."""

    def run(frame: SourceFrame) -> Answer:
        result = next(clip) if clip else engine.step(frame.image, frame.stamp_ns)
        return Answer(result.mask, result.stage_ms, result.keyframe_age)

    backend = engine.backend
    return Rival(
        what=what,
        run=run,
        backend=backend.name,
        failure=lambda: backend.failure,
        precision=backend.precision,
        same_as=same_as,
    )
