"""`DCFMConfig`: all that is needed to build the network. Travels in every checkpoint; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
import math

from dcfm_ros.models import labels

MIT_BACKBONES = ('mit_b0', 'mit_b1', 'mit_b2', 'mit_b3', 'mit_b4', 'mit_b5')
RESNET_BACKBONES = ('resnet18', 'resnet50', 'resnet101')
HEADS = ('linear', 'mlp', 'conv')
INDEPENDENT_STAGES = ('patch', 'block', 'stage')
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MOTIONS = ('none', 'flow')

_ABLATIONS = (
    'key_uses_common', 'key_uses_independent', 'nonkey_uses_common', 'nonkey_uses_independent',
)  # fmt: skip
"""Keys that checkpoints may hold beside the fields; only `training.ablated_network` reads them."""


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """What every network has that an engine runs.

    Raises:
        ValueError: If a value is outside what its field says.
    """

    num_classes: int
    """Classes of the mask, 2 to 255 (mask value 255 means unlabelled)."""
    motion: str = 'none'
    """What the engine does about motion since the keyframe: 'none' (the paper) or 'flow' (its
    common feature is moved along the optical flow). The network itself is the same."""
    image_mean: tuple[float, ...] = ()
    """What the network subtracts from R, G and B in [0, 1]. Empty: as the backbone's weights were
    trained, by timm's record of a timm network, ImageNet's mean for all others."""
    image_std: tuple[float, ...] = ()
    """What it then divides by, each above 0. Empty: as `image_mean`."""
    confidence_temperature: float = 1.0
    """What logits are divided by before the softmax that gives the confidence, above 0; the mask
    is the same. `dcfm calibrate` fits it (Guo et al., 2017)."""
    class_names: tuple[str, ...] = ()
    """One name per class; empty: 'class 0', 'class 1', ..."""
    palette: tuple[tuple[int, int, int], ...] = ()
    """One RGB colour (0 to 255) per class; empty: generated."""

    @property
    def title(self) -> str:
        """What the network is called in a few words."""
        return type(self).__name__

    @property
    def size_multiple(self) -> int:
        """What rows and columns of an image must be multiples of; it is resized to the nearest."""
        return 1

    @property
    def mask_blending(self) -> float:
        """What the option `mask_blending` of an engine is by itself."""
        return 0.0

    def __post_init__(self) -> None:
        if not 2 <= self.num_classes <= labels.UNLABELLED:
            raise ValueError(f'`num_classes` must be from 2 to 255, got {self.num_classes}')
        self._check_motion()
        for field, above in (('image_mean', -math.inf), ('image_std', 0.0)):
            values = tuple(getattr(self, field))
            is_valid = len(values) in (0, 3) and all(map(math.isfinite, values))
            if not is_valid or min(values, default=1) <= above:
                what = 'three numbers' + (' above 0' if field == 'image_std' else '')
                raise ValueError(f'`{field}` must be {what} or empty, got {values}')
            object.__setattr__(self, field, tuple(map(float, values)))
        if not 0 < self.confidence_temperature < math.inf:
            got = self.confidence_temperature
            raise ValueError(f'`confidence_temperature` must be above 0 and finite, got {got}')
        names = tuple(self.class_names) or labels.generic_names(self.num_classes)
        palette = tuple((int(r), int(g), int(b)) for r, g, b in self.palette)
        palette = palette or labels.generic_palette(self.num_classes)
        for field, value in (('class_names', names), ('palette', palette)):
            if len(value) != self.num_classes:
                msg = f'`{field}` must have one entry per class ({self.num_classes}), '
                raise ValueError(f'{msg}got {len(value)}')
        if not all(0 <= value <= 255 for colour in palette for value in colour):
            raise ValueError(f'`palette` must hold values from 0 to 255, got {palette}')
        object.__setattr__(self, 'class_names', names)
        object.__setattr__(self, 'palette', palette)

    def _check_motion(self) -> None:
        self.check_choice('motion', MOTIONS)

    def check_choice(self, field: str, allowed: tuple[str, ...]) -> None:
        """Raise ValueError unless a field has one of the values allowed."""
        if (value := getattr(self, field)) not in allowed:
            raise ValueError(f'`{field}` must be one of {", ".join(allowed)}, got {value!r}')

    def to_dict(self) -> dict[str, object]:
        """Plain values only, fit for JSON; `from_dict` takes them back."""
        return asdict(self)


class Configured:
    """What has a configuration has its classes."""

    config: NetworkConfig

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per class, in the order of the mask values."""
        return self.config.class_names

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]:
        """One RGB colour per class, in the order of the mask values."""
        return self.config.palette


