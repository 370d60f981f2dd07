"""The parameters of the nodes: one table each, its rules and its documents. No ROS.

Uses ``ros.health`` and the option classes of ``keyframes`` and ``engine``.
"""
