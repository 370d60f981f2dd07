"""`dcfm export`: the network as two models for other runtimes, written only if the masks agree.

Shapes: H W image, K classes, C_F common channels, h w feature grid.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from dcfm_ros.backends.onnx_graph import OPSET, to_onnx
from dcfm_ros.backends.openvino_backend import import_openvino
from dcfm_ros.backends.stages import frame_stage
from dcfm_ros.backends.torch_backend import TorchBackend
from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.files import write_json
from dcfm_ros.masks.class_mask import class_mask
from dcfm_ros.models.checkpoint import load_checkpoint, read_metadata
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.synthetic.drive import DriveConfig, render_drive

FORMATS = ('onnx', 'openvino')
LEAST_AGREEMENT = 0.995
"""Share of equal pixels under which nothing is written."""
_DEFAULT_HEIGHT = 480
_NAMES = ('keyframe', 'nonkey_frame')
_NUM_FRAMES = 4

Arrays = Mapping[str, NDArray[Any]]
Model = Callable[[Arrays], Arrays]
"""Inputs by name to outputs by name."""


def export_checkpoint(
    checkpoint: Path, output: Path, kind: str = 'onnx', size: tuple[int, int] | None = None
) -> dict[str, Any]:
    """Write `keyframe` and `nonkey_frame` as models of one image size, and `model.json`.

    keyframe: image -> logits, common. nonkey_frame: image, common -> logits. `image` is RGB uint8,
    (1, H, W, 3). `common`, (1, C_F, h, w), is for the frames after the keyframe. `logits`,
    (1, K, h, w), are on the feature grid: resized bilinearly, their argmax is the mask.

    Args:
        checkpoint: Weights.
        output: Folder; created if absent.
        kind: 'onnx' (.onnx) or 'openvino' (.xml and .bin).
        size: (H, W); None: the height that the weights were trained for, or 480, in 4:3.

    Returns:
        What `model.json` says: files, sizes and classes, and how the written models agree with
        the engine in PyTorch on frames of a synthetic drive.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        CheckpointError: If it cannot be used.
        ValueError: If `kind` or `size` is not allowed.
        ImportError: If a library is not installed.
        RuntimeError: If fewer than `LEAST_AGREEMENT` of the pixels agree.
    """
    if kind not in FORMATS:
        raise ValueError(f'`format` must be one of {", ".join(FORMATS)}, got {kind!r}')
    metadata, net = read_metadata(checkpoint), load_checkpoint(checkpoint)
    if size is None:
        height = metadata.image_height or _DEFAULT_HEIGHT
        size = height, height * 4 // 3
    drive = DriveConfig(seed=7, num_frames=_NUM_FRAMES, height=size[0], width=size[1])
    library = _library(kind)
    output.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=output, prefix='.export') as folder:
        models = _make_models(net, size)
        written = [
            library.write(onnx, Path(folder) / name)
            for name, onnx in zip(_NAMES, models, strict=True)
        ]
        images = [image for image, _ in render_drive(drive)]
        agreement, difference = _compare(net, images, *map(library.load, written))
        if agreement < LEAST_AGREEMENT:
            least = f'at least {LEAST_AGREEMENT:.1%} are needed; nothing written'
            raise RuntimeError(f'{agreement:.3%} of the pixels are those of PyTorch, {least}')
        for path in Path(folder).iterdir():
            path.chmod(0o644)
            path.replace(output / path.name)
    facts: dict[str, Any] = {
        'format': kind,
        'checkpoint': str(checkpoint),
        'backbone': net.config.backbone,
        'size': size,
        'opset': OPSET,
        'models': {path.stem: path.name for path in written},
        'class_names': net.class_names,
        'palette': net.palette,
        'frames_compared': _NUM_FRAMES,
        'equal_pixels': agreement,
        'largest_logit_difference': difference,
    }
    write_json(output / 'model.json', facts)
    return facts


def _make_models(net: DCFM, size: tuple[int, int]) -> tuple[bytes, bytes]:
    """Both models in ONNX."""
    backend = TorchBackend(net, torch.device('cpu'))
    key, nonkey = (frame_stage(backend, is_keyframe=is_keyframe) for is_keyframe in (True, False))
    image = torch.zeros((1, *size, 3), dtype=torch.uint8)
    with torch.inference_mode():
        _, common = key(image)
    return (
        to_onnx(backend.net, key, {'image': image}, ['logits', 'common']),
        to_onnx(backend.net, nonkey, {'image': image, 'common': common}, ['logits']),
    )


def _compare(
    net: DCFM, images: Sequence[NDArray[np.uint8]], keyframe: Model, nonkey_frame: Model
) -> tuple[float, float]:
    """Segment a stream whose first frame is its keyframe, with the models and with PyTorch.

    Returns:
        Share of the pixels of the same class, and the largest absolute difference of a logit.
    """
    engine = SegmentationEngine(net, device='cpu', backend='torch', schedule=len(images))
    equal, differences = [], []
    common: dict[str, NDArray[Any]] = {}
    for number, image in enumerate(images):
        expected = engine.step(image, number)
        given = (nonkey_frame if common else keyframe)({'image': image[None], **common})
        common = common or {'common': given['common']}
        logits = torch.tensor(given['logits'])
        equal.append(np.mean(class_mask(logits, expected.mask.shape) == expected.mask))
        differences.append(float((logits - expected.logits).abs().max()))
    return float(np.mean(equal)), max(differences)


class _Library(ABC):
    """Writes and loads models."""

    @abstractmethod
    def write(self, onnx: bytes, stem: Path) -> Path:
        """Write a model; the file that is to be loaded."""

    @abstractmethod
    def load(self, path: Path) -> Model:
        """Load a model, to be computed in float32."""


class _Onnx(_Library):
    def __init__(self) -> None:
        self._runtime = import_module('onnxruntime')

    def write(self, onnx: bytes, stem: Path) -> Path:
        path = stem.with_suffix('.onnx')
        path.write_bytes(onnx)
        return path

    def load(self, path: Path) -> Model:
        session = self._runtime.InferenceSession(path, providers=['CPUExecutionProvider'])
        inputs = [value.name for value in session.get_inputs()]
        outputs = [value.name for value in session.get_outputs()]

        def run(arrays: Arrays) -> Arrays:
            given = session.run(None, {name: arrays[name] for name in inputs})
            return dict(zip(outputs, given, strict=True))

        return run


class _OpenVino(_Library):
    def __init__(self) -> None:
        self._openvino = import_openvino()

    def write(self, onnx: bytes, stem: Path) -> Path:
        path = stem.with_suffix('.xml')
        model = self._openvino.Core().read_model(onnx, b'')
        self._openvino.save_model(model, path, compress_to_fp16=False)
        return path

    def load(self, path: Path) -> Model:
        options = {'INFERENCE_PRECISION_HINT': 'f32'}
        model = self._openvino.Core().compile_model(path, 'CPU', options)
        inputs = [value.any_name for value in model.inputs]

        def run(arrays: Arrays) -> Arrays:
            given = model({name: arrays[name] for name in inputs})
            return {output.any_name: array for output, array in given.items()}

        return run


def _library(kind: str) -> _Library:
    try:
        import_module('onnx')  # PyTorch's exporter needs it
        return _Onnx() if kind == 'onnx' else _OpenVino()
    except ImportError as error:
        msg = f'`format` {kind} needs: pip install dcfm_ros[speed] ({error})'
        raise ImportError(msg) from error
