"""The stages of a network as functions from tensors to tensors, for capture or export.

All call what `TorchBackend` runs. Shapes: B batch, H W image, C channels, h w grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from dcfm_ros.backends.deep_task import DeepTask, slice_ends
from dcfm_ros.backends.torch_backend import TorchBackend
from dcfm_ros.models.backbone import DeepState, Independent

Tensors = Sequence[Tensor]
Stage = Callable[..., Tensors]


def shallow_stage(backend: TorchBackend) -> Stage:
    """Image (B, H, W, 3) uint8 -> independent feature, and the state if that is another tensor.

    Includes scaling and normalisation, so that no float image is needed.
    """
    net = backend.net
    scale, shift = (1 / (255 * net.std)).float(), (-net.mean / net.std).float()
    dtype = next(net.parameters()).dtype

    def run(image: Tensor) -> list[Tensor]:
        normalised = image.permute(0, 3, 1, 2).float() * scale + shift
        feature, state = net.encoder.shallow(normalised.to(dtype))
        last = feature.contiguous(memory_format=torch.channels_last)
        return [last] if state is feature else [last, state]

    return run


def deep_stages(
    backend: TorchBackend,
    independent: Independent,
    num_slices: int,
    time_steps: Callable[[Independent], Sequence[float]],
) -> Iterator[Stage]:
    """The deep encoder and the common half of the fusion, in slices of about equal duration.

    The first takes the state, each other the output of the one before it; the last returns the
    projected common feature. Run each before asking for the next one.

    Args:
        backend: Provides the steps.
        independent: Of an image of the wanted size.
        num_slices: How many; fewer if there are fewer steps.
        time_steps: Measures each step; called only if there are several slices.
    """
    steps = backend.deep_task(independent).steps
    ends = [len(steps)]
    if num_slices > 1:
        ends = sorted(set(slice_ends(tuple(time_steps(independent)), num_slices)))
    encoder = backend.net.encoder
    rebuild: _Rebuild = lambda tensors: encoder.start(tensors[0])  # noqa: E731
    for begin, end in pairwise([0, *ends]):
        stage = _Slice(steps[begin:end], rebuild)
        yield stage
        rebuild = stage.rebuild_output


def decode_stage(backend: TorchBackend) -> Stage:
    """Independent feature and one or two common features -> logits on the grid."""

    def run(feature: Tensor, *cached: Tensor) -> list[Tensor]:
        independent = Independent(feature, feature)
        logits = backend.decode(cached, independent)
        return [logits.contiguous()]  # planes: `class_mask` needs them

    return run


def frame_stage(backend: TorchBackend, *, is_keyframe: bool) -> Stage:
    """A whole frame, from the image to logits on the grid.

    For a keyframe it also returns the projected common feature; for a non-key frame it takes one.
    """
    shallow = shallow_stage(backend)
    decode = decode_stage(backend)

    def run(image: Tensor, *cached: Tensor) -> list[Tensor]:
        outputs = shallow(image)
        independent = Independent(outputs[0], outputs[-1])
        if not is_keyframe:
            return [*decode(independent.feature, *cached)]
        common = backend.encode_common(independent)
        return [*decode(independent.feature, common), common.contiguous()]

    return run


_Rebuild = Callable[[Tensors], Any]


class _Slice:
    """Some steps of the deep encoder, from the tensors of a state to those of another."""

    def __init__(self, steps: Sequence[Callable[[Any], Any]], rebuild: _Rebuild) -> None:
        self._steps = steps
        self._rebuild = rebuild
        self.rebuild_output: _Rebuild = rebuild
        """Reassembles the state after these steps; set when they run."""

    def __call__(self, *tensors: Tensor) -> Tensors:
        task = DeepTask(self._steps, self._rebuild(tensors))
        task.run(0, len(self._steps))
        given, self.rebuild_output = _apart(task.state)
        return given


def _apart(state: DeepState | Tensor) -> tuple[list[Tensor], _Rebuild]:
    """The distinct tensors of a state between two steps, and how to reassemble it."""
    if isinstance(state, Tensor):
        return [state], lambda tensors: tensors[0]
    parts = [state.x, *state.stages]
    unique = list({id(part): part for part in parts}.values())
    places = [next(i for i, x in enumerate(unique) if x is part) for part in parts]

    def rebuild(tensors: Sequence[Tensor]) -> DeepState:
        x, *stages = (tensors[place] for place in places)
        return DeepState(x, tuple(stages))

    return unique, rebuild
