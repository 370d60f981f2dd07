#!/usr/bin/env bash
# What happens: cv2.resize with INTER_NEAREST_EXACT, documented to be bit-exact and to give the results of Pillow,
#   takes another pixel in OpenCV 4.6, which Ubuntu 24.04 packages, than in 4.10 and 5 where the centre of a
#   new pixel falls between two old ones. At half the size that is every pixel.
# Why it matters: it is the interpolation for label images, since it invents no class. Masks of half the
#   size differ between the OpenCV of Ubuntu and that of PyPI along every edge, and part from whatever is
#   aligned with them: a point cloud that takes its labels from a smaller mask, stored masks of a test.
# Workaround: integer arithmetic with numpy.take, row (2 * i + 1) * height // (2 * new_height) and the same for
#   columns; at half the size a slice, mask[1::2, 1::2].
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
unset PYTHONPATH
python3 -m venv venv
venv/bin/pip install -qq numpy==1.26.4 pillow==12.0.0
for release in 4.6.0.66 4.10.0.84; do
    venv/bin/pip install -qq --no-deps --target "$release" "opencv-python-headless==$release"
done
cat > resize.py <<'PYTHON'
import json
import sys

import cv2
import numpy as np
from PIL import Image

mask = np.arange(8, dtype=np.uint8)[None].repeat(2, axis=0)
exact = cv2.resize(mask, (4, 1), interpolation=cv2.INTER_NEAREST_EXACT)
pillow = np.asarray(Image.fromarray(mask).resize((4, 1), Image.Resampling.NEAREST))
json.dump([cv2.__version__, exact[0].tolist(), pillow[0].tolist()], sys.stdout)
PYTHON
PYTHONPATH=4.6.0.66 venv/bin/python resize.py > old.json
PYTHONPATH=4.10.0.84 venv/bin/python resize.py > new.json
venv/bin/python - <<'PYTHON'
import json
import platform

import numpy
import PIL

(old, before, pillow), (new, after, _) = (json.load(open(f'{n}.json')) for n in ('old', 'new'))
print(
    f'versions: OpenCV {old} and {new}, NumPy {numpy.__version__}, Pillow {PIL.__version__}, '
    f'Python {platform.python_version()}'
)
print(f'expected: 8 columns become {pillow}, the columns that Pillow takes, in both')
print(f'seen: {before} in OpenCV {old}, {after} in {new}')
if after != pillow:
    raise SystemExit(f'OpenCV {new} does not agree with Pillow either: this is another problem.')
if before == after:
    raise SystemExit('The behaviour has changed: both take the same columns.')
print('The surprise is still there.')
PYTHON
