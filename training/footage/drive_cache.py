"""Synthetic drives rendered once, then memory-mapped.

Shapes: D drives, N frames each, H W image.
"""

from __future__ import annotations

from pathlib import Path
import tempfile
import zlib

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dcfm_ros.synthetic.drive import DriveConfig, SyntheticDrive

FIRST_SEED = 1000
"""Seeds below are left to demos and tests, so that no network is shown what it is tried on."""


def rendered_drives(
    folder: Path, num_drives: int, num_frames: int, height: int = 360, width: int = 480
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Render drives at 15 Hz with different streets, light and speed, or reuse those of before.

    Rendering takes 0.05 to 0.1 s per frame, once. Files of another renderer are not reused: their
    name holds a checksum of one frame.
    A frame of 480x360 takes 0.7 MB.

    Returns:
        RGB images (D, N, H, W, 3) and class ids (D, N, H, W), uint8, memory-mapped.
    """
    first = SyntheticDrive(_config(0, num_frames, height, width)).render(0)
    checksum = zlib.crc32(first[1].tobytes(), zlib.crc32(first[0].tobytes()))
    name = f'drives_{num_drives}x{num_frames}_{width}x{height}_{checksum:08x}'
    paths = [Path(folder) / f'{name}_{kind}.npy' for kind in ('images', 'labels')]
    if not all(path.is_file() for path in paths):
        Path(folder).mkdir(parents=True, exist_ok=True)
        _render(paths, num_drives, num_frames, height, width)
    images, labels = (np.load(path, mmap_mode='r') for path in paths)
    return images, labels


def _render(paths: list[Path], num_drives: int, num_frames: int, height: int, width: int) -> None:
    shape = (num_drives, num_frames, height, width)
    with tempfile.TemporaryDirectory(dir=paths[0].parent) as partial:
        kinds = ((paths[0].name, (*shape, 3)), (paths[1].name, shape))
        arrays = [
            np.lib.format.open_memmap(Path(partial) / name, 'w+', np.uint8, size)
            for name, size in kinds
        ]
        for drive in tqdm(range(num_drives), 'rendering drives'):
            street = SyntheticDrive(_config(drive, num_frames, height, width))
            for frame in range(num_frames):
                arrays[0][drive, frame], arrays[1][drive, frame] = street.render(frame)
        for array, path in zip(arrays, paths, strict=True):
            array.flush()
            (Path(partial) / path.name).replace(path)


def _config(drive: int, num_frames: int, height: int, width: int) -> DriveConfig:
    rng = np.random.default_rng((FIRST_SEED, drive))
    return DriveConfig(
        seed=FIRST_SEED + drive,
        num_frames=num_frames,
        height=height,
        width=width,
        speed_mps=float(rng.uniform(0, 14)),
        density=float(rng.uniform(0.5, 2)),
    )
