"""Ablations: variants of a training, each trained and evaluated, beside the paper's numbers.

Uses `evaluation` and `footage`; trains in processes of their own.
"""
