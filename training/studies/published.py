"""The numbers that the paper prints, typed; the data itself is `published.yaml` beside this file.

Accuracies (miou, wiou, mvc) are fractions in [0, 1] here, as everywhere in code.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal, overload

import yaml

Number = float | int


@dataclass(frozen=True, kw_only=True)
class TrainingRow:
    """A setting of Table I, by training configuration; None where the paper's text lost it."""

    setting: str
    vspw_mit: Number | str | None
    cityscapes_mit: Number | str | None
    cityscapes_resnet: Number | str | None
    camvid_resnet: Number | str | None


@dataclass(frozen=True, kw_only=True)
class VspwRow:
    """A method of Table II."""

    method: str
    """Its name, with the keyframe interval where that varies: 'DCFM K=2'."""
    backbone: str
    miou: float
    wiou: float
    mvc8: float
    mvc16: float
    params_m: float
    """Parameters, millions."""
    gflops: float
    """Mean 1e9 multiply-adds per frame of 480x853."""
    fps: float


@dataclass(frozen=True, kw_only=True)
class SpeedRow:
    """A method of Table III (Cityscapes) or IV (CamVid)."""

    method: str
    backbone: str
    miou: float
    fps: float


@dataclass(frozen=True, kw_only=True)
class DecompositionRow:
    """A row of Table V; the first four fields are the switches of `AblatedConfig`."""

    key_uses_common: bool
    key_uses_independent: bool
    nonkey_uses_common: bool
    nonkey_uses_independent: bool
    miou_key: float
    miou_nonkey: float
    miou: float


@dataclass(frozen=True, kw_only=True)
class LossRow:
    """A row of Table VI: which terms of the loss are on."""

    keyframe_loss: bool
    """L_I."""
    nonkey_loss: bool
    """L_B."""
    consistency_loss: bool
    """L_con."""
    miou: float
    mvc8: float
    mvc16: float


@dataclass(frozen=True, kw_only=True)
class LossTypeRow:
    """A row of Table VII: the type of L_I and L_B, and of L_con."""

    segmentation_loss: str
    consistency_loss: str
    miou: float
    mvc8: float
    mvc16: float


@dataclass(frozen=True, kw_only=True)
class TimeRow:
    """A stage of Table VIII, ms per frame; None where a frame does not run it."""

    stage: str
    segformer_ms: float | None
    key_ms: float | None
    nonkey_ms: float | None


@dataclass(frozen=True, kw_only=True)
class ModeRow:
    """A row of Table IX: both keyframes (B mode) or the past one only (P mode)."""

    model: str
    mode: str
    """'both' or 'past'."""
    miou: float
    frame_ms: float
    """Mean time per frame."""
    latency_ms: float
    """From the acquisition of a frame to its mask, worst case."""


@dataclass(frozen=True, kw_only=True)
class DatasetRow:
    """A dataset of section IV-A; `train`, `val`, `test` count clips (VSPW) or labelled frames."""

    dataset: str
    videos: int | None
    train: int
    val: int
    test: int
    classes: int
    rate_hz: float
    frames: int | None
    """Frames of a clip, where all have the same."""
    labelled_frame: int | None
    """Which of them is labelled, from 1."""
    height: int
    width: int


_ROWS: dict[str, type[Any]] = {
    'table1_training': TrainingRow,
    'table2_vspw': VspwRow,
    'table3_cityscapes': SpeedRow,
    'table4_camvid': SpeedRow,
    'table5_decomposition_b2': DecompositionRow,
    'table6_losses_b2': LossRow,
    'table7_loss_types_b2': LossTypeRow,
    'table8_time_ms_b5_vspw_v100': TimeRow,
    'table9_modes_vspw_k2': ModeRow,
    'datasets': DatasetRow,
}

TABLES = tuple(_ROWS)
"""Names that `published` knows."""


@overload
def published(name: Literal['table1_training']) -> tuple[TrainingRow, ...]: ...
@overload
def published(name: Literal['table2_vspw']) -> tuple[VspwRow, ...]: ...
@overload
def published(name: Literal['table3_cityscapes', 'table4_camvid']) -> tuple[SpeedRow, ...]: ...
@overload
def published(name: Literal['table5_decomposition_b2']) -> tuple[DecompositionRow, ...]: ...
@overload
def published(name: Literal['table6_losses_b2']) -> tuple[LossRow, ...]: ...
@overload
def published(name: Literal['table7_loss_types_b2']) -> tuple[LossTypeRow, ...]: ...
@overload
def published(name: Literal['table8_time_ms_b5_vspw_v100']) -> tuple[TimeRow, ...]: ...
@overload
def published(name: Literal['table9_modes_vspw_k2']) -> tuple[ModeRow, ...]: ...
@overload
def published(name: Literal['datasets']) -> tuple[DatasetRow, ...]: ...
@overload
def published(name: str) -> tuple[Any, ...]: ...


@cache
def published(name: str) -> tuple[Any, ...]:
    """The rows of a published table, in the order in which the paper prints them.

    Raises:
        ValueError: If there is no such table; the message lists all.
    """
    table = _table(name)
    columns = table['columns']
    return tuple(
        _ROWS[name](**{c: _in_code(c, v) for c, v in zip(columns, row, strict=True)})
        for row in table['rows']
    )


def title(name: str) -> str:
    """What a published table is about, and its number in the paper.

    Raises:
        ValueError: If there is no such table.
    """
    return str(_table(name)['title'])


def _table(name: str) -> dict[str, Any]:
    if name not in TABLES:
        raise ValueError(f'`name` must be one of {", ".join(TABLES)}, got {name!r}')
    found: dict[str, Any] = _file()[name]
    return found


@cache
def _file() -> dict[str, Any]:
    path = resources.files('dcfm_ros.training').joinpath('published.yaml')
    loaded: dict[str, Any] = yaml.safe_load(path.read_text(encoding='utf-8'))
    return loaded


def _in_code(column: str, value: Any) -> Any:
    """Per cent, as printed, to a fraction; rounded, so that 44.8 % is 0.448 and not 0.4479..9."""
    return round(value / 100, 6) if column.startswith(('miou', 'wiou', 'mvc')) else value
