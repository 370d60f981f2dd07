#!/usr/bin/env bash
# What happens: NNCF 3.4.0 gives the input of a depthwise convolution a scale per channel and moves
#   that scale upwards, through Reshape and Transpose, to the product of matrices it comes from.
#   There axis 1 is tokens: each gets a scale of its own, as many as the calibration images had.
# Why it matters: this is the feed-forward block of SegFormer (MiT), whose models take images of
#   any size in float32. In int8 they accept only the size they were calibrated with; at that size
#   every place of the image has a scale of its own, learnt from what was there by chance.
# Workaround: AdvancedQuantizationParameters(activations_quantization_params=
#   QuantizationParameters(per_channel=False)), and run the result at a second size.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -qq numpy==2.2.6 nncf==3.4.0 openvino==2026.4.1
venv/bin/python -I - <<'PYTHON'
import logging
import sys

sys.modules['openvino_telemetry'] = None  # nothing is reported
import nncf
import numpy as np
import openvino as ov
from openvino import opset13 as op

nncf.set_log_level(logging.ERROR)
CHANNELS = 24
random = np.random.default_rng(0)


def floats(*shape):
    return random.normal(size=shape).astype(np.float32)


def whole(*numbers):
    return op.constant(np.array(numbers, np.int64))


image = op.parameter([1, -1, -1, 8], np.float32, name='image')
tokens = op.reshape(image, whole(1, -1, 8), False)
wider = op.matmul(tokens, op.constant(floats(8, CHANNELS)), False, False)
size = op.gather(op.shape_of(image), whole(1, 2), op.constant(0))
planes = op.transpose(wider, whole(0, 2, 1))
planes = op.reshape(planes, op.concat([whole(1, CHANNELS), size], 0), False)
weights = op.constant(floats(CHANNELS, 1, 1, 3, 3))
depthwise = op.group_convolution(planes, weights, [1, 1], [1, 1], [1, 1], [1, 1])
model = ov.Model([op.result(depthwise)], [image], 'block')


def run(network, height, width):
    (result,) = ov.compile_model(network, 'CPU')([floats(1, height, width, 8)]).values()
    return result.shape


expected = [run(model, 4, 4), run(model, 6, 8)]
quantised = nncf.quantize(model, nncf.Dataset([floats(1, 4, 4, 8) for _ in range(8)]))
(scale,) = (
    node.input_value(1).get_shape()
    for node in quantised.get_ops()
    if node.get_type_name() == 'FakeQuantize'
    and node.input_value(0).get_node().get_type_name() == 'MatMul'
)
print(f'versions: NNCF {nncf.__version__}, OpenVINO {ov.__version__}')
print(f'expected: 1 or {CHANNELS} scales, one per channel, and shapes {expected}')
at_first = run(quantised, 4, 4)
try:
    at_second = run(quantised, 6, 8)
except RuntimeError as error:
    at_second = f'an error: {str(error).strip().splitlines()[-1]}'
print(f'seen: scales of shape {list(scale)} for 4 x 4 tokens; {at_first}, then {at_second}')
if at_second == expected[1]:
    raise SystemExit('The behaviour has changed: the model in int8 runs at another size.')
print('The surprise is still there.')
PYTHON
