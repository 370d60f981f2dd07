#!/usr/bin/env bash
# What happens: OpenVINO on the CPU clips uint8 sums and differences to 0..255, where NumPy and
#   ONNX Runtime wrap around. It disagrees with itself, too: the same Subtract of two constants is
#   folded while the model is compiled, and that code wraps. So min(a - b, b - a), which with
#   wrapping is |a - b| for all changes up to 128, is 0 for every pixel.
# Why it matters: a change score or keyframe trigger that compares two frames as bytes inside the
#   graph passes every check with ONNX Runtime. Under OpenVINO nothing ever seems to change, and
#   the first keyframe is kept forever.
# Workaround: convert to int16 or float32 before subtracting, or compute max(a, b) - min(a, b).
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -qq numpy==2.2.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
venv/bin/python -I - <<'PYTHON'
import numpy as np
import onnx
from onnx import TensorProto, helper
import onnxruntime
import openvino
from openvino import opset15

previous = np.array([10, 200, 7], np.uint8)
current = np.array([20, 100, 7], np.uint8)

nodes = [
    helper.make_node('Sub', ['previous', 'current'], ['forward']),
    helper.make_node('Sub', ['current', 'previous'], ['backward']),
    helper.make_node('Min', ['forward', 'backward'], ['change']),
]
inputs = [
    helper.make_tensor_value_info(name, TensorProto.UINT8, [3]) for name in ('previous', 'current')
]
outputs = [helper.make_tensor_value_info('change', TensorProto.UINT8, [3])]
graph = helper.make_graph(nodes, 'change', inputs, outputs)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)
onnx.checker.check_model(model)
onnx.save(model, 'change.onnx')

core = openvino.Core()
feed = {'previous': previous, 'current': current}
session = onnxruntime.InferenceSession('change.onnx', providers=['CPUExecutionProvider'])
by_onnxruntime = session.run(None, feed)[0]
by_openvino = core.compile_model('change.onnx', 'CPU')(feed)[0]
by_numpy = np.minimum(previous - current, current - previous)

# The same subtraction of two inputs and of two constants (beside an input, which a model needs).
left, right = opset15.parameter([3], np.uint8), opset15.parameter([3], np.uint8)
at_run_time = core.compile_model(
    openvino.Model([opset15.subtract(left, right)], [left, right]), 'CPU'
)
folded = opset15.subtract(opset15.constant(previous), opset15.constant(current))
at_compile_time = core.compile_model(openvino.Model([folded, left], [left]), 'CPU')
of_inputs = at_run_time([previous, current])[0]
of_constants = at_compile_time([previous])[0]

print(
    f'versions: onnxruntime {onnxruntime.__version__}, OpenVINO {openvino.__version__}, '
    f'NumPy {np.__version__}'
)
print(f'Pixels {previous} become {current}.')
print(
    f'expected: change min(a - b, b - a) = {by_numpy} as in NumPy; ONNX Runtime: {by_onnxruntime}'
)
print(f'seen: OpenVINO: {by_openvino}')
print(f'seen: previous - current in OpenVINO: {of_inputs} of inputs, {of_constants} of constants')
if not np.array_equal(by_onnxruntime, by_numpy):
    raise SystemExit('ONNX Runtime does not wrap either: this is another problem.')
if np.array_equal(by_openvino, by_numpy) or np.array_equal(of_inputs, of_constants):
    raise SystemExit('The behaviour has changed: OpenVINO agrees with NumPy or with itself.')
print('The surprise is still there.')
PYTHON
