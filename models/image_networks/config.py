"""`ImageNetworkConfig`: all that is needed to build a network of another library; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
import json
import re
from typing import Any

from dcfm_ros.models.config import IMAGENET_MEAN, IMAGENET_STD, DCFMConfig, NetworkConfig

LIBRARIES = ('segformer', 'smp', 'torchvision')
LARGEST_CUT = 4
_CLASSIFIERS = {
    'segformer': r'classifier',
    'smp': r'segmentation_head\.0',
    'torchvision': r'classifier\.(4|low_classifier|high_classifier)',
}
"""Names of the layers with one output per class, as regular expressions."""


@dataclass(frozen=True, kw_only=True)
class ImageNetworkConfig(NetworkConfig):
    """Architecture, class names and colours of a network that another library trained.

    An empty normalisation is ImageNet's.

    Raises:
        ValueError: If a value is outside what its field says.
    """

    library: str
    """'segformer' (Hugging Face), 'smp' (segmentation_models.pytorch) or 'torchvision'."""
    architecture: Mapping[str, Any]
    """What the library needs to build the network, plain values only: the sizes of a SegFormer
    under the names of its config.json; {'class', 'parameters', 'size_multiple'} of SMP; {'name'}
    of torchvision."""
    cut: int = 1
    """Stages that run on every frame, 1 to 4: 1 = up to stride 4, 2 = the next one too, and so on.
    At least one stage must be left for keyframes."""
    motion: str = 'flow'
    """As `NetworkConfig.motion`. The network has not learnt to put up with a common feature that
    is out of place, so it is moved."""

    @property
    def title(self) -> str:
        """See `NetworkConfig.title`: the library, and what the network is called there."""
        what = {**self.architecture, **self.architecture.get('parameters', {})}
        parts = (what.get(key) for key in ('name', 'class', 'encoder_name'))
        return ' '.join([self.library, *(str(part) for part in parts if part)])

    @property
    def size_multiple(self) -> int:
        """See `NetworkConfig.size_multiple`; SMP refuses other sizes, see its documentation."""
        return int(self.architecture.get('size_multiple', 1))

    def is_of_classifier(self, key: str) -> bool:
        """Whether a key of the state dict is of a layer with one output per class."""
        pattern = rf'.*\.{_CLASSIFIERS[self.library]}\.(weight|bias)'
        return re.fullmatch(pattern, key) is not None

    def with_classes_of(self, other: NetworkConfig) -> ImageNetworkConfig:
        """The same network with the classes of another one."""
        architecture = dict(self.architecture)
        if self.library == 'smp':
            parameters = {**architecture['parameters'], 'classes': other.num_classes}
            architecture['parameters'] = parameters
        return replace(
            self,
            architecture=architecture,
            num_classes=other.num_classes,
            class_names=other.class_names,
            palette=other.palette,
        )

    def __post_init__(self) -> None:
        self.check_choice('library', LIBRARIES)
        if type(self.cut) is not int or not 1 <= self.cut <= LARGEST_CUT:
            raise ValueError(f'`cut` must be from 1 to {LARGEST_CUT}, got {self.cut!r}')
        try:
            architecture = dict(json.loads(json.dumps(dict(self.architecture))))
        except (TypeError, ValueError) as error:
            raise ValueError(f'`architecture` must hold plain values only: {error}') from None
        object.__setattr__(self, 'architecture', architecture)
        for field, default in (('image_mean', IMAGENET_MEAN), ('image_std', IMAGENET_STD)):
            object.__setattr__(self, field, tuple(getattr(self, field)) or default)
        super().__post_init__()

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> ImageNetworkConfig:
        """Build a configuration from plain values.

        Raises:
            ValueError: If a key is unknown or missing (all are listed), or a value not allowed.
        """
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise ValueError(f'unknown keys {unknown}; known are {known}')
        needed = ('library', 'architecture', 'num_classes')
        if missing := [key for key in needed if key not in values]:
            raise ValueError(f'missing keys {missing}')
        return cls(**values)  # type: ignore[arg-type]


def network_config(values: Mapping[str, object]) -> DCFMConfig | ImageNetworkConfig:
    """The configuration of whichever kind of network these plain values describe.

    Raises:
        ValueError: If a key is unknown or missing, or a value is not allowed.
    """
    if 'library' in values:
        return ImageNetworkConfig.from_dict(values)
    return DCFMConfig.from_dict(values)
