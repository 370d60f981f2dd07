"""Figures of the paper, and the curves of a training, as pictures with their numbers as CSV.

Uses `evaluation`, `footage`, and the published numbers of `studies`.
"""
