"""How a stream of frames is doing: rates, drops, latency, deadlines. Pure Python, no ROS.

Uses nothing of the package.
"""
