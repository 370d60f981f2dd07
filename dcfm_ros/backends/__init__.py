"""How the network is computed: ``torch_backend`` (PyTorch), ``triton_mask`` and ``folding``."""
