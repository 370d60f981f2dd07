"""`Backend`: what the engine asks of whatever runs a network.

Shapes: H W image, K classes, C_f independent channels, h w grid.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.backends.deep_task import DeepTask
from dcfm_ros.backends.warp import Floats, Places


class Backend(ABC):
    """Runs a network, and answers for what it computed.

    Inputs, independent features, common features and logits are opaque: only the backend that
    made them looks inside. It never changes one that it has given away.
    """

    name: str
    """What runs the network now: 'torch' or 'openvino'."""
    device: str
    """Where it runs: 'cpu', or 'cuda:0', ..."""
    failure: str = ''
    """Why another backend than the chosen one runs it; '' otherwise."""
    precision: str = 'fp32'
    """Number format it is computed in: 'fp32', 'bf16', 'fp16' or 'int8'."""

    def for_another_camera(self) -> Backend:
        """A backend for another camera that shares the network; do not use both at once."""
        return self

    def wait(self) -> None:  # noqa: B027  # nothing to do where calls return results
        """Return when the device has finished its work; at once if it works while it is called."""

    # The stages of the network.

    @abstractmethod
    def to_input(self, image: NDArray[np.uint8]) -> Any:
        """RGB (H, W, 3) uint8, contiguous -> what `encode_independent` takes."""

    @abstractmethod
    def encode_independent(self, image: Any) -> Any:
        """Shallow encoder; on every frame.

        Returns:
            The independent feature, and whatever the deep encoder continues from.
        """

    @abstractmethod
    def deep_task(self, independent: Any) -> DeepTask:
        """Deep encoder and whatever else is done on keyframes only, not begun.

        It returns the common feature to cache.
        """

    def encode_common(self, independent: Any) -> Any:
        """The result of `deep_task`, all at once."""
        task = self.deep_task(independent)
        task.run(0, len(task.steps))
        return task.feature

    @abstractmethod
    def decode(self, cached: Sequence[Any], independent: Any) -> Any:
        """Fuse with one common feature, or with two and average the logits (Eq. 7).

        Returns:
            Logits on the feature grid.
        """

    # What is asked of features and logits.

    @abstractmethod
    def grid(self, feature: Any) -> tuple[int, int]:
        """(h, w) of logits, or of the finest part of a common feature."""

    @abstractmethod
    def warp(self, feature: Any, at: Places) -> Any:
        """Sample every vector of a common feature bilinearly at other places of its `grid`.

        Borders are repeated; see `warp_vectors`.
        """

    @abstractmethod
    def blend(self, logits: Any, earlier: Any, at: Places, weight: Floats) -> Any:
        """A weighted mean of the logits of two frames; see `blend_planes`.

        Args:
            logits: Of a frame.
            earlier: Of another frame, on the same grid.
            at: Where the content of every place was in that frame.
            weight: Of the earlier logits, (h, w), in [0, 1].
        """

    @abstractmethod
    def digest(self, independent: Any) -> NDArray[np.float32]:
        """What an adaptive schedule keeps of an independent feature; see `feature_change.digest`.

        Returns:
            (h / 8, w / 8, C_f), rounded up; an array of its own.
        """

    @abstractmethod
    def class_mask(self, logits: Any, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Class of every pixel, (H, W): argmax of the logits, resized bilinearly to `size`."""

    @abstractmethod
    def confidence_map(
        self, logits: Any, size: tuple[int, int], temperature: float = 1.0
    ) -> NDArray[np.float32]:
        """Softmax probability of the class that `class_mask` chooses, (H, W) in (0, 1].

        The logits are divided by `temperature` first.
        """

    @abstractmethod
    def to_array(self, logits: Any) -> NDArray[Any]:
        """Logits for callers outside, (1, K, h, w); float32 or float64."""
