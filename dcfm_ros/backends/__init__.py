"""How the network is computed: ``torch_backend`` (PyTorch, CPU or CUDA), ``triton_mask``, ``folding``."""
