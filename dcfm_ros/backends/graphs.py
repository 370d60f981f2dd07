"""`Graphs`: a network as models that need no PyTorch, in memory and as a file.

The file is safetensors: every model is a tensor of bytes, and what they are is in the metadata.
Nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from dcfm_ros.files import write_bytes
from dcfm_ros.models.checksums import data_problem, header_problem, seal
from dcfm_ros.models.config import DCFMConfig, NetworkConfig

FORMAT = 'dcfm_ros graphs 2'
"""To be counted up when the stages of a network, or the names in them, change their meaning."""
SUFFIX = '.graphs'
INT8_SUFFIX = '.int8.graphs'
WEIGHT = 'net.'
"""What inputs that are weights are called, before their name in the checkpoint."""
_NOT_IN_THE_GRAPH = (
    'num_classes', 'class_names', 'palette', 'motion', 'dropout', 'drop_path',
    'align_before_norm', 'image_mean', 'image_std', 'confidence_temperature',
)  # fmt: skip
"""What of a configuration graphs are independent of: it is in the weights, or for training."""

_FOREIGN = (SafetensorError, KeyError, ValueError, TypeError, AttributeError, RecursionError)
"""What comes of reading a file of something else."""


class GraphsError(RuntimeError):
    """A file of graphs that cannot be used; the message says which, and why."""


class UntranslatableError(RuntimeError):
    """A network that PyTorch's exporter cannot translate, and why."""


class Model(NamedTuple):
    """A stage for OpenVINO, for images of any size."""

    structure: bytes
    """ONNX without weights, which are inputs (see `WEIGHT`); or OpenVINO's XML."""
    weights: bytes = b''
    """Of OpenVINO's XML."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Graphs:
    """The stages of a network. Features have their channels last, (1, h, w, C).

    - `shallow`: 'image', (1, H, W, 3) uint8 -> what `Independent.by_name` names;
    - `deep`: these, the feature as 'state' if that is no other -> 'common_0', ... of a keyframe;
    - `decoders`: 'feature', 'skip_0', ..., and for one keyframe or two 'keyframe_0_0', ... (the
      first of the first one) -> logits, (1, K, h, w).
    """

    shallow: Model
    deep: Model
    decoders: Mapping[int, Model]
    steps: tuple[tuple[str, ...], ...]
    """Where `deep` may be cut: its outputs that hold, beside its inputs, all there is after each
    step; those of the last one are the common feature."""
    shapes: Mapping[str, tuple[int, ...]]
    """Of the weights by name; those of the head for as many classes as there were when the graphs
    were made."""
    precision: str = 'fp32'
    """'fp32', or 'int8': `shallow` and `deep` have the weights of one checkpoint inside."""
    belongs_to: str = ''
    """`graph_key` of the architecture, or with weights inside `weights_key` of the checkpoint."""
    is_for_auto: bool = False
    """Of int8: whether its masks are close enough to those of fp32 for precision 'auto'."""

    def save(self, path: Path) -> None:
        """Write a file, the same for the same graphs; a crash leaves the old one as it was."""
        models = {'shallow': self.shallow, 'deep': self.deep}
        models |= {f'decode_{count}': model for count, model in self.decoders.items()}
        parts = {
            f'{name}.{part}': getattr(m, part) for name, m in models.items() for part in m._fields
        }
        tensors = {name: np.frombuffer(data, np.uint8) for name, data in parts.items() if data}
        metadata = {
            'format': FORMAT,
            'precision': self.precision,
            'belongs_to': self.belongs_to,
            'is_for_auto': json.dumps(self.is_for_auto),
            'steps': json.dumps(self.steps),
            'shapes': json.dumps(self.shapes),
        }
        write_bytes(path, seal(save(tensors, metadata)))

    @classmethod
    def load(cls, path: Path) -> Graphs:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            GraphsError: If it is something else, not whole, or of another version.
        """
        if not path.is_file():
            raise FileNotFoundError(f'no such file of graphs: {path}')
        try:
            with safe_open(path, framework='np') as file:
                metadata = file.metadata() or {}
                if (found := metadata.get('format')) != FORMAT:
                    raise GraphsError(f'{path} must have format {FORMAT!r}, got {found!r}')
                if problem := header_problem(path) or data_problem(path):
                    raise GraphsError(f'{path} cannot be used: {problem}')
                parts = {key: file.get_tensor(key).tobytes() for key in file.keys()}  # noqa: SIM118
            return cls._from_parts(parts, metadata)
        except _FOREIGN as error:
            raise GraphsError(f'{path} is not a whole file of graphs: {error!r}') from None

    @classmethod
    def _from_parts(cls, parts: Mapping[str, bytes], metadata: Mapping[str, str]) -> Graphs:
        names = {key.partition('.')[0] for key in parts}
        models = {n: Model(parts[f'{n}.structure'], parts.get(f'{n}.weights', b'')) for n in names}
        shapes = {
            str(name): tuple(map(int, s)) for name, s in json.loads(metadata['shapes']).items()
        }
        return cls(
            shallow=models.pop('shallow'),
            deep=models.pop('deep'),
            decoders={int(name.removeprefix('decode_')): m for name, m in models.items()},
            steps=tuple(tuple(map(str, step)) for step in json.loads(metadata['steps'])),
            shapes=shapes,
            precision=metadata['precision'],
            belongs_to=metadata['belongs_to'],
            is_for_auto=json.loads(metadata.get('is_for_auto', 'false')) is True,
        )


def graph_key(config: NetworkConfig) -> str:
    """What the graphs of two networks have in common if one fits the other's weights."""
    values: dict[str, Any] = asdict(config)
    for name in _NOT_IN_THE_GRAPH:
        values.pop(name, None)
    if not isinstance(config, DCFMConfig):  # only its head is known to take any number of classes
        values['num_classes'] = config.num_classes
    return hashlib.sha256(json.dumps([FORMAT, values], sort_keys=True).encode()).hexdigest()


def weights_key(path: Path) -> str:
    """SHA-256 of a file of weights, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
