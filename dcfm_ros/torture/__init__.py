"""Long tests of what users rely on: in pieces, seeded, resumable, each with a verdict.

Uses everything but ``cli``.
"""
