"""Datasets: which clips they hold, what their labels mean, and whether their files are whole.

Uses recordings and synthetic drives; no other room of training.
"""
