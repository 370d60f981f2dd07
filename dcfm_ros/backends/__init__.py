"""How the network is computed. Uses ``models``.

- ``choice`` finds the backend that is meant; ``interface`` is what the engine asks of it.
- ``torch_backend``: PyTorch, with batch norms folded (``folding``) and the fusion split.
- ``graph_backend``: ``stages`` prepared for one size of image and run by a ``Runner``:
  ``openvino_backend`` (through ``onnx_graph``) or ``cuda_backend``.
- ``deep_task``: the deep encoder in steps that can be spread over frames.
"""
