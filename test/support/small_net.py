"""Small networks with random weights, random images, and the plain order of operations."""

from __future__ import annotations

import numpy as np
import torch

from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.models.dcfm import DCFM, normalise


class GatedDCFM(DCFM):
    """A network whose fusion is not linear: the common feature gates it."""

    fuses_linearly = False

    def fuse(self, common, independent, **options):
        return normalise(common * super().fuse(common, independent, **options))


def make_net(backbone='timm:mobilenetv4_conv_small', num_classes=11, kind=DCFM, **options):
    torch.manual_seed(0)
    net = kind(DCFMConfig(backbone=backbone, num_classes=num_classes, **options))
    # Batch norms as after a training, so that folding them has something to get wrong.
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    return net.eval()


def make_images(count=6, size=(67, 91), seed=0):
    random = np.random.default_rng(seed)
    base = random.integers(0, 256, (*size, 3))
    noise = random.integers(-40, 40, (count, *size, 3))
    return list(np.clip(base + noise, 0, 255).astype(np.uint8))


def to_tensor(image):
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


@torch.no_grad()
def plain_logits(net, keyframe, image):
    """The four public stages, one after another: the reference for everything fast."""
    common = net.encode_common(net.encode_independent(to_tensor(keyframe)))
    independent = net.encode_independent(to_tensor(image))
    fused = net.fuse(common, independent)
    return net.decode(fused, image.shape[:2])[0]


def assert_same_mask(mask, logits):
    """Equal, except for pixels whose two best classes differ only by rounding."""
    expected = logits.argmax(0).numpy()
    best = logits.topk(2, dim=0).values
    is_tie = ((best[0] - best[1]) <= 1e-4 * logits.abs().max()).numpy()
    assert is_tie.mean() < 0.02
    np.testing.assert_array_equal(mask[~is_tie], expected[~is_tie])


def assert_masks_are_of_their_keyframes(net, images, results):
    """Every mask is the plain one of its image and of the keyframe that its age names."""
    for index, (image, result) in enumerate(zip(images, results, strict=True)):
        keyframe = images[index - result.keyframe_age]
        assert_same_mask(result.mask, plain_logits(net, keyframe, image))
