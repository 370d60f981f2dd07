"""Checkpoints as other releases, or nobody, would have written them."""

from __future__ import annotations

import json

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dcfm_ros.models.checksums import CHECKSUMS


def rewrite(path, change_tensors=None, change_metadata=None):
    with safe_open(path, framework='pt') as file:
        metadata = dict(file.metadata())
    for name in CHECKSUMS:
        metadata.pop(name, None)
    tensors = load_file(path)
    if change_tensors:
        change_tensors(tensors)
    if change_metadata:
        change_metadata(metadata)
    save_file(tensors, path, metadata)


def as_version_1(path):
    """Rewrite a file as version 1 was written: what its configuration lacked was not a choice."""

    def change(metadata):
        config = json.loads(metadata['config'])
        del config['image_mean'], config['image_std']
        # It had no effect on timm networks, which were all cut behind their first stage.
        config['independent_stage'] = 'block'
        metadata.update(format_version='1', config=json.dumps(config))

    rewrite(path, change_metadata=change)
