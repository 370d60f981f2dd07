"""Images as files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


def write_image(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write an image, in the format that the name ends in; JPEG at quality 95.

    Args:
        path: Ends in .png or .jpg, for example.
        pixels: One plane, (H, W), or BGR, (H, W, 3).

    Raises:
        OSError: If it cannot be written: the disk is full, for example.
    """
    quality = [cv2.IMWRITE_JPEG_QUALITY, 95] if path.suffix == '.jpg' else []
    is_encoded, data = cv2.imencode(path.suffix, pixels, quality)
    if not is_encoded:
        raise OSError(f'{path} cannot be written')
    path.write_bytes(data.tobytes())  # `imwrite` does not say that the disk is full
