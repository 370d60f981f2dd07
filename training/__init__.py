"""Offline training and evaluation.

Data: ``datasets`` and ``layouts``, ``label_sets``, ``gaps``, ``pair_sources``, ``augment``,
``clip_pairs``, ``data``. The loop: ``losses``, ``optimisation``, ``module``, ``train``.
Measuring: ``metrics``, ``evaluate``, ``ages``. The paper: ``published``, ``ablate``, ``figures``
and ``plots``.
"""
