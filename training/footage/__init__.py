"""Datasets: which clips there are, what their labels mean, and how their files are laid out."""
