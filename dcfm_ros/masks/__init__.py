"""Logits -> class ids -> colours, names, groups, PNG and run lengths. No ROS.

Uses ``images``.
"""
