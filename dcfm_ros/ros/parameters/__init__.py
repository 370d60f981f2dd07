"""The parameters of the nodes: one table per node, its rules and its documents. Pure Python, no ROS.

Uses ``ros.health`` and the option classes of ``keyframes`` and ``engine``.
"""
