"""`PreparedNetwork`: weights and the graphs that fit them, which run without PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
import os
from pathlib import Path
from typing import TYPE_CHECKING
import warnings

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.backends.graphs import (
    INT8_SUFFIX,
    SUFFIX,
    Graphs,
    GraphsError,
    graph_key,
    weights_key,
)
from dcfm_ros.machine import has_int8_instructions
from dcfm_ros.models.checkpoint_header import (
    CheckpointError,
    packaged_checkpoints,
    read_metadata,
    read_weights,
)
from dcfm_ros.models.config import Configured, NetworkConfig

if TYPE_CHECKING:
    from dcfm_ros.models.dcfm import DCFM
    from dcfm_ros.models.staged import StagedNetwork

_Weights = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedNetwork(Configured):
    """A network for OpenVINO."""

    config: NetworkConfig
    graphs: Graphs
    weights: Mapping[str, NDArray[np.generic]]
    """By name: those of the checkpoint, and `mean` and `std`, (1, 3, 1, 1)."""
    in_torch: Callable[[], DCFM | StagedNetwork]
    """Makes the same network in PyTorch; raises ImportError where that is not installed."""
    int8: Graphs | None = None
    """The same stages in int8, if there are any."""
    no_int8: str = 'it needs a network from a file, for which `dcfm quantise` makes it'
    """Why there are none."""

    def graphs_for(self, precision: str) -> Graphs:
        """The stages for a precision: 'fp32', 'int8', or 'auto', see `EngineOptions`.

        Raises:
            GraphsError: If they must be int8, and there are none.
        """
        if precision == 'int8':
            if self.int8 is None:
                raise GraphsError(f'`precision` int8 cannot be had: {self.no_int8}')
            return self.int8
        if precision == 'auto' and self.int8 and self.int8.is_for_auto and has_int8_instructions():
            return self.int8
        return self.graphs


def prepare(net: DCFM | StagedNetwork) -> PreparedNetwork:
    """Prepare a network that is in memory; raises what `make_graphs` does."""
    from dcfm_ros.backends.graph_making import make_graphs

    tensors = net.state_dict() | {'mean': net.mean, 'std': net.std}
    return PreparedNetwork(
        config=net.config,
        graphs=make_graphs(net),
        weights={name: value.detach().cpu().numpy() for name, value in tensors.items()},
        in_torch=lambda: net,
    )


def load_prepared(path: Path) -> PreparedNetwork:
    """Load a checkpoint and its graphs, see `find_graphs`, and those in int8 that lie beside it.

    If there are none, and PyTorch is installed, they are made and kept in the user's cache.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file is not a checkpoint, or does not fit its graphs.
        GraphsError: If the file of graphs beside the checkpoint cannot be used.
        ImportError: If there are no graphs, and no PyTorch to make them with.
        UntranslatableError: If PyTorch cannot translate the network.
    """
    config = read_metadata(path).config
    graphs = find_graphs(path, config) or _make_graphs(path, config)
    int8, no_int8 = _find_int8(path)
    weights = read_weights(path)
    _check(path, weights, graphs)
    for name, values in (('mean', config.image_mean), ('std', config.image_std)):
        weights[name] = np.array(values, np.float64).reshape(1, 3, 1, 1)
    return PreparedNetwork(
        config=config,
        graphs=graphs,
        weights=weights,
        in_torch=partial(_load_in_torch, path),
        int8=int8,
        no_int8=no_int8,
    )


def find_graphs(path: Path, config: NetworkConfig) -> Graphs | None:
    """The graphs for a checkpoint of some configuration, or None.

    They lie beside it (weights.graphs beside weights.safetensors), or belong to packaged weights
    of the same architecture, or are in the user's cache folder.

    Raises:
        GraphsError: If the file beside the checkpoint is broken or of another architecture.
    """
    key, beside = graph_key(config), path.with_suffix(SUFFIX)
    if beside.is_file():
        graphs = Graphs.load(beside)
        if graphs.belongs_to != key:
            raise GraphsError(f'{beside} must be of the architecture of {path.name}, make it anew')
        return graphs
    for weights in packaged_checkpoints().values():
        packaged = weights.with_suffix(SUFFIX)
        if packaged.is_file() and (graphs := Graphs.load(packaged)).belongs_to == key:
            return graphs
    try:
        return Graphs.load(_cached(key))
    except FileNotFoundError:
        return None
    except GraphsError as error:
        warnings.warn(f'graphs are made anew: {error}', stacklevel=2)
        return None


def _find_int8(path: Path) -> tuple[Graphs | None, str]:
    """What `dcfm quantise` has written beside a checkpoint, or why it cannot be used."""
    beside = path.with_suffix(INT8_SUFFIX)
    try:
        graphs = Graphs.load(beside)
    except FileNotFoundError:
        return None, f'{path} has no {beside.name} beside it: `dcfm quantise` makes it'
    except GraphsError as error:
        problem = str(error)
    else:
        if (graphs.precision, graphs.belongs_to) == ('int8', weights_key(path)):
            return graphs, ''
        problem = f'{beside} does not belong to the weights in {path.name}'
    problem += ', make it anew with `dcfm quantise`'
    warnings.warn(f'int8 is not used: {problem}', stacklevel=3)
    return None, problem


def _make_graphs(path: Path, config: NetworkConfig) -> Graphs:
    try:
        from dcfm_ros.backends.graph_making import make_graphs
    except ImportError as error:
        msg = f'{path} has no {path.with_suffix(SUFFIX).name} beside it: `dcfm prepare` makes it'
        raise ImportError(f'{msg}, where PyTorch is installed ({error})') from None
    graphs = make_graphs(_load_in_torch(path))
    try:
        graphs.save(_cached(graph_key(config)))
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder
        warnings.warn(f'graphs are made at every start: {error}', stacklevel=2)
    return graphs


def _check(path: Path, weights: _Weights, graphs: Graphs) -> None:
    problems = [f'missing: {name}' for name in graphs.shapes if name not in weights]
    problems += [f'unexpected: {name}' for name in weights if name not in graphs.shapes]
    for name in graphs.shapes.keys() & weights.keys():
        found, wanted = weights[name].shape, tuple(graphs.shapes[name])
        # The graphs take any number of classes.
        is_head = name.startswith('head.') and found[1:] == wanted[1:]
        if found != wanted and not is_head:
            problems.append(f'shape of {name}: {found}, expected {wanted}')
    if problems:
        listed = '\n  '.join(sorted(problems))
        raise CheckpointError(f'{path} does not fit its configuration:\n  {listed}')


def _load_in_torch(path: Path) -> DCFM:
    from dcfm_ros.models.checkpoint import load_checkpoint

    return load_checkpoint(path)


def _cached(key: str) -> Path:
    """Where the graphs of an architecture are kept for the next start."""
    home = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(home) / 'dcfm_ros' / f'{key[:32]}{SUFFIX}'
