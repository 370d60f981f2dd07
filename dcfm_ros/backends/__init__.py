"""How the network is computed.

- ``interface``: what the engine asks of a backend; ``choice`` finds the one that is meant.
- ``torch_backend``: PyTorch, with the batch norms folded (``folding``) and the fusion split.
- ``graph_backend``: stages prepared for one size of image; ``graphs`` makes them, and ONNX of
  them for ``onnx_backend``: ``openvino_backend`` and ``onnxruntime_backend``; ``cuda_backend``
  replays them as CUDA graphs.
- ``triton_mask``: resizing and argmax on CUDA.
"""
