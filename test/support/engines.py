"""Engines of small networks from options by name, and backends that record, count or fail."""

from __future__ import annotations

from dataclasses import fields
from functools import partial

from small_net import make_images, make_net
import torch

from dcfm_ros.backends.deep_task import DeepTask
from dcfm_ros.backends.graph_backend import TIMINGS
from dcfm_ros.backends.interface import Backend
from dcfm_ros.backends.tensor_backend import TensorBackend
from dcfm_ros.backends.torch_backend import TorchBackend
from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions

FRAME_NS = 33_000_000
CPU = 'cpu'
_SCHEDULE_FIELDS = {field.name for field in fields(ScheduleOptions)}


def make_engine(net=None, *, backend='torch', phase=0.0, **options):
    """An engine on the CPU; `backend` is a name or a Backend, options are those of both kinds."""
    schedule = {name: options.pop(name) for name in _SCHEDULE_FIELDS & options.keys()}
    given = backend if isinstance(backend, Backend) else None
    name = 'auto' if given else backend
    return SegmentationEngine(
        net or make_net(),
        EngineOptions(**{'device': 'cpu', 'backend': name, **options}),
        ScheduleOptions(**schedule),
        backend=given,
        phase=phase,
    )


def run(engine, images, start=0):
    """The results for some images, numbered from `start`, FRAME_NS apart."""
    return [engine.step(image, (start + i) * FRAME_NS) for i, image in enumerate(images)]


def interleave(engines, streams):
    """Frame after frame of all cameras in turn; results by camera."""
    results = [[] for _ in engines]
    for index, images in enumerate(zip(*streams, strict=True)):
        for camera, (engine, image) in enumerate(zip(engines, images, strict=True)):
            results[camera].append(engine.step(image, index * FRAME_NS))
    return results


def make_streams(sizes, count=7):
    return [make_images(count, size, seed) for seed, size in enumerate(sizes)]


def ages(results):
    return [result.keyframe_age for result in results]


def reasons(results):
    return [result.reason for result in results]


def keyframes(results):
    return [index for index, result in enumerate(results) if result.is_keyframe]


class RecordingBackend(TensorBackend):
    """PyTorch on the CPU; records the calls of its stages, and fails those in `failing`."""

    def __init__(self, net=None):
        self.inner = TorchBackend(net or make_net(), CPU)
        self.name, self.device, self.net = 'recording', 'cpu', self.inner.net
        self.calls, self.failing, self.sizes = [], set(), []

    def record(self, call):
        self.calls.append(call)
        if call in self.failing:
            raise RuntimeError('out of memory')

    def to_input(self, image):
        self.sizes.append(image.shape[:2])
        return self.inner.to_input(image)

    def encode_independent(self, image):
        self.record('independent')
        return self.inner.encode_independent(image)

    def deep_task(self, independent):
        self.record('deep_task')
        task = self.inner.deep_task(independent)
        steps = [partial(self._run_step, step) for step in task.steps]
        return DeepTask(steps, task.state, task.wait, task.step_ms)

    def decode(self, cached, independent):
        self.record('decode')
        return self.inner.decode(cached, independent)

    def _run_step(self, step, state):
        self.record('step')
        return step(state)


class StagesRunner:
    """Prepares stages as a GPU does, but computes them with PyTorch; records what it prepared."""

    name = label = 'stages'

    def __init__(self, precision='fp32'):
        self.precision = precision
        self.prepared = []

    def to_input(self, image):
        return torch.from_numpy(image)[None]

    def prepare(self, stage, inputs):
        self.prepared.append(stage)
        run_stage = torch.inference_mode()(lambda *tensors: list(stage(*tensors)))
        return run_stage, run_stage(*inputs)

    def time_steps(self, backend, independent):
        for _ in range(TIMINGS):
            task = backend.deep_task(independent)
            task.run_measured()
        return task.step_ms


def reproducible_openvino(net, num_slices=1):
    """OpenVINO in fp32, its slices cut as if all steps took equally long, not as measured."""
    from dcfm_ros.backends.openvino_backend import OpenVinoBackend, OpenVinoNetwork
    from dcfm_ros.backends.prepared_network import prepare

    network = OpenVinoNetwork(
        prepare(net), precision='fp32', num_slices=num_slices, num_threads=1, is_timed=False
    )
    return OpenVinoBackend(network)
