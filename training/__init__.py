"""Offline training and evaluation.

The parts: ``datasets``, ``clip_pairs``, ``losses``, ``schedule``, ``module``, ``train``,
``metrics``, ``evaluate``.
"""
