"""A network of somebody else, in the parts that an engine runs, through every backend."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
import torch.nn.functional as F

from dcfm_ros.backends.choice import make_backend
from dcfm_ros.backends.graph_backend import GraphBackend
from dcfm_ros.backends.interface import Backend
from dcfm_ros.backends.torch_backend import TorchBackend
from dcfm_ros.backends.warp import places
from dcfm_ros.engine import EngineOptions, ScheduleOptions, SegmentationEngine
from dcfm_ros.models.backbone import DeepState, Independent
from dcfm_ros.models.config import NetworkConfig
from dcfm_ros.models.staged import StagedNetwork
from test.support.engines import StagesRunner, make_images

CPU = torch.device('cpu')


class OwnNetwork(StagedNetwork):
    """Two features of every frame, at strides 2 and 4; two of a keyframe, at strides 4 and 8."""

    def __init__(self, *, is_chain: bool = True, num_classes: int = 5) -> None:
        super().__init__()
        self.config = NetworkConfig(
            num_classes=num_classes, motion='flow', image_mean=(0.4,) * 3, image_std=(0.2,) * 3
        )
        self.is_chain = is_chain
        for name in ('mean', 'std'):
            values = torch.tensor(getattr(self.config, f'image_{name}')).view(1, 3, 1, 1)
            self.register_buffer(name, values, persistent=False)
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU())
        self.stage = nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU())
        self.deep_1 = nn.Sequential(nn.Conv2d(8, 10, 3, 1, 1), nn.ReLU())
        self.deep_2 = nn.Sequential(nn.Conv2d(10, 12, 3, 2, 1), nn.ReLU())
        self.head = nn.Conv2d(6 + 8 + 10 + 12, num_classes, 1)

    def shallow(self, image: Tensor) -> Independent:
        fine = self.stem(image)
        feature = self.stage(fine)
        return Independent(feature, feature if self.is_chain else feature * 1, (fine,))

    def start(self, independent: Independent) -> DeepState:
        return DeepState(independent.state, independent.skips)

    def deep_steps(self) -> list[Any]:
        return [self._first, self._second]

    def _first(self, state: DeepState) -> DeepState:
        return DeepState(self.deep_1(state.x), state.stages)

    def _second(self, state: DeepState) -> DeepState:
        return DeepState(self.deep_2(state.x), (*state.stages, state.x))

    def to_cached(self, deep: DeepState) -> tuple[Tensor, ...]:
        return deep.x, deep.stages[-1]

    def decode(self, cached: Sequence[Tensor], independent: Independent) -> Tensor:
        (fine,) = independent.skips
        size = fine.shape[-2:]
        parts = [fine, *(F.interpolate(x, size) for x in (independent.feature, *cached))]
        return self.head(torch.cat(parts, 1))

    def forward(self, image: Tensor) -> Tensor:
        independent = self.encode_independent(image)
        deep: Any = self.start(independent)
        for step in self.deep_steps():
            deep = step(deep)
        return self.decode(self.to_cached(deep), independent)


def make_network(*, is_chain: bool = True) -> OwnNetwork:
    torch.manual_seed(0)
    net = OwnNetwork(is_chain=is_chain).eval()
    nn.init.uniform_(net.stem[1].running_mean, -0.2, 0.2)
    nn.init.uniform_(net.stem[1].running_var, 0.5, 2.0)
    return net


def backends(net: OwnNetwork, num_slices: int) -> dict[str, Backend]:
    return {
        'torch': make_backend(net, 'cpu', 'torch'),
        'graphs': GraphBackend(TorchBackend(net, CPU), StagesRunner(), num_slices=num_slices),
        'openvino': make_backend(net, 'cpu', 'openvino', 'fp32', num_slices=num_slices),
    }


@pytest.mark.parametrize('is_chain', [True, False])
@pytest.mark.parametrize('num_slices', [1, 3])
@pytest.mark.parametrize('name', ['torch', 'graphs', 'openvino'])
def test_a_keyframe_has_the_logits_of_the_whole_network(
    name: str, num_slices: int, is_chain: bool
) -> None:
    net = make_network(is_chain=is_chain)
    backend = backends(net, num_slices)[name]
    for size in ((48, 64), (51, 70)):
        for image in make_images(2, size):
            independent = backend.encode_independent(backend.to_input(image))
            common = backend.encode_common(independent)
            planes = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
            with torch.no_grad():
                expected = net(planes).numpy()
            logits = backend.to_array(backend.decode([common], independent))
            np.testing.assert_allclose(logits, expected, atol=1e-4)
            assert backend.grid(common) == independent.feature.shape[slice(2, 4)] or (
                name == 'openvino' and backend.grid(common) == independent.feature.shape[1:3]
            )
    assert not backend.failure


@pytest.mark.parametrize('name', ['torch', 'graphs', 'openvino'])
def test_every_cached_feature_moves_on_its_own_grid(name: str) -> None:
    net, (image,) = make_network(), make_images(1, (64, 96))
    backend = backends(net, 1)[name]
    independent = backend.encode_independent(backend.to_input(image))
    common = backend.encode_common(independent)
    flow = np.zeros((32, 48, 2), np.float32)
    flow[..., 0] = 8  # 16 pixels of the image: 2 places of the coarse grid, 4 of the fine one
    moved = backend.warp(common, places(flow, backend.grid(common)))
    for before, after, shift in zip(common, moved, (2, 4), strict=True):
        before, after = (np.asarray(x) for x in (before, after))
        axis = 3 if name != 'openvino' else 2
        width = before.shape[axis]
        taken = np.take(before, range(shift, width), axis)
        np.testing.assert_allclose(np.take(after, range(width - shift), axis), taken, atol=1e-5)


@pytest.mark.parametrize('execution', ['sync', 'amortised'])
@pytest.mark.parametrize('backend', ['torch', 'openvino'])
def test_an_engine_runs_it_and_a_reset_network_gives_the_same(
    backend: str, execution: str
) -> None:
    net, images = make_network(), make_images(7, (64, 96))
    options = EngineOptions(device='cpu', backend=backend, precision='fp32', execution=execution)
    engine = SegmentationEngine(net, options, ScheduleOptions(keyframe_interval=3))
    masks = [engine.step(image, i * 10**8).mask for i, image in enumerate(images)]
    whole = make_backend(net, 'cpu', 'torch')
    independent = whole.encode_independent(whole.to_input(images[0]))
    logits = whole.decode([whole.encode_common(independent)], independent)
    np.testing.assert_array_equal(masks[0], whole.class_mask(logits, (64, 96)))
    assert engine.in_effect.motion == 'flow'
    other = engine.for_another_camera()
    again = [other.step(image, i * 10**8).mask for i, image in enumerate(images)]
    np.testing.assert_array_equal(masks, again)


def test_its_masks_are_not_blended_unless_asked_for() -> None:
    net, images = make_network(), make_images(4, (64, 96))
    every = ScheduleOptions(keyframe_interval=1)

    def masks(**how: Any) -> list[np.ndarray]:
        options = EngineOptions(device='cpu', precision='fp32', **how)
        engine = SegmentationEngine(net, options, every)
        return [engine.step(image, i * 10**8).mask for i, image in enumerate(images)]

    np.testing.assert_array_equal(masks(), masks(mask_blending=0.0))
    assert (np.array(masks()) != np.array(masks(mask_blending=0.9))).any()


@pytest.mark.parametrize('mode', ['both', 'past'])
def test_clips_use_all_cached_features(mode: str) -> None:
    net, images = make_network(), make_images(7, (64, 96))
    schedule = ScheduleOptions(keyframe_interval=3)
    found = []
    for backend in ('torch', 'openvino'):
        options = EngineOptions(device='cpu', backend=backend, precision='fp32')
        engine = SegmentationEngine(net, options, schedule)
        found.append([result.mask for result in engine.segment_clip(images, mode=mode)])
    assert np.mean(np.array(found[0]) == np.array(found[1])) > 0.999


def test_pytorch_goes_on_where_openvino_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    net, images = make_network(), make_images(6, (64, 96))
    schedule = ScheduleOptions(keyframe_interval=3)
    exact = EngineOptions(device='cpu', backend='torch')
    expected = SegmentationEngine(net, exact, schedule)
    options = EngineOptions(device='cpu', backend='openvino', precision='fp32')
    engine = SegmentationEngine(net, options, schedule)
    for number, image in enumerate(images):
        if number == 4:
            (size,) = engine.backend._network.sizes.values()

            def fail(arrays: object) -> dict[str, Any]:
                raise RuntimeError('broken')

            object.__setattr__(size, 'decoders', {1: fail})
        with pytest.warns(RuntimeWarning, match='broken') if number == 4 else nullcontext():
            mask = engine.step(image, number * 10**8).mask
        assert np.mean(mask == expected.step(image, number * 10**8).mask) > 0.999
    assert engine.backend.name == 'torch'
