"""Training pairs (reference frame, labelled frame, label): where from, and how they are varied.

Uses `footage`.
"""
