"""How the network is computed.

- ``interface``: what the engine asks of a backend; ``choice`` finds the one that is meant.
- ``torch_backend``: PyTorch, with the batch norms folded (``folding``) and the fusion split.
- ``graph_backend``: libraries that run graphs, ``openvino_backend`` and ``onnxruntime_backend``;
  ``graphs`` makes the graphs.
- ``triton_mask``: resizing and argmax on CUDA.
"""
