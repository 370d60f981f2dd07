"""A recording played to the real node over DDS: at its own rate, or in search of the peak rate.

Uses ``play`` and the rest of ``replay``.
"""
