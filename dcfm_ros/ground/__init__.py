"""Mask + calibration + pose of the camera -> occupancy grid of the ground: no depth needed.

Uses ``ros``, ``masks`` and ``images``.
"""
