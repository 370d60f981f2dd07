"""Logits -> class ids -> colours, names, groups, PNG and run lengths: arrays. No ROS.

Uses ``images``.
"""
