"""The node's peer on DDS: plays frames to a running node and collects its answers.

Uses ``ros`` and ``recordings``.
"""
