#!/usr/bin/env bash
# What happens: safetensors.numpy.save_file of 0.8.0 writes the memory behind a transposed view as
#   it lies there, under the shape of the view. The file loads without complaint, in the right
#   shape, with its values shuffled. 0.7.0 wrote the same view correctly (upstream issue 825).
# Why it matters: converting weights means transposing them, for example convolutions from HWIO to
#   OIHW, and np.transpose returns a view. The checkpoint passes a strict load, the network runs,
#   and its masks are noise.
# Workaround: save np.ascontiguousarray(array), and compare the loaded file with what was saved.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -qq numpy==2.2.6 safetensors==0.8.0
venv/bin/python -I - <<'PYTHON'
import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

weights_hwio = np.arange(3 * 3 * 2 * 4, dtype=np.float32).reshape(3, 3, 2, 4)
weights = weights_hwio.transpose(3, 2, 0, 1)

save_file({'conv.weight': weights}, 'view.safetensors')
save_file({'conv.weight': np.ascontiguousarray(weights)}, 'copy.safetensors')
np.save('view.npy', weights)
loaded = load_file('view.safetensors')['conv.weight']
print(f'versions: safetensors {safetensors.__version__}, NumPy {np.__version__}')
print(
    f'expected: shape {weights.shape}, first row {weights[0, 0, 0]}, '
    f'as np.load gives: {np.load("view.npy")[0, 0, 0]}'
)
print(
    f'seen: shape {loaded.shape}, first row {loaded[0, 0, 0]}, '
    f'{np.mean(loaded != weights):.0%} of the values differ'
)
if not np.array_equal(load_file('copy.safetensors')['conv.weight'], weights):
    raise SystemExit('A contiguous array is not kept either: this is another problem.')
if np.array_equal(loaded, weights):
    raise SystemExit('The behaviour has changed: the transposed array was kept.')
print('The surprise is still there.')
PYTHON
