"""`dcfm quantise`: the encoders of a checkpoint in int8, written only if masks stay as they are.

The decoder stays in float32: it is the smallest part, no faster in int8, and logits have no good
scale in 8 bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
import warnings

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.backends.graphs import Graphs, Model, weights_key
from dcfm_ros.backends.openvino_models import OpenVinoModels, import_openvino
from dcfm_ros.backends.prepared_network import PreparedNetwork, load_prepared
from dcfm_ros.deploy.agreement import class_iou, count_pairs, equal_share
from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.images.preprocess import shrink
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.models.checkpoint_header import read_metadata
from dcfm_ros.recordings.sources import SourceFrame, synthetic_frames
from dcfm_ros.synthetic.drive import DriveConfig

LEAST_AGREEMENT = 0.95
"""Share of equal pixels below which nothing is written."""
LEAST_FOR_AUTO = 0.985
"""Share of equal pixels from which on precision 'auto' may take int8."""
CLIP = 4
"""Frames in a row: a keyframe and those that use its feature."""
_MOST_CLIPS = 64
_DRIVE = DriveConfig(seed=7, num_frames=24, height=350, width=470)  # odd grids
_T = TypeVar('_T')


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Masks in int8 beside those in fp32, without mask blending, which would hide differences."""

    source: str
    agreement: float
    """Share of equal pixels."""
    class_iou: tuple[float | None, ...]
    """IoU of the pixels of each class in int8 with those in fp32; None: neither has any."""


@dataclass(frozen=True, kw_only=True)
class Quantised:
    """What was written."""

    num_calibrated: int
    """Frames whose features set the scales."""
    comparisons: tuple[Comparison, ...]
    is_for_auto: bool
    """Whether precision 'auto' may take it."""


def quantise_checkpoint(
    path: Path, output: Path, frames: Iterable[SourceFrame], source: str
) -> Quantised:
    """Write the graphs of a checkpoint in int8, if its masks with them are those of fp32.

    The frames are cut into clips. If there are many, some are chosen evenly; every second one
    calibrates, the others and a synthetic drive are segmented in both precisions. The same frames
    give the same file.

    Args:
        path: Checkpoint.
        output: File to write.
        frames: A stream of images like those that will be segmented.
        source: Where they come from, for the report.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        CheckpointError: If it cannot be used.
        GraphsError: If its graphs cannot.
        ImportError: If NNCF or OpenVINO is not installed.
        ValueError: If there are too few frames.
        RuntimeError: If fewer than `LEAST_AGREEMENT` of the pixels agree, or OpenVINO cannot run
            what NNCF has made.
    """
    import_openvino()  # before NNCF, which reports to Google Analytics as well
    try:
        import nncf  # noqa: F401
    except ImportError as error:
        raise ImportError(f"int8 needs: pip install 'dcfm_ros[quantise]' ({error})") from None
    metadata = read_metadata(path)
    height, multiple = metadata.image_height, metadata.config.size_multiple
    clips = _spread(_clips(frames, height, multiple), _MOST_CLIPS)
    if len(clips) < 2:
        raise ValueError(f'{source} has too few frames, at least {2 * CLIP} are needed')
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'int8 is not used')  # of the file that is made anew
        net = load_prepared(path)
    images = [frame.image for clip in clips[::2] for frame in clip]
    graphs = replace(_quantise(net, images), belongs_to=weights_key(path))
    net = replace(net, int8=graphs)
    drive = list(synthetic_frames(_DRIVE))
    compared = (
        _compare(net, source, clips[1::2], height),
        _compare(net, f'synthetic drive, seed {_DRIVE.seed}', [drive], height),
    )
    agreement = min(comparison.agreement for comparison in compared)
    if agreement < LEAST_AGREEMENT:
        raise RuntimeError(
            f'{agreement:.2%} of the pixels agree with fp32, at least {LEAST_AGREEMENT:.0%} are '
            'needed; nothing written'
        )
    graphs = replace(graphs, is_for_auto=agreement >= LEAST_FOR_AUTO)
    graphs.save(output)
    return Quantised(
        num_calibrated=len(images), comparisons=compared, is_for_auto=graphs.is_for_auto
    )


