"""Small networks of other libraries, with random weights, and the folders they are saved in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
import torch
from torch import nn

from dcfm_ros.deploy.convert import convert_network
from dcfm_ros.models.checkpoint import save_checkpoint


def settle(net: nn.Module) -> Any:
    """Batch norms as after a training; float64, eval mode."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return net.double().eval()


def make_segformer(num_classes: int = 5, **sizes: Any) -> Any:
    """A SegFormer of Hugging Face; by default a tiny one, all sizes of which differ."""
    transformers = pytest.importorskip('transformers')
    torch.manual_seed(0)
    tiny = {
        'depths': [1, 2, 1, 2],
        'hidden_sizes': [8, 16, 24, 32],
        'num_attention_heads': [1, 2, 3, 4],
        'sr_ratios': [4, 2, 2, 1],
        'mlp_ratios': [2, 4, 4, 3],
        'decoder_hidden_size': 20,
    }
    config = transformers.SegformerConfig(num_labels=num_classes, **{**tiny, **sizes})
    return settle(transformers.SegformerForSemanticSegmentation(config))


def make_smp(name: str, encoder: str, num_classes: int = 5, **options: Any) -> Any:
    """A network of segmentation_models_pytorch."""
    smp = pytest.importorskip('segmentation_models_pytorch')
    torch.manual_seed(0)
    kind = getattr(smp, name)
    return settle(kind(encoder, encoder_weights=None, classes=num_classes, **options))


def make_torchvision(name: str, num_classes: int = 5, *, has_auxiliary: bool = False) -> Any:
    """A network of torchvision."""
    segmentation = pytest.importorskip('torchvision.models.segmentation')
    torch.manual_seed(0)
    options = {'aux_loss': True} if has_auxiliary else {}
    make = getattr(segmentation, name)
    return settle(make(weights=None, weights_backbone=None, num_classes=num_classes, **options))


def save_folder(net: Any, folder: Path) -> dict[str, torch.Tensor]:
    """Save as its library does; the tensors under the names on disk."""
    net.save_pretrained(folder)
    return load_file(folder / 'model.safetensors')


def convert_small(folder: Path, name: str, num_classes: int = 5, **options: Any) -> Path:
    """A checkpoint of a small network: 'segformer', 'lraspp' or a class of SMP.

    Args:
        folder: Gets it.
        name: Of the network.
        num_classes: Of its masks.
        **options: Sizes of a SegFormer, or of `convert_network`: `labels`.
    """
    source = folder / name
    labels = options.pop('labels', None)
    if name == 'segformer':
        save_folder(make_segformer(num_classes, **options).float(), source)
        done = convert_network('segformer', source, labels=labels)
    elif name == 'lraspp':
        kind = 'lraspp_mobilenet_v3_large'
        source = source.with_suffix('.pth')
        torch.save(make_torchvision(kind, num_classes).float().state_dict(), source)
        done = convert_network('torchvision', source, architecture=kind, labels=labels)
    else:
        encoder = 'resnet18' if name == 'PAN' else 'tu-mobilenetv3_small_050'
        save_folder(make_smp(name, encoder, num_classes).float(), source)
        done = convert_network('smp', source, labels=labels)
    path = folder / f'{name}.safetensors'
    save_checkpoint(path, done.net, done.training)
    return path
