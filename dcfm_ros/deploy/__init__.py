"""The network for other places: exported as graphs, packed to half precision, converted.

Uses ``training``, for files of classes, and the rooms below it.
"""
