"""How the network is computed; at run time only it, ``masks`` and ``models`` know tensors.

- ``interface``: what the engine asks of a backend; ``choice`` makes the one that options name.
- ``torch_backend``: PyTorch, with batch norms folded (``folding``) and the fusion split.
- ``graph_backend``: ``stages`` prepared for one image size and run by a library, its ``Runner``:
  ``openvino_runner`` (from ``onnx_graph``), ``cuda_runner`` (CUDA graphs), or one of yours.
- ``deep_task``: the deep encoder in steps. ``feature_change`` compares features, ``warp`` moves
  them.

Uses ``models``.
"""
