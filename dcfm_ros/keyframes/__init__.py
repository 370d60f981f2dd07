"""When a frame is a keyframe, what the keyframe leaves behind, and where its content is by now.

Uses ``backends``, ``masks``, ``images`` and ``models``; ``engine`` is the only caller on a robot.
"""
