"""What the network is computed in, and stages that are prepared for one size of image."""

from __future__ import annotations

import gc
from weakref import ref

from backend_equality import NETS, make_engine, run
import numpy as np
import pytest
from small_net import make_images, make_net
import torch

from dcfm_ros.backends.choice import make_backend
from dcfm_ros.backends.graph_backend import GraphBackend
from dcfm_ros.backends.torch_backend import DTYPES, TorchBackend
from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.models.dcfm import normalise

HALVES = ['bf16', 'fp16']
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')


class StagesOfOneSize(GraphBackend):
    """Stages as a GPU replays them, but computed anew: no library between them and PyTorch."""

    name = runner = 'stages'

    def to_input(self, image):
        return torch.from_numpy(image)[None]

    def prepare(self, stage, inputs, threads):
        run_stage = torch.inference_mode()(lambda *tensors: list(stage(*tensors)))
        return run_stage, run_stage(*inputs)


def stream(backend, images, interval=2):
    """Logits of a stream that takes its features from a keyframe every so many frames."""
    logits = []
    for index, image in enumerate(images):
        independent = backend.encode_independent(backend.to_input(image))
        is_keyframe = index % interval == 0
        if is_keyframe:
            cached = backend.encode_common(independent)
        logits.append(backend.decode([cached], independent, is_keyframe=is_keyframe))
    return logits


@pytest.mark.parametrize(
    ('backbone', 'options', 'precision'),
    [*[(*net, 'fp32') for net in NETS], (*NETS[0], 'bf16'), (*NETS[2], 'fp16')],
)
def test_stages_give_what_pytorch_gives(backbone, options, precision):
    net, images = make_net(backbone, **options), make_images(3, (48, 64))
    plain = TorchBackend(net, torch.device('cpu'), precision)
    for num_slices in (1, 3):
        staged = StagesOfOneSize(
            TorchBackend(net, torch.device('cpu'), precision), num_slices=num_slices
        )
        for one, other in zip(stream(staged, images), stream(plain, images), strict=True):
            assert one.dtype == other.dtype == DTYPES[precision]
            # Images are normalised before they are rounded, not after.
            limit = {'fp32': 1e-4, 'fp16': 0.01, 'bf16': 0.08}[precision]
            assert (one - other).abs().max() <= limit * other.abs().max()
        assert not staged.failure


@pytest.mark.parametrize('precision', DTYPES)
def test_features_of_no_length_give_no_nan(precision):
    nothing = torch.zeros(1, 8, 4, 4, dtype=DTYPES[precision])
    assert (normalise(nothing) == 0).all()
    net = make_net()
    backend = TorchBackend(net, torch.device('cpu'), precision)
    independent = backend.encode_independent(backend.to_input(make_images(1, (32, 48))[0]))
    cached = torch.full_like(backend.encode_common(independent), -1e3)  # nothing after the ReLU
    assert backend.decode([cached], independent, is_keyframe=False).isfinite().all()


@pytest.mark.parametrize('precision', HALVES)
def test_mean_and_deviation_of_images_are_not_rounded(precision):
    net = make_net()
    backend = TorchBackend(net, torch.device('cpu'), precision)
    torch.testing.assert_close(backend.net.mean, net.mean, rtol=0, atol=0)
    torch.testing.assert_close(backend.net.std, net.std, rtol=0, atol=0)


def test_two_features_and_another_camera_are_staged_too():
    net, images = make_net(), make_images(2, (48, 64))
    plain = TorchBackend(net, torch.device('cpu'))
    staged = StagesOfOneSize(TorchBackend(net, torch.device('cpu')))
    cameras = [staged, staged.for_another_camera()]
    expected = plain.encode_together([plain.to_input(image) for image in images])
    given = staged.encode_together([staged.to_input(image) for image in images])
    both = [plain.encode_common(independent) for independent in expected]
    for index, camera in enumerate(cameras):
        assert camera._size_with(given[index]) is not None  # the size that came with the first
        assert_close(camera.encode_common(given[index]), both[index])
        logits = plain.decode(both, expected[index], is_keyframe=False)
        assert_close(camera.decode(both, given[index], is_keyframe=False), logits)


