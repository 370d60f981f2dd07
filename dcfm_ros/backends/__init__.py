"""How the network is computed: ``torch_backend`` (PyTorch, CPU or CUDA), ``folding``."""
