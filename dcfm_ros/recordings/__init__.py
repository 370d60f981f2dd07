"""Frames from videos, image folders, cameras and rosbags, without ROS; and bags written from frames.

Uses ``images`` and ``masks``.
"""
