"""Draw the picture at the top of the README: `python docs/animation.py docs/drive.webp`.

A drive that the package renders itself goes through the engine with the packaged weights: camera,
mask, and below them the time of every frame, keyframes in orange.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.models.checkpoint import load_checkpoint
from dcfm_ros.models.checkpoint_header import find_checkpoint
from dcfm_ros.synthetic.drive import DriveConfig, render_drive

KEY, NONKEY, PAPER = (230, 126, 34), (52, 120, 190), (250, 250, 250)
PANEL_ROWS, STRIP_ROWS, LABEL_ROWS, GAP = 240, 72, 22, 6


def main() -> None:
    """Render, segment, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('output', type=Path, help='animated WebP to write')
    parser.add_argument('--frames', type=int, default=45, help='length of the drive')
    parser.add_argument('--interval', type=int, default=6, help='keyframe interval')
    arguments = parser.parse_args()
    net = load_checkpoint(find_checkpoint('default'))
    schedule = ScheduleOptions(keyframe_interval=arguments.interval)
    engine = SegmentationEngine(net, EngineOptions(device='cpu'), schedule)
    drive = DriveConfig(seed=7, num_frames=arguments.frames)
    images = [image for image, _ in render_drive(drive)]
    for _ in engine.segment_clip(images[:2]):
        pass  # graphs are made for the first frames
    results = [engine.step(image, i * 66_000_000) for i, image in enumerate(images)]
    heights = [sum(result.stage_ms.values()) for result in results]
    palette = np.array(net.palette, np.uint8)
    frames = [
        draw(image, palette[result.mask], heights, [r.is_keyframe for r in results], i)
        for i, (image, result) in enumerate(zip(images, results, strict=True))
    ]
    first, *rest = map(Image.fromarray, frames)
    first.save(
        arguments.output, save_all=True, append_images=rest, duration=100, loop=0, quality=55
    )


def draw(
    image: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    heights: list[float],
    is_key: list[bool],
    now: int,
) -> NDArray[np.uint8]:
    """One frame of the animation: camera | mask, above the times of the frames so far."""
    columns = PANEL_ROWS * image.shape[1] // image.shape[0]
    size = (columns, PANEL_ROWS)
    panels = [
        cv2.resize(image, size, interpolation=cv2.INTER_AREA),
        np.full((PANEL_ROWS, GAP, 3), PAPER, np.uint8),
        cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST),
    ]
    top = np.hstack(panels)
    strip = np.full((STRIP_ROWS, top.shape[1], 3), PAPER, np.uint8)
    cv2.putText(
        strip,
        'keyframe' if is_key[now] else 'non-key frame',
        (4, LABEL_ROWS - 6),
        cv2.FONT_HERSHEY_SIMPLEX,
        0.45,
        KEY if is_key[now] else NONKEY,
        1,
        cv2.LINE_AA,
    )
    width = top.shape[1] / len(heights)
    scale = (STRIP_ROWS - LABEL_ROWS) / max(heights)
    for index in range(now + 1):
        left, right = round(index * width) + 1, round((index + 1) * width) - 1
        rows = max(2, round(heights[index] * scale))
        strip[STRIP_ROWS - rows :, left:right] = KEY if is_key[index] else NONKEY
    return np.vstack([top, strip])


if __name__ == '__main__':
    main()
