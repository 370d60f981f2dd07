"""How the network is computed: ``torch_backend`` (PyTorch), ``triton_mask`` (CUDA), ``folding``."""
