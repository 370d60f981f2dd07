"""Stages that are prepared for one image size, with PyTorch in place of a library."""

from __future__ import annotations

from weakref import ref

from backend_equality import NETS, assert_same
from engines import CPU, StagesRunner, make_engine
import pytest
from small_net import make_images, make_net
import torch

from dcfm_ros.backends.graph_backend import GraphBackend
from dcfm_ros.backends.torch_backend import DTYPES, TorchBackend


def stream(backend, images, interval=2):
    """Logits of a stream that takes its features from a keyframe every `interval` frames."""
    logits = []
    for index, image in enumerate(images):
        independent = backend.encode_independent(backend.to_input(image))
        if index % interval == 0:
            cached = backend.encode_common(independent)
        logits.append(backend.decode([cached], independent))
    return logits


def assert_close(tensor, expected):
    assert (tensor - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize(
    ('backbone', 'options', 'precision'),
    [*[(*net, 'fp32') for net in NETS], (*NETS[0], 'bf16'), (*NETS[2], 'fp16')],
)
def test_stages_give_what_pytorch_gives(backbone, options, precision):
    net, images = make_net(backbone, **options), make_images(3, (48, 64))
    plain = TorchBackend(net, CPU, precision)
    for num_slices in (1, 3):
        staged = GraphBackend(
            TorchBackend(net, CPU, precision), StagesRunner(precision), num_slices=num_slices
        )
        for one, other in zip(stream(staged, images), stream(plain, images), strict=True):
            assert one.dtype == other.dtype == DTYPES[precision]
            # Images are normalised before they are rounded, not after.
            limit = {'fp32': 1e-4, 'fp16': 0.01, 'bf16': 0.08}[precision]
            assert (one - other).abs().max() <= limit * other.abs().max()
        assert not staged.failure


def test_two_features_and_another_camera_use_the_same_stages():
    net, images = make_net(), make_images(2, (48, 64))
    plain, runner = TorchBackend(net, CPU), StagesRunner()
    first = GraphBackend(TorchBackend(net, CPU), runner)
    expected = [plain.encode_independent(plain.to_input(image)) for image in images]
    both = [plain.encode_common(independent) for independent in expected]
    for index, camera in enumerate([first, first.for_another_camera()]):
        independent = camera.encode_independent(camera.to_input(images[index]))
        assert_close(camera.encode_common(independent)[0], both[index][0])
        assert_close(camera.decode(both, independent), plain.decode(both, expected[index]))
    assert len(runner.prepared) == 3


def test_two_sizes_have_graphs_and_a_third_earns_them():
    net, runner = make_net(), StagesRunner()
    engine = make_engine(backend=GraphBackend(TorchBackend(net, CPU), runner))
    other = make_engine(net)
    a, b, c = (make_images(1, size)[0] for size in ((40, 56), (56, 40), (48, 48)))
    counts = []
    for index, image in enumerate([a, b, a, c, b, *[c] * 30, a]):
        assert_same([engine.step(image, index)], [other.step(image, index)])
        counts.append(len(runner.prepared))
    assert counts == [3, 6, 6, 6, 6, *[6] * 29, 9, 9]
    assert engine.backend.failure == ''


class NoRoomForTheDecoder(StagesRunner):
    """As if a GPU were full by the time that the last stage is prepared."""

    def __init__(self):
        super().__init__()
        self.taken = []

    def prepare(self, stage, inputs):
        if len(inputs) < 2:
            ready, outputs = super().prepare(stage, inputs)
            self.taken.append(ref(ready))
            return ready, outputs
        memory = torch.zeros(10)
        self.taken.append(ref(memory))
        raise torch.OutOfMemoryError('Tried to allocate 2 GiB')


def test_pytorch_goes_on_with_the_memory_of_the_graphs(monkeypatch):
    plain, runner = TorchBackend(make_net(), CPU), NoRoomForTheDecoder()
    backend = GraphBackend(plain, runner)
    decode, left = plain.decode, []

    def decode_with_what_is_left(*arguments):
        left.append([taken() for taken in runner.taken])
        return decode(*arguments)

    monkeypatch.setattr(plain, 'decode', decode_with_what_is_left)
    with pytest.warns(RuntimeWarning, match='Tried to allocate 2 GiB'):
        assert len(stream(backend, make_images(2))) == 2
    assert left == [[None] * 3] * 2


@pytest.mark.parametrize('num_slices', [2, 4])
def test_slices_are_cut_by_what_the_runner_measures(num_slices):
    class Timed(StagesRunner):
        def time_steps(self, backend, independent):
            self.num_steps = len(backend.deep_task(independent).steps)
            return [1.0] * (self.num_steps - 1) + [1000.0]

    runner = Timed()
    backend = GraphBackend(TorchBackend(make_net(), CPU), runner, num_slices=num_slices)
    task = backend.deep_task(backend.encode_independent(backend.to_input(make_images(1)[0])))
    assert 2 <= len(task.steps) <= num_slices
    task.run(0, len(task.steps) - 1)
    # Only the projection is left, whose input has the channels of the common feature.
    (common,) = task.state
    assert common.shape[1] == backend.net.common_channels
    assert_close(common.norm(dim=1), torch.ones_like(common[:, 0]))