@dataclass(frozen=True, kw_only=True)
class DCFMConfig(NetworkConfig):
    """Architecture, class names and colours of one DCFM network.

    Raises:
        ValueError: If a value is outside what its field says.
    """

    backbone: str
    """'mit_b0'..'mit_b5', 'resnet18', 'resnet50', 'resnet101', or 'timm:<name>' for any timm
    network that offers `features_only`."""
    head: str = 'linear'
    """'linear' (1x1 conv), 'mlp' (1x1 conv, BN, ReLU, 1x1 conv) or 'conv' (3x3 conv to
    `head_channels`, BN, ReLU, 1x1 conv): `head_nums` 0, 1, 2 of the paper's code."""
    head_channels: int = 256
    """Hidden width of the 'conv' head."""
    fuse_channels: int = 256
    """Width of the all-MLP fuse that ends a MiT or timm encoder (channels)."""
    common_channels: int = 0
    """C_F, channels of the common feature. 0: as the paper (MiT and timm: `fuse_channels` with no
    projection; ResNet-18: 320; ResNet-50/101: 1280)."""
    independent_stage: str = 'block'
    """Where the independent feature of a MiT or timm network is taken: 'patch' (MiT only: patch
    embedding), 'block' (and the first block; the paper) or 'stage' (all of stage 1). A timm
    network that has no such place ends its shallow part behind the stage; ResNets of the paper
    ignore it."""
    pyramid_pooling: bool = True
    """Pyramid pooling (PPM) on top of a ResNet. Other backbones ignore it."""
    dropout: float = 0.1
    """Channel dropout before the classifier and in the all-MLP fuse, training only, in [0, 1)."""
    drop_path: float = 0.1
    """Stochastic depth of a MiT, rising linearly to this rate, training only, in [0, 1)."""
    align_before_norm: bool = False
    """While training, resize the independent feature before its normalisation, as the released
    training code does. Otherwise, and always in eval mode, after it, as the paper and the released
    test code do. Differs for ResNet only."""

    def __post_init__(self) -> None:
        self._check_backbone()
        self._check_architecture()
        super().__post_init__()

    @property
    def title(self) -> str:
        """See `NetworkConfig.title`: the backbone."""
        return self.backbone

    @property
    def mask_blending(self) -> float:
        """See `NetworkConfig.mask_blending`: masks gain in accuracy and steadiness."""
        return 0.5

    def _check_backbone(self) -> None:
        known = MIT_BACKBONES + RESNET_BACKBONES
        is_timm = self.backbone.startswith('timm:') and len(self.backbone) > len('timm:')
        if self.backbone not in known and not is_timm:
            choices = f'one of {", ".join(known)} or timm:<name>'
            raise ValueError(f'`backbone` must be {choices}, got {self.backbone!r}')

    def _check_architecture(self) -> None:
        self.check_choice('head', HEADS)
        self.check_choice('independent_stage', INDEPENDENT_STAGES)
        for field, least in (('head_channels', 1), ('fuse_channels', 1), ('common_channels', 0)):
            if (value := getattr(self, field)) < least:
                raise ValueError(f'`{field}` must be at least {least}, got {value}')
        for field in ('dropout', 'drop_path'):
            if not 0.0 <= getattr(self, field) < 1.0:
                raise ValueError(f'`{field}` must be in [0, 1), got {getattr(self, field)}')

    @classmethod
    def preset(cls, name: str) -> DCFMConfig:
        """The configuration of a published network (and 'vspw_mit_b0', for tests), by name.

        Raises:
            ValueError: If there is no preset of that name; the message lists all.
        """
        dataset, _, backbone = name.partition('_')
        if name not in PRESETS:
            raise ValueError(f'`name` must be one of {", ".join(PRESETS)}, got {name!r}')
        return cls(backbone=backbone, **_DATASETS[dataset])  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> DCFMConfig:
        """Build a configuration from plain values.

        Raises:
            ValueError: If a key is unknown (all are listed), or a value is not allowed.
        """
        known = [field.name for field in fields(cls)]
        values = dict(values)
        for name in _ABLATIONS:
            if name not in known and not values.pop(name, True):
                raise ValueError(f'`{name}` is off: a network of an ablation, for studies only')
        if unknown := sorted(set(values) - set(known)):
            raise ValueError(f'unknown keys {unknown}; known are {known}')
        if missing := [key for key in ('backbone', 'num_classes') if key not in values]:
            raise ValueError(f'missing keys {missing}')
        return cls(**values)  # type: ignore[arg-type]


_DATASETS: dict[str, dict[str, object]] = {
    'vspw': {'num_classes': 124, 'head': 'linear', 'class_names': labels.VSPW_NAMES},
    'cityscapes': {
        'num_classes': 19,
        'head': 'mlp',
        'class_names': labels.CITYSCAPES_NAMES,
        'palette': labels.CITYSCAPES_PALETTE,
    },
    'camvid': {
        'num_classes': 11,
        'head': 'mlp',
        'class_names': labels.CAMVID_NAMES,
        'palette': labels.CAMVID_PALETTE,
    },
}

PRESETS = (
    'vspw_mit_b0', 'vspw_mit_b2', 'vspw_mit_b5', 'cityscapes_mit_b1', 'cityscapes_resnet18',
    'cityscapes_resnet50', 'cityscapes_resnet101', 'camvid_resnet50',
)  # fmt: skip
"""Names that `DCFMConfig.preset` knows: <dataset>_<backbone>, paper Table I and dcfm code."""
