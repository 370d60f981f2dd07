"""How the network is computed; at run time only it, ``masks`` and ``models`` know tensors.

- ``interface``: what the engine asks of a backend; ``choice`` makes the one that options name.
- ``torch_backend``: PyTorch, with batch norms folded (``folding``) and the fusion split.
- ``graph_backend``: ``stages`` prepared for one image size, run by a library:
  ``openvino_backend`` (from ``onnx_graph``) or ``cuda_backend`` (CUDA graphs).
- ``deep_task``: the deep encoder in steps; ``digest`` and ``warp`` compare and move features.

Uses ``models``.
"""
