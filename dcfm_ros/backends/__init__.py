"""How the network is computed; at run time only it, ``masks`` and ``models`` know tensors.

- ``interface``: what the engine asks of a backend; ``choice`` makes the one that options name.
- ``torch_backend``: PyTorch, with batch norms folded (``folding``) and the fusion split.
- ``openvino_backend``: a ``prepared_network``, that is weights and ``graphs``, in OpenVINO;
  PyTorch only makes the graphs (``graph_making``) and goes on if OpenVINO fails.
- ``graph_backend``: ``stages`` of PyTorch prepared for an image size and replayed by a ``Runner``:
  ``cuda_runner`` (CUDA graphs), or one of yours.
- ``deep_task``: the deep encoder in steps. ``feature_change`` compares features, ``warp`` moves
  them.

Uses ``models``.
"""
