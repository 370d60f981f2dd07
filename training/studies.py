"""The paper's ablations (Tables V, VI, VII) and one of our own, as variants of one training.

A variant is what it changes in the training's yaml; the full model changes nothing, so the
studies share its trainings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
import re
from typing import Any

from dcfm_ros.training.published import (
    DecompositionRow,
    LossRow,
    LossTypeRow,
    published,
    title,
)

SEGMENTATION = {'CE': 'ce', 'CE+Dice': 'ce_dice', 'OhemCE': 'ohem'}
DISTANCE = {'MSE': 'mse', 'L1': 'l1'}
SWITCHES = (
    'key_uses_common', 'key_uses_independent', 'nonkey_uses_common', 'nonkey_uses_independent',
)  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """One row of a study."""

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Nested, as in the yaml of a training; empty: the full model."""
    published: Mapping[str, float] = field(default_factory=dict)
    """What the paper prints for it, by column; fractions."""

    @property
    def folder(self) -> str:
        """Name of the folder that its trainings have; 'full' for the full model."""
        return re.sub('[^a-z0-9]+', '_', self.name.lower()).strip('_') if self.changes else 'full'


@dataclass(frozen=True)
class Study:
    """Variants and the figures by which they are compared."""

    title: str
    columns: tuple[str, ...]
    """Keys of the rows of an evaluation."""
    variants: tuple[Variant, ...]
    interval: int = 2
    """Keyframe interval of its figures, frames."""
    mode: str = 'both'
    """Of its figures, 'both' or 'past'."""


def study(name: str) -> Study:
    """A study by name: 'decomposition' (Table V), 'losses' (VI), 'loss_types' (VII) or 'gaps'.

    'gaps' compares the paper's pairs, direct neighbours, with age-matched ones.

    Raises:
        ValueError: If there is no such study.
    """
    if name not in STUDIES:
        raise ValueError(f'`name` must be one of {", ".join(STUDIES)}, got {name!r}')
    if name == 'gaps':
        return _GAPS
    table, columns = _TABLES[name]
    rows = published(table)
    variants = tuple(_variant(row, columns) for row in rows)
    return Study(title(table), columns, variants)


def _variant(row: Any, columns: tuple[str, ...]) -> Variant:
    figures = {column: getattr(row, column) for column in columns}
    if isinstance(row, DecompositionRow):
        off = [name for name in SWITCHES if not getattr(row, name)]
        name = ', '.join(f'without {_words(switch)}' for switch in off) or 'full model'
        changes: dict[str, Any] = {'model': {'net': dict.fromkeys(off, False)}} if off else {}
        return Variant(name, changes, figures)
    if isinstance(row, LossRow):
        terms = {'keyframe': 'L_I', 'nonkey': 'L_B', 'consistency': 'L_con'}
        on = {term: getattr(row, f'{term}_loss') for term in terms}
        off = [term for term in terms if not on[term]]
        changes = {'model': {'loss': dict.fromkeys(off, 0.0)}} if off else {}
        return Variant(' + '.join(terms[term] for term in terms if on[term]), changes, figures)
    assert isinstance(row, LossTypeRow)
    kinds = {
        'segmentation': SEGMENTATION[row.segmentation_loss],
        'distance': DISTANCE[row.consistency_loss],
    }
    default = {'segmentation': 'ce', 'distance': 'mse'}
    changed = {key: value for key, value in kinds.items() if value != default[key]}
    name = f'{row.segmentation_loss}, {row.consistency_loss}'
    return Variant(name, {'model': {'loss': changed}} if changed else {}, figures)


def _words(switch: str) -> str:
    frame, _, feature = switch.partition('_uses_')
    return f'{feature} in {"keyframes" if frame == "key" else "non-key frames"}'


_TABLES = {
    'decomposition': ('table5_decomposition_b2', ('miou_key', 'miou_nonkey', 'miou')),
    'losses': ('table6_losses_b2', ('miou', 'mvc8', 'mvc16')),
    'loss_types': ('table7_loss_types_b2', ('miou', 'mvc8', 'mvc16')),
}

STUDIES = (*_TABLES, 'gaps')
"""Names that `study` knows."""


def _gaps(intervals: tuple[int, ...]) -> dict[str, Any]:
    return {
        'data': {
            'gaps': {
                'class_path': 'dcfm_ros.training.gaps.AgeMatchedGaps',
                'init_args': {'keyframe_intervals': list(intervals)},
            }
        }
    }


_GAPS = Study(
    'Pairs: direct neighbours (the paper) or the ages that a keyframe interval of 6 produces',
    ('miou', 'miou_nonkey', 'nonkey_loss', 'mvc8'),
    (Variant('neighbours (paper)'), Variant('age-matched, K = 6', _gaps((6,)))),
    interval=6,
    mode='past',
)
