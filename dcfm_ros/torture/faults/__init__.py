"""What goes wrong around a node and a command, and whether both come back from it.

Uses everything but ``cli``.
"""