def _clips(
    frames: Iterable[SourceFrame], height: int, multiple: int
) -> Iterator[list[SourceFrame]]:
    """Frames in groups of `CLIP`, at the size that the network works at."""
    stream = iter(frames)
    while len(clip := list(islice(stream, CLIP))) == CLIP:
        yield [replace(frame, image=shrink(frame.image, height, multiple)) for frame in clip]


def _spread(items: Iterable[_T], most: int) -> list[_T]:
    """At most so many items of a stream of unknown length, evenly spaced."""
    kept: list[_T] = []
    step = 1
    for index, item in enumerate(items):
        if index % step:
            continue
        kept.append(item)
        if len(kept) > most:
            kept, step = kept[::2], 2 * step
    return kept


def _quantise(net: PreparedNetwork, images: Sequence[NDArray[np.uint8]]) -> Graphs:
    """The graphs with both encoders in int8; `deep` is calibrated on what int8 `shallow` gives."""
    models = OpenVinoModels(net.graphs, net.weights, is_exact=True)
    inputs = [image[None] for image in images]
    shallow = _in_int8(models.shallow, inputs)
    half = replace(net.graphs, shallow=shallow, precision='int8')
    stages = OpenVinoModels(half, net.weights).compile(None)
    given = [stages.shallow({'image': image}) for image in inputs]
    names = [value.any_name for value in models.deep.inputs]
    found = [{'state': outputs['feature'], **outputs} for outputs in given]
    samples = [{name: outputs[name] for name in names} for outputs in found]
    return replace(half, deep=_in_int8(models.deep, samples))


def _in_int8(model: Any, inputs: Sequence[Any]) -> Model:
    """A model in int8, with scales for these inputs: arrays, or by name if it has several."""
    import nncf
    from nncf.quantization.advanced_parameters import QuantizationParameters

    # What OpenVINO does to every model that it converts: batch norms become parts of
    # convolutions, which NNCF does not do. There is no public name for it.
    from openvino._offline_transformations import apply_moc_transformations

    # Not NNCF's own function: it sets the level of handlers too, whosever they are.
    logging.getLogger('nncf').setLevel(logging.ERROR)
    folded = model.clone()
    apply_moc_transformations(folded, cf=True)
    # By itself NNCF gives inputs of depthwise convolutions a scale per channel; behind a product
    # of matrices it takes tokens for channels, and the model fits images of one size only.
    one_scale = QuantizationParameters(per_channel=False)
    quantised = nncf.quantize(
        folded,
        nncf.Dataset(inputs),
        subset_size=len(inputs),
        fast_bias_correction=False,
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            activations_quantization_params=one_scale
        ),
    )
    # Names of operations have numbers that depend on what this process did before.
    for number, operation in enumerate(quantised.get_ordered_ops()):
        operation.set_friendly_name(f'{operation.get_type_name()}_{number}')
    with TemporaryDirectory() as folder:
        xml = Path(folder) / 'model.xml'
        import_openvino().save_model(quantised, xml, compress_to_fp16=False)
        return Model(xml.read_bytes(), xml.with_suffix('.bin').read_bytes())


def _compare(
    net: PreparedNetwork, source: str, clips: Sequence[Sequence[SourceFrame]], height: int
) -> Comparison:
    engines = [
        SegmentationEngine(
            net,
            EngineOptions(
                device='cpu', precision=precision, inference_height=height, mask_blending=0.0
            ),
            ScheduleOptions(keyframe_interval=CLIP, max_time_gap_s=0),
        )
        for precision in ('fp32', 'int8')
    ]
    pairs = np.zeros((len(net.class_names),) * 2, np.int64)
    for clip in clips:
        for engine in engines:
            engine.reset()
        pairs += count_pairs(engines[0], engines[1], clip)
    for engine in engines:
        if engine.backend.failure:  # then PyTorch has been compared
            raise RuntimeError(f'{engine.backend.failure}; nothing written')
    return Comparison(source=source, agreement=equal_share(pairs), class_iou=class_iou(pairs))