def assert_close(tensor, expected):
    assert (tensor - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize('precision', HALVES)
@pytest.mark.parametrize('execution', ['sync', 'amortised', 'async'])
def test_half_precision_in_the_engine(precision, execution):
    net, images = make_net(), make_images(6)
    options = {'execution': execution, 'motion': 'flow'}
    engine = make_engine(net, 'torch', precision=precision, **options)
    results = run(engine, images)
    assert engine.precision == precision
    assert engine.backend == 'torch'
    assert next(net.parameters()).dtype == torch.float32  # of the caller
    if execution == 'async':
        return  # when its features are there depends on the machine
    exact = run(make_engine(net, 'torch', **options), images)
    equal = np.mean([np.mean(a.mask == b.mask) for a, b in zip(results, exact, strict=True)])
    assert equal > (0.9 if precision == 'bf16' else 0.98)
    assert any((a.logits != b.logits).any() for a, b in zip(results, exact, strict=True))


def test_less_than_fp32_takes_pytorch():
    net = make_net()
    for precision in HALVES:
        assert make_engine(net, 'auto', precision=precision).backend == 'torch'
    half = make_engine(net.bfloat16(), 'auto', precision='fp32')
    assert (half.backend, half.precision) == ('torch', 'fp32')


@pytest.mark.parametrize('backend', ['openvino', 'onnxruntime'])
def test_libraries_compute_in_fp32_only_where_asked(backend):
    pytest.importorskip(backend)
    pytest.importorskip('onnx')
    engine = make_engine(make_net(), backend, precision='fp32')
    assert engine.precision == 'fp32'
    if backend == 'openvino':  # whatever this CPU can do
        assert (
            engine._backend._options['INFERENCE_PRECISION_HINT']
            == engine._backend._openvino.Type.f32
        )
    with pytest.raises(ValueError, match=f"auto or fp32 for {backend}, got 'bf16'"):
        make_engine(make_net(), backend, precision='bf16')


def test_a_precision_that_there_is_not():
    with pytest.raises(ValueError, match="one of auto, fp32, bf16, fp16, got 'int8'"):
        make_engine(make_net(), 'torch', precision='int8')


def test_the_precision_of_a_half_network_is_told():
    backend = make_backend('auto', make_net().bfloat16(), torch.device('cpu'))
    assert (backend.name, backend.precision) == ('torch', 'bf16')


class NoRoomForTheDecoder(StagesOfOneSize):
    """As where a GPU is full by the time that the last stage is prepared."""

    def prepare(self, stage, inputs, threads):
        if len(inputs) < 2:
            return super().prepare(stage, inputs, threads)
        taken = torch.zeros(10)
        self.taken = ref(taken)
        raise torch.OutOfMemoryError('Tried to allocate 2 GiB')


def test_pytorch_goes_on_with_the_memory_of_the_graphs(monkeypatch):
    plain = TorchBackend(make_net(), torch.device('cpu'))
    backend = NoRoomForTheDecoder(plain)
    decode, left = plain.decode, []

    def decode_with_what_is_left(*arguments, **options):
        left.append((backend.taken(), dict(backend._sizes)))
        return decode(*arguments, **options)

    monkeypatch.setattr(plain, 'decode', decode_with_what_is_left)
    with pytest.warns(RuntimeWarning, match='Tried to allocate 2 GiB'):
        assert len(stream(backend, make_images(2))) == 2
    assert left == [(None, {})] * 2


@pytest.mark.parametrize('num_slices', [2, 4])
def test_slices_are_cut_by_what_the_runner_says_of_the_steps(num_slices):
    class Timed(StagesOfOneSize):
        def time_steps(self, independent):
            steps = self._torch.deep_task(independent).steps
            return [1.0] * (len(steps) - 1) + [1000.0]

        def prepare(self, stage, inputs, threads):
            stages.append(stage)
            return super().prepare(stage, inputs, threads)

    stages = []
    backend = Timed(TorchBackend(make_net(), torch.device('cpu')), num_slices=num_slices)
    backend.encode_independent(backend.to_input(make_images(1)[0]))
    _, *slices = stages
    assert 2 <= len(slices) <= num_slices
    assert len(slices[-1]._steps) == 1


@needs_cuda
def test_graphs_hold_what_they_read():
    backend = make_backend('torch', make_net(), torch.device('cuda'))
    image = make_images(1)[0]
    before = stream(backend, [image] * 4)[-1]
    gc.collect()
    taken = [torch.full((size,), torch.nan, device='cuda') for size in (3, 64, 128, 4096) * 500]
    after = stream(backend, [image] * 4)[-1]
    assert torch.equal(before, after)
    assert len(taken) == 2000


@needs_cuda
def test_steps_are_timed_on_the_gpu():
    backend = make_backend('torch', make_net('mit_b0'), torch.device('cuda'))
    independent = backend.encode_independent(backend.to_input(make_images(1)[0]))
    times = backend.time_steps(independent)
    assert len(times) == len(backend._torch.deep_task(independent).steps)
    assert all(0 < time < 50 for time in times)


@needs_cuda
@pytest.mark.parametrize('precision', DTYPES)
@pytest.mark.parametrize('execution', ['sync', 'amortised'])
@pytest.mark.parametrize(('backbone', 'options'), NETS)
def test_cuda_graphs_give_the_masks_of_the_cpu(backbone, options, execution, precision):
    net = make_net(backbone, **options)
    images = [*make_images(7), *make_images(5, (96, 64))]
    common = {'schedule': 3, 'execution': execution, 'motion': 'flow'}
    engine = SegmentationEngine(net, device='cuda', precision=precision, **common)
    results = run(engine, images)
    assert engine.backend_failure == ''
    expected = run(SegmentationEngine(net, device='cpu', backend='torch', **common), images)
    equal = [np.mean(a.mask == b.mask) for a, b in zip(results, expected, strict=True)]
    assert np.mean(equal) > {'fp32': 0.99, 'fp16': 0.98, 'bf16': 0.9}[precision]
