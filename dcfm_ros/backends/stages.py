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
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.models.staged import StagedNetwork

Tensors = Sequence[Tensor]
Stage = Callable[..., Tensors]


def shallow_stage(backend: TorchBackend) -> Stage:
    """Image (B, H, W, 3) uint8 -> tensors of `Independent.by_name`."""
    run = _shallow(backend)

    def run_flat(image: Tensor) -> list[Tensor]:
        feature, *others = run(image).by_name().values()
        return [feature.contiguous(memory_format=torch.channels_last), *others]

    return run_flat


def _shallow(backend: TorchBackend) -> Callable[[Tensor], Independent]:
    """The shallow encoder with scaling and normalisation, so that no float image is needed."""
    staged, normalise = backend.staged, normalising(backend.net)
    dtype = next(backend.net.parameters()).dtype
    return lambda image: staged.shallow(normalise(image).to(dtype))


def normalising(net: DCFM | StagedNetwork) -> Callable[[Tensor], Tensor]:
    """From images, (B, H, W, 3) uint8, to what a network computes with, (B, 3, H, W) float32."""
    scale, shift = (1 / (255 * net.std)).float(), (-net.mean / net.std).float()
    return lambda image: image.permute(0, 3, 1, 2).float() * scale + shift


def deep_stages(
    backend: TorchBackend,
    independent: Independent,
    num_slices: int,
    time_steps: Callable[[Independent], Sequence[float]],
) -> Iterator[Stage]:
    """The deep encoder and what follows on keyframes, in slices of about equal duration.

    The first takes the tensors of `Independent.by_name`, each other the output of the one before
    it; the last returns the common feature. Run each before asking for the next one.

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
    names = tuple(independent.by_name())

    def rebuild_first(tensors: Tensors) -> Any:
        named = dict(zip(names, tensors, strict=True))
        return backend.staged.start(Independent.from_names(named))

    rebuild: _Rebuild = rebuild_first
    for begin, end in pairwise([0, *ends]):
        stage = _Slice(steps[begin:end], rebuild)
        yield stage
        rebuild = stage.rebuild_output


def decode_stage(backend: TorchBackend, num_skips: int, num_common: int) -> Stage:
    """Independent feature, skips, and common features -> logits on the grid.

    Args:
        backend: Decodes.
        num_skips: Tensors behind the independent feature.
        num_common: Common features behind these; each may be several tensors.
    """

    def run(feature: Tensor, *others: Tensor) -> list[Tensor]:
        independent = Independent(feature, feature, others[:num_skips])
        cached = others[num_skips:]
        each = len(cached) // num_common
        commons = [cached[i * each : (i + 1) * each] for i in range(num_common)]
        logits = backend.decode(commons, independent)
        return [logits.contiguous()]  # planes: `class_mask` needs them

    return run


def frame_stage(backend: TorchBackend, *, is_keyframe: bool) -> Stage:
    """A whole frame, from the image to logits on the grid.

    For a keyframe it also returns the common feature; for a non-key frame it takes one.
    """
    shallow = _shallow(backend)

    def run(image: Tensor, *cached: Tensor) -> list[Tensor]:
        independent = shallow(image)
        common = backend.encode_common(independent) if is_keyframe else cached
        logits = backend.decode([common], independent).contiguous()
        return [logits, *(one.contiguous() for one in common)] if is_keyframe else [logits]

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


def tensors_of(state: DeepState | Tensors | Tensor) -> list[Tensor]:
    """What a step has left, as a list."""
    if isinstance(state, DeepState):
        return [state.x, *state.stages]
    return [state] if isinstance(state, Tensor) else list(state)


def _apart(state: DeepState | Tensors | Tensor) -> tuple[list[Tensor], _Rebuild]:
    """The distinct tensors of a state between two steps, and how to reassemble it."""
    if isinstance(state, Tensor):
        return [state], lambda tensors: tensors[0]
    parts = tensors_of(state)
    if not isinstance(state, DeepState):
        return parts, tuple
    unique = list({id(part): part for part in parts}.values())
    places = [next(i for i, x in enumerate(unique) if x is part) for part in parts]

    def rebuild(tensors: Sequence[Tensor]) -> DeepState:
        x, *stages = (tensors[place] for place in places)
        return DeepState(x, tuple(stages))

    return unique, rebuild
