"""When a frame is a keyframe, what it leaves behind, and where its content is now.

Uses ``backends`` and ``images``; at run time only ``engine`` uses it.
"""
