"""Offline training and evaluation.

The parts: ``datasets``, ``still_motion``, ``drive_cache``, ``augment``, ``clip_pairs``, ``data``,
``losses``, ``schedule``, ``module``, ``lightning_cli``, ``train``, ``metrics``, ``evaluate``.
"""
