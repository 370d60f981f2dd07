"""Segmentation heads 0, 1 and 2 of the paper's code: fused feature -> class logits."""

from __future__ import annotations

from torch import nn

from dcfm_ros.models.config import DCFMConfig


def build_head(config: DCFMConfig, channels: int) -> nn.Sequential:
    """The head that `config.head` names.

    Its last module is the classifier, a 1x1 convolution; no convolution has a bias.
    """
    dropout = nn.Dropout2d(config.dropout)
    if config.head == 'linear':
        return nn.Sequential(dropout, nn.Conv2d(channels, config.num_classes, 1, bias=False))
    if config.head == 'mlp':
        hidden, kernel = channels, 1
    else:
        hidden, kernel = config.head_channels, 3
    return nn.Sequential(
        nn.Conv2d(channels, hidden, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(hidden),
        nn.ReLU(),
        dropout,
        nn.Conv2d(hidden, config.num_classes, 1, bias=False),
    )
