#!/usr/bin/env bash
# What happens: torch.onnx.export(dynamo=False) leaves a network in another state than it found it
#   in. A network in training mode whose batch norms are frozen (in eval mode) has them in training
#   mode afterwards, because one flag, that of the outermost module, is put back to all of them.
# Why it matters: fine-tuning a segmentation network on few images freezes its batch norms, and
#   often writes a model after every epoch. From the first one on their statistics follow the small
#   batches. Nothing is said, and the loss looks the same.
# Workaround: export a copy.deepcopy(net).eval(), or set the modes again afterwards.
# It downloads PyTorch, which takes a few minutes.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -qq onnx==1.23.2 torch==2.14.1
venv/bin/python -I -W ignore - <<'PYTHON'
import io

import torch
from torch import nn


def frozen():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    net.train()
    net[1].eval()
    return net


def statistics_after_a_step(net):
    net(images)
    return net[1].running_mean.abs().max().item()


images = torch.rand(2, 3, 16, 16)
kept, exported = frozen(), frozen()
file = io.BytesIO()
torch.onnx.export(exported, (images,), file, dynamo=False)
print(f'versions: torch {torch.__version__}')
print(f'expected: the batch norm is in training mode after the export: {kept[1].training}')
print(f'seen: {exported[1].training}')
before, after = statistics_after_a_step(kept), statistics_after_a_step(exported)
print(f'its mean after the next batch: {before:.3f} expected, {after:.3f} seen')
if not file.tell() or before != 0:
    raise SystemExit('Nothing was exported, or nothing was frozen: this is another problem.')
if not exported[1].training or after == 0:
    raise SystemExit('The behaviour has changed: the batch norm stays frozen.')
print('The surprise is still there.')
PYTHON
