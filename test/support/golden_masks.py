"""Masks of the packaged network on a short drive, as the first release of the engine made them.

`python test/support/golden_masks.py` rewrites them, for a change that is meant to change masks.
"""

from __future__ import annotations

import cv2
import numpy as np
from repository import ROOT

FOLDER = ROOT / 'test' / 'fixtures' / 'golden_masks'
NUM_FRAMES = 8
FRAME_NS = 66_666_667
CASES = {
    'sync': {'keyframe_interval': 3},
    'amortised': {'keyframe_interval': 3, 'execution': 'amortised'},
    'adaptive': {'schedule': 'adaptive', 'change_threshold': 0.15},
    'flow': {'keyframe_interval': 5, 'motion': 'flow', 'mask_blending': 0.0},
    'blended': {'keyframe_interval': 3, 'motion': 'flow'},
}
"""Options by name; `motion` is none by default."""


def read_strip(name):
    """Frames or masks of a fixture, stacked in one lossless image."""
    strip = cv2.imread(str(FOLDER / f'{name}.png'), cv2.IMREAD_UNCHANGED)
    if strip.ndim == 3:
        strip = np.ascontiguousarray(strip[..., ::-1])
    return np.split(strip, NUM_FRAMES)


def write_strip(name, pictures):
    strip = np.concatenate(pictures)
    if strip.ndim == 3:
        strip = strip[..., ::-1]
    FOLDER.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(FOLDER / f'{name}.png'), strip, [cv2.IMWRITE_PNG_COMPRESSION, 9])


def run_case(case, images):
    """A case on the packaged network, in PyTorch and fp32."""
    from engines import make_engine

    from dcfm_ros.models.checkpoint import load_checkpoint
    from dcfm_ros.models.checkpoint_header import find_checkpoint

    options = {'precision': 'fp32', 'motion': 'none', **CASES[case]}
    engine = make_engine(load_checkpoint(find_checkpoint()), **options)
    return [engine.step(image, index * FRAME_NS) for index, image in enumerate(images)]


if __name__ == '__main__':
    from dcfm_ros.synthetic.drive import DriveConfig, render_drive

    drive = DriveConfig(seed=7, num_frames=3 * NUM_FRAMES, height=160, width=224)
    frames = [image for image, _ in render_drive(drive)][::3]  # a faster drive: masks differ more
    frames = [cv2.medianBlur(image, 3) & 0xF8 for image in frames]  # a small file
    write_strip('frames', frames)
    for name in CASES:
        write_strip(name, [result.mask for result in run_case(name, frames)])
