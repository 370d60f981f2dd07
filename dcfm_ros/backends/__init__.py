"""How the network is computed; at run time only it and ``models`` know tensors.

- ``interface``: what the engine asks of a backend, whose features and logits it passes on without
  looking inside; ``choice`` loads networks and makes the backend that options name.
- ``openvino_backend``: a ``prepared_network``, that is weights and ``graphs``, in OpenVINO;
  PyTorch only makes the graphs (``graph_making``) and goes on if OpenVINO fails (``fallback``).
- ``torch_backend``: PyTorch, with batch norms folded (``folding``) and the fusion split.
- ``graph_backend``: ``stages`` of PyTorch prepared for an image size and replayed by a ``Runner``:
  ``cuda_runner`` (CUDA graphs), or one of yours.
- ``deep_task``: the deep encoder in steps.
- ``array_backend``: what is asked of features and logits that are arrays: ``warp`` moves and
  blends them, ``feature_change`` compares them. ``tensor_backend``: the same of tensors, with
  ``torch_warp``, ``torch_masks`` and ``triton_kernel``.

Uses ``masks`` and ``models``.
"""
