"""Frames of videos, image folders, cameras and rosbags, without ROS; bags made of frames.

Uses ``synthetic`` and ``images``.
"""
