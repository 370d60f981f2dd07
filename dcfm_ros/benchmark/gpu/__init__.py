"""The parts of the GPU check: ``tests``, ``times``, ``masks`` and ``memory``.

``case`` says what is measured, ``process`` runs a part in a process of its own, ``report`` makes
tables. They need PyTorch, timm, NumPy, OpenCV, safetensors and pytest, nothing else.
"""
