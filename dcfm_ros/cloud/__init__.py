"""Depth image + mask -> labelled point cloud: the second node of the package.

Uses ``ros``, ``masks`` and ``images``.
"""
