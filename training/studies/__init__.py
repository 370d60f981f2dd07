"""Ablation studies: variants of a training, trained and tabled beside the paper's figures."""
