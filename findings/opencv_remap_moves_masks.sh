#!/usr/bin/env bash
# What happens: cv2.remap rounds the wrong way when INTER_NEAREST meets fixed-point maps (CV_16SC2
#   with a table of fractions). Fractions below one half go up to the next pixel, those above it go
#   down. Maps that move nothing move a mask by one pixel in x and in y, while INTER_LINEAR with
#   the same maps leaves the image in place. 4.12 does the same.
# Why it matters: fixed-point maps are the fast ones, which rectification code keeps per camera.
#   Images are remapped with INTER_LINEAR and class ids with INTER_NEAREST, so labels and masks
#   end up beside the objects they belong to.
# Workaround: remap masks with float maps (CV_32FC1), or with maps from
#   cv2.convertMaps(..., nninterpolation=True) and None as the second map.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -qq numpy==2.2.6 opencv-python-headless==5.0.0.93
venv/bin/python -I - <<'PYTHON'
from importlib.metadata import version

import cv2
import numpy as np


def corner(mask):
    rows, columns = np.nonzero(mask)
    return int(columns.min()), int(rows.min())


mask = np.zeros((480, 640), np.uint8)
mask[200:300, 100:250] = 1
camera = np.array([[400, 0, 320], [0, 400, 240], [0, 0, 1]], float)
undistorted = (camera, None, None, camera, (640, 480))
float_maps = cv2.initUndistortRectifyMap(*undistorted, cv2.CV_32FC1)
fixed_maps = cv2.initUndistortRectifyMap(*undistorted, cv2.CV_16SC2)

start = corner(mask)
by_float = corner(cv2.remap(mask, *float_maps, cv2.INTER_NEAREST))
by_fixed = corner(cv2.remap(mask, *fixed_maps, cv2.INTER_NEAREST))
linear = corner(cv2.remap(mask * 200, *fixed_maps, cv2.INTER_LINEAR))
print(f'versions: opencv-python-headless {version("opencv-python-headless")}')
print(f'The maps belong to a lens without distortion. The object starts at (x, y) = {start}.')
print(
    f'expected: it stays there, as with float maps {by_float} '
    f'and with fixed-point maps and INTER_LINEAR {linear}'
)
print(f'seen: with fixed-point maps and INTER_NEAREST it starts at {by_fixed}')

ramp = np.arange(64, dtype=np.uint8)[np.newaxis].repeat(8, 0)
columns, rows = np.meshgrid(np.arange(64, dtype=np.float32), np.arange(8, dtype=np.float32))
for fraction in (0.25, 0.75):
    maps = cv2.convertMaps(columns + np.float32(fraction), rows, cv2.CV_16SC2)
    picked = int(cv2.remap(ramp, *maps, cv2.INTER_NEAREST)[4, 30])
    print(f'seen: x = 30 + {fraction} picks pixel {picked}; the nearest is {round(30 + fraction)}')
if not start == by_float == linear:
    raise SystemExit('Float maps or INTER_LINEAR moved the object too: this is another problem.')
if by_fixed == start:
    raise SystemExit('The behaviour has changed: the mask stayed in place.')
print('The surprise is still there.')
PYTHON
