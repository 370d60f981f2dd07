"""Accuracy, consistency and times of the engine, on the labelled frames of a dataset.

Uses the engine, `footage` and `workers`.
"""
