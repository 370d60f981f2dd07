#!/usr/bin/env bash
# What happens: read_points(cloud, skip_nans=True) drops points with finite coordinates because of
#   their colour. The colour is packed into a float32 field, `rgb`. With an alpha of 255, which PCL
#   writes, every colour with red >= 128 is a bit pattern that means NaN. sensor_msgs_py, from
#   which this package is derived, tests every float field in the same way.
# Why it matters: a labelled cloud carries each point's class as a colour. Dropping NaNs drops
#   whole classes, those that the palette paints reddish or white, and keeps the others.
# Workaround: read every point and keep those with finite x, y and z, or pack with alpha 0.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -qq numpy==2.2.6 pointcloud2==0.6.0
venv/bin/python -I - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from pointcloud2 import PointField, create_cloud, read_points

PALETTE = {
    'road': (128, 64, 128),
    'vegetation': (107, 142, 35),
    'person': (220, 20, 60),
    'car': (0, 0, 142),
}
FIELDS = [
    PointField(name, 4 * index, PointField.FLOAT32)
    for index, name in enumerate(('x', 'y', 'z', 'rgb'))
]


def cloud_of(alpha):
    """A cloud of one point per class, all one metre away."""
    colours = [
        alpha << 24 | red << 16 | green << 8 | blue for red, green, blue in PALETTE.values()
    ]
    points = np.ones(len(PALETTE), [('x', 'f4'), ('y', 'f4'), ('z', 'f4'), ('rgb', 'f4')])
    points['rgb'] = np.array(colours, np.uint32).view(np.float32)
    return create_cloud(None, FIELDS, points)


def classes(points):
    colours = np.ascontiguousarray(points['rgb']).view(np.uint32)
    triples = [(int(c) >> 16 & 255, int(c) >> 8 & 255, int(c) & 255) for c in colours]
    return [name for name, colour in PALETTE.items() if colour in triples]


opaque = classes(read_points(cloud_of(255), skip_nans=True))
transparent = classes(read_points(cloud_of(0), skip_nans=True))
everything = classes(read_points(cloud_of(255)))
print(f'versions: pointcloud2 {version("pointcloud2")}, NumPy {np.__version__}')
print('No coordinate in the cloud is NaN.')
print(f'expected: skip_nans=True keeps {everything}; with alpha 0 it keeps {transparent}')
print(f'seen: with alpha 255 it keeps {opaque}')
if everything != list(PALETTE) or transparent != list(PALETTE):
    raise SystemExit(
        'Points are missing with alpha 0 or without the filter too: this is another problem.'
    )
if opaque == everything:
    raise SystemExit('The behaviour has changed: every point was kept.')
print('The surprise is still there.')
PYTHON
