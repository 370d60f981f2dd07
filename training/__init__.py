"""Offline training and evaluation: ``datasets``, ``clip_pairs``, ``losses``, ``metrics``, ``module``, ``evaluate``."""
