#!/usr/bin/env bash
# What happens: the SegFormer of transformers never reads `layer_norm_eps` of its configuration.
#   Every layer norm has PyTorch's 1e-5, whatever config.json says; it says 1e-6 in every folder
#   that save_pretrained writes, for that is the default of SegformerConfig, whose documentation
#   calls it "the epsilon used by the layer normalization layers".
# Why it matters: whoever builds the network again from config.json (for export, in C++, in timm)
#   and obeys it gets other features. Masks still look right, so that only a comparison with the
#   library itself finds the mistake.
# Workaround: build every layer norm with 1e-5, and compare with the library.
# It downloads PyTorch, which takes a few minutes.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -qq torch==2.14.1 transformers==5.24.0
HF_HUB_OFFLINE=1 venv/bin/python -I - <<'PYTHON'
from importlib.metadata import version

import torch
from transformers import SegformerConfig, SegformerModel


def features(eps):
    torch.manual_seed(0)  # the same weights each time
    model = SegformerModel(SegformerConfig(layer_norm_eps=eps)).eval()
    norms = {module.eps for module in model.modules() if isinstance(module, torch.nn.LayerNorm)}
    with torch.no_grad():
        return model(image).last_hidden_state, norms


image = torch.rand(1, 3, 64, 64)
usual, _ = features(1e-6)
large, norms = features(0.5)
print(f'versions: transformers {version("transformers")}, torch {version("torch")}')
print('expected: with layer_norm_eps=0.5, layer norms of 0.5 and other features than with 1e-6')
print(f'seen: layer norms of {norms}; the features are the same: {torch.equal(usual, large)}')
vector = torch.tensor([0.0, 1.0])
small, big = (torch.nn.LayerNorm(2, eps=eps)(vector) for eps in (1e-6, 0.5))
if torch.equal(small, big):
    raise SystemExit('An epsilon of 0.5 makes no difference: this is another problem.')
if norms != {1e-5} or not torch.equal(usual, large):
    raise SystemExit('The behaviour has changed: the configuration is read.')
print('The surprise is still there.')
PYTHON
