"""The node's peer on DDS: plays frames to a node that runs and collects what it answers.

Uses ``ros`` and ``recordings``.
"""
