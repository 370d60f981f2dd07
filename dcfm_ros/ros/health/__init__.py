"""How a stream of frames is doing: rates, drops, latency, deadlines. No ROS.

Uses ``percentiles``.
"""
