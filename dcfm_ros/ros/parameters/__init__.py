"""The parameters of the nodes: a table each, its rules, documents and launch arguments. No ROS.

Uses the option classes of ``keyframes``.
"""
