"""The parts of the ROS nodes: a camera with its topics, the worker, messages, subscriptions.

Uses ``engine`` and everything below it. ``node`` wires these parts together.
"""
