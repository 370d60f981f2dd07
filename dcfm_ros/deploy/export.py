"""`dcfm export`: the network as two models for other runtimes, written only if the masks agree.

Shapes: H W image, K classes, C_F common channels, h w feature grid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from dcfm_ros.backends.onnx_graph import OPSET, to_onnx
from dcfm_ros.backends.openvino_models import import_openvino
from dcfm_ros.backends.stages import frame_stage
from dcfm_ros.backends.torch_backend import TorchBackend
from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.files import into_folder, write_json
from dcfm_ros.images.preprocess import nearest_multiple
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.masks.class_mask import class_mask
from dcfm_ros.models.checkpoint import load_checkpoint
from dcfm_ros.models.checkpoint_header import read_metadata
from dcfm_ros.models.config import NetworkConfig
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.models.staged import StagedNetwork
from dcfm_ros.synthetic.drive import DriveConfig, render_drive

FORMATS = ('onnx', 'openvino')
LEAST_AGREEMENT = 0.995
"""Share of equal pixels below which nothing is written."""
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
    (1, H, W, 3). `common`, (1, C_F, h, w), is for the frames after the keyframe; neither model
    moves it with the scene. Where a network caches several features, they are `common`,
    `common_1`, .... `logits`, (1, K, h, w), are on the feature grid: resized bilinearly,
    their argmax is the mask.

    Args:
        checkpoint: Weights.
        output: Folder; created if absent.
        kind: 'onnx' (.onnx) or 'openvino' (.xml and .bin).
        size: (H, W), multiples of what the network demands; None: the height that the weights were
            trained for, or 480, in 4:3, or the nearest multiples.

    Returns:
        The content of `model.json`: files, sizes and classes, how well the written models agree
        with PyTorch on frames of a synthetic drive ('equal_pixels'), and, where the checkpoint
        asks for motion compensation, which the models lack, with the engine that has it
        ('engine_pixels').

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
    size = _size(size, metadata.image_height, net.config.size_multiple)
    drive = DriveConfig(seed=7, num_frames=_NUM_FRAMES, height=size[0], width=size[1])
    _require_libraries(kind)
    with into_folder(output) as folder:
        written = [
            write_model(onnx, folder / name, kind)
            for name, onnx in zip(_NAMES, make_models(net, size), strict=True)
        ]
        images = [image for image, _ in render_drive(drive)]
        agreement = compare(net, images, *map(load_model, written))
        if agreement['equal_pixels'] < LEAST_AGREEMENT:
            raise RuntimeError(
                f'{agreement["equal_pixels"]:.3%} of the pixels agree with PyTorch, at least '
                f'{LEAST_AGREEMENT:.1%} are needed; nothing written'
            )
        for path in folder.iterdir():
            path.chmod(0o644)
        facts: dict[str, Any] = {
            'format': kind,
            'checkpoint': str(checkpoint),
            'network': net.config.title,
            'size': size,
            'opset': OPSET,
            'models': {path.stem: path.name for path in written},
            'class_names': net.class_names,
            'palette': net.palette,
            'motion': 'none',
            'note': _note(net.config),
            'frames_compared': _NUM_FRAMES,
            **agreement,
        }
        write_json(folder / 'model.json', facts)
    return facts


def make_models(net: DCFM | StagedNetwork, size: tuple[int, int]) -> tuple[bytes, bytes]:
    """`keyframe` and `nonkey_frame` of a network in ONNX, for images of `size` = (H, W)."""
    backend = TorchBackend(net, torch.device('cpu'))
    key, nonkey = (frame_stage(backend, is_keyframe=is_keyframe) for is_keyframe in (True, False))
    image = torch.zeros((1, *size, 3), dtype=torch.uint8)
    with torch.inference_mode():
        _, *features = key(image)
    common = {f'common_{i}' if i else 'common': one for i, one in enumerate(features)}
    return (
        to_onnx(backend.net, key, {'image': image}, ['logits', *common]),
        to_onnx(backend.net, nonkey, {'image': image, **common}, ['logits']),
    )


def compare(
    net: DCFM | StagedNetwork,
    images: Sequence[NDArray[np.uint8]],
    keyframe: Model,
    nonkey_frame: Model,
) -> dict[str, Any]:
    """Segment a stream whose first frame is its keyframe, with the models and with PyTorch.

    Returns:
        'equal_pixels': share of the pixels of the same class, where neither side moves the common
        feature; 'largest_logit_difference' of the same frames; and 'engine_pixels': the share
        where PyTorch moves it, None if the network does not ask for that.
    """
    schedule = ScheduleOptions(keyframe_interval=len(images))
    options = EngineOptions(device='cpu', backend='torch', precision='fp32', motion='none')
    engine = SegmentationEngine(net, options, schedule)
    moving = None
    if net.config.motion != 'none':
        moving = SegmentationEngine(net, replace(options, motion=net.config.motion), schedule)
    equal, as_moved, differences = [], [], []
    common: dict[str, NDArray[Any]] = {}
    for number, image in enumerate(images):
        expected = engine.step(image, number)
        outputs = (nonkey_frame if common else keyframe)({'image': image[None], **common})
        common = common or {n: value for n, value in outputs.items() if n.startswith('common')}
        logits = outputs['logits']
        mask = class_mask(logits[0], expected.mask.shape)
        equal.append(np.mean(mask == expected.mask))
        differences.append(float(np.abs(logits - expected.logits).max()))
        if moving:
            as_moved.append(np.mean(mask == moving.step(image, number).mask))
    return {
        'equal_pixels': float(np.mean(equal)),
        'largest_logit_difference': max(differences),
        'engine_pixels': float(np.mean(as_moved)) if as_moved else None,
    }


def write_model(onnx: bytes, stem: Path, kind: str) -> Path:
    """Write a model in a format of `FORMATS`; returns the file that `load_model` takes."""
    if kind == 'onnx':
        path = stem.with_suffix('.onnx')
        path.write_bytes(onnx)
        return path
    openvino, path = import_openvino(), stem.with_suffix('.xml')
    openvino.save_model(openvino.Core().read_model(onnx, b''), path, compress_to_fp16=False)
    return path


def load_model(path: Path) -> Model:
    """Load a written model, to be computed in float32 on the CPU."""
    if path.suffix == '.onnx':
        onnxruntime = import_module('onnxruntime')
        session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
        outputs = [output.name for output in session.get_outputs()]
        return lambda arrays: dict(zip(outputs, session.run(None, dict(arrays)), strict=True))
    options = {'INFERENCE_PRECISION_HINT': 'f32'}
    model = import_openvino().Core().compile_model(path, 'CPU', options)
    return lambda arrays: {output.any_name: array for output, array in model(dict(arrays)).items()}


def _size(given: tuple[int, int] | None, trained_height: int, multiple: int) -> tuple[int, int]:
    """Of the images, (H, W); see `export_checkpoint`."""
    if given is None:
        height = trained_height or _DEFAULT_HEIGHT
        return nearest_multiple(height, multiple), nearest_multiple(height * 4 // 3, multiple)
    if any(length % multiple for length in given):
        nearest = 'x'.join(str(nearest_multiple(length, multiple)) for length in given)
        raise ValueError(
            f'`size` must be multiples of {multiple} for this network ({nearest}, for example), '
            f'got {given[0]}x{given[1]}'
        )
    return given


def _require_libraries(kind: str) -> None:
    try:
        import_module('onnx')  # PyTorch's exporter needs it
        import_module('onnxruntime') if kind == 'onnx' else import_openvino()
    except ImportError as error:
        msg = f"`format` {kind} needs: pip install 'dcfm_ros[torch]' ({error})"
        raise ImportError(msg) from error


def _note(config: NetworkConfig) -> str:
    """What the models do not do and the engine does, for whoever uses them without it."""
    if config.motion == 'none':
        return ''
    blends = " and blends the logits with the last keyframe's (`mask_blending`)"
    return (
        'nonkey_frame fuses `common` where the keyframe had it. The engine of dcfm_ros first '
        'moves it along the optical flow, as these weights ask for'
        f'{blends if config.mask_blending else ""}. Without that, masks lag behind what moves: '
        'on CamVid val the packaged weights lose 3.7 points of mIoU at keyframe interval 3 and '
        '9.0 at interval 6; `engine_pixels` is the share of equal pixels on the frames compared '
        'here. To do the same, move `common` before each nonkey_frame with '
        'dcfm_ros.keyframes.motion.FlowChain, as docs/export.md shows, or with a flow of your own.'
    )
