"""Cameras whose frames come together: one pass of the shallow encoder for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.images.preprocess import check_image
from dcfm_ros.keyframes.frame_result import FrameResult
from dcfm_ros.models.backbone import Independent


def step_together(
    engines: Sequence[SegmentationEngine],
    images: Sequence[NDArray[np.uint8]],
    stamps: Sequence[int],
) -> list[FrameResult]:
    """Segment a frame of each camera, as `SegmentationEngine.step` does.

    The shallow encoder takes the images of one size as a batch; by then every camera goes its own
    way, since each has its own keyframes. Graphs are made for one image: `openvino`,
    `onnxruntime` and CUDA graphs encode one by one, and nothing is gained. Logits are those of
    single steps up to the order of additions, 1e-4 of the largest, and masks are equal but where
    two classes tie.

    Args:
        engines: One for each camera; all but one from its `for_another_camera`.
        images: RGB, (H, W, 3), of any sizes.
        stamps: Acquisition times in ns.

    Returns:
        A result for each camera. `stage_ms` has no independent stage where that was a batch.

    Raises:
        ValueError: If the numbers of engines, images and stamps differ, the same engine is there
            twice, or an image is not uint8 RGB; no engine has stepped then.
    """
    counts = len(engines), len(images), len(stamps)
    if len(set(counts)) > 1 or len({id(engine) for engine in engines}) < len(engines):
        raise ValueError(
            '`engines` must be different, with an image and a stamp for each, got '
            f'{counts[0]} engines, {counts[1]} images and {counts[2]} stamps'
        )
    for image in images:
        check_image(image)
    encoded: dict[int, Independent] = {}
    for size in {image.shape for image in images}:
        cameras = [camera for camera, image in enumerate(images) if image.shape == size]
        if len(cameras) > 1:
            features = engines[cameras[0]].encode_shallow([images[camera] for camera in cameras])
            encoded.update(zip(cameras, features, strict=True))
    return [
        engine.step_encoded(image, stamp_ns, encoded.get(camera))
        for camera, (engine, image, stamp_ns) in enumerate(
            zip(engines, images, stamps, strict=True)
        )
    ]
