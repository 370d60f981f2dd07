"""When a frame is a keyframe, what it leaves behind, and where its content is now.

Uses ``backends``, ``masks``, ``images`` and ``models``; at run time only ``engine`` uses it.
"""
