"""The network for other places: exported as graphs, packed to half precision.

Uses ``engine`` and everything below it.
"""
