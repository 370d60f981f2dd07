"""A recording played to the real node over DDS: a run at its own rate, or a search for the peak rate.

Uses ``play`` and the rest of ``replay``.
"""
