#!/usr/bin/env bash
# What happens: class ids encoded as lossless monochrome H.264 (libx264, qp 0, pix_fmt gray) come
#   back as other ids. The stream holds every byte, but the decoder calls the picture yuv420p, so
#   PyAV's 'gray' and OpenCV stretch 16..235 to 0..255: all ids from 0 to 16 become 0. FFV1 with
#   the same pix_fmt keeps them.
# Why it matters: the masks of a drive as lossless video look safe and take a fraction of the disk.
#   Of a label set with 19 classes, 17 merge into one, and whatever is evaluated or trained on
#   these masks is wrong without an error.
# Workaround: use FFV1, or read plane 0 of the decoded frame, which holds the ids untouched.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -qq numpy==2.2.6 av==18.1.0 opencv-python-headless==5.0.0.93
venv/bin/python -I - <<'PYTHON'
import av
import cv2
import numpy as np

ids = np.repeat(np.arange(20, dtype=np.uint8), 16)[np.newaxis].repeat(64, 0)


def write(path, codec, options):
    with av.open(path, 'w') as container:
        stream = container.add_stream(codec, rate=15, options=options)
        stream.width, stream.height, stream.pix_fmt = ids.shape[1], ids.shape[0], 'gray'
        for frame in (av.VideoFrame.from_ndarray(ids, format='gray'), None):
            container.mux(stream.encode(frame))


def read(path):
    with av.open(path) as container:
        return next(container.decode(video=0))


def plane(frame):
    rows = np.frombuffer(frame.planes[0], np.uint8).reshape(
        frame.height, frame.planes[0].line_size
    )
    return rows[:, : frame.width]


def listed(mask):
    return ' '.join(str(value) for value in mask[32, 8::16])


write('h264.mkv', 'libx264', {'qp': '0'})
write('ffv1.mkv', 'ffv1', {})
h264, ffv1 = read('h264.mkv'), read('ffv1.mkv')
by_pyav = h264.to_ndarray(format='gray')
by_opencv = cv2.VideoCapture('h264.mkv').read()[1][..., 0]
print(f'versions: PyAV {av.__version__}, OpenCV {cv2.__version__}')
print(f'expected: {listed(ids)}, as FFV1 gives: {listed(ffv1.to_ndarray(format="gray"))}')
print(f'seen: PyAV decodes {h264.format.name}: {listed(by_pyav)}')
print(f'seen: OpenCV: {listed(by_opencv)}')
print(f'The first plane, as it was decoded: {listed(plane(h264))}')
if not (np.array_equal(ffv1.to_ndarray(format='gray'), ids) and np.array_equal(plane(h264), ids)):
    raise SystemExit('The encoding itself has lost ids: this is another problem.')
if np.array_equal(by_pyav, ids) or np.array_equal(by_opencv, ids):
    raise SystemExit('The behaviour has changed: the ids came back intact.')
print('The surprise is still there.')
PYTHON
