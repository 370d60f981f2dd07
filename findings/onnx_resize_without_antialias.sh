#!/usr/bin/env bash
# What happens: OpenVINO on the CPU and the new DNN engine of OpenCV 5 accept an ONNX Resize with
#   antialias=1 and compute it as if antialias were 0, without an error or a warning. ONNX Runtime
#   and the reference implementation of the onnx package filter as specified.
# Why it matters: a network that shrinks the camera image inside its graph was trained on filtered
#   images. Deployed, it gets raw samples: thin structures such as poles and lane markings break up
#   and accuracy drops. Comparing the exported file with ONNX Runtime does not reveal it.
# Workaround: shrink the image before the network (cv2.INTER_AREA), or write the filter into the
#   graph as a depthwise convolution with a stride.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -qq numpy==2.2.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1 \
    opencv-python-headless==5.0.0.93
venv/bin/python -I - <<'PYTHON'
import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
import onnxruntime
import openvino

# One-pixel stripes. At a third of the size a filter leaves grey, and every third pixel stripes.
stripes = np.zeros((1, 1, 48, 96), np.float32)
stripes[..., ::2] = 255


def write(path, antialias):
    node = helper.make_node(
        'Resize', ['image', '', '', 'sizes'], ['small'], mode='linear', antialias=antialias
    )
    sizes = numpy_helper.from_array(np.array([1, 1, 16, 32], np.int64), 'sizes')
    image = helper.make_tensor_value_info('image', TensorProto.FLOAT, [1, 1, 48, 96])
    small = helper.make_tensor_value_info('small', TensorProto.FLOAT, [1, 1, 16, 32])
    graph = helper.make_graph([node], 'shrink', [image], [small], [sizes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def by_reference(path):
    return ReferenceEvaluator(path).run(None, {'image': stripes})[0]


def by_onnxruntime(path):
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    return session.run(None, {'image': stripes})[0]


def by_openvino(path):
    # Full precision, so that nothing but the filter can make a difference.
    exact = {'INFERENCE_PRECISION_HINT': 'f32'}
    return openvino.Core().compile_model(path, 'CPU', exact)(stripes)[0]


def by_opencv(path):
    network = cv2.dnn.readNetFromONNX(path)
    network.setInput(stripes)
    return network.forward()


write('filtered.onnx', antialias=1)
write('raw.onnx', antialias=0)
print(
    f'versions: onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}, '
    f'OpenVINO {openvino.__version__}, OpenCV {cv2.__version__}'
)
print('expected: antialias=1 turns one-pixel stripes of 0 and 255 into greys near 128')
ignored = {}
for name, run in (
    ('ONNX reference', by_reference),
    ('ONNX Runtime', by_onnxruntime),
    ('OpenVINO', by_openvino),
    ('OpenCV', by_opencv),
):
    filtered, raw = run('filtered.onnx')[0, 0], run('raw.onnx')[0, 0]
    ignored[name] = bool(np.array_equal(filtered, raw))
    print(
        f'seen: {name:14s} {np.round(filtered[8, 10:16]).astype(int)}, '
        f'{"the same as" if ignored[name] else "unlike"} antialias=0'
    )
if ignored['ONNX reference'] or ignored['ONNX Runtime']:
    raise SystemExit('ONNX Runtime or the reference filters no more: this is another problem.')
if not (ignored['OpenVINO'] and ignored['OpenCV']):
    raise SystemExit('The behaviour has changed: OpenVINO or OpenCV filters now.')
print('The surprise is still there.')
PYTHON
