"""The paper's ablations (Tables V, VI, VII), one of ours and anybody's, as variants of a training.

A variant is what it says of the training's yaml; the one that says what is there anyway is the
full model, whose trainings the studies share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
import re
from typing import Any

import yaml

from dcfm_ros.training.ablated_network import SWITCHES
from dcfm_ros.training.losses import LossOptions
from dcfm_ros.training.pairs.gaps import AgeMatchedGaps, NeighbourGaps
from dcfm_ros.training.studies.published import published, title

_SEGMENTATION = {'CE': 'ce', 'CE+Dice': 'ce_dice', 'OhemCE': 'ohem'}
_DISTANCE = {'MSE': 'mse', 'L1': 'l1'}
_GAP_CLASSES = {
    f'{kind.__module__}.{kind.__name__}': kind for kind in (NeighbourGaps, AgeMatchedGaps)
}
_NEIGHBOURS, _AGE_MATCHED = _GAP_CLASSES


@dataclass(frozen=True)
class Variant:
    """One row of a study."""

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Nested, as in the yaml of a training; empty: the full model."""
    published: Mapping[str, float] = field(default_factory=dict)
    """What the paper prints for it, by column; fractions."""
    stem: str = ''
    """Of the file that it was read from, if it was."""

    @property
    def folder(self) -> str:
        """Name of the folder that its trainings have; 'full' for the full model."""
        name = (self.stem or self.name).lower()
        return re.sub('[^a-z0-9]+', '_', name).strip('_') if self.changes else 'full'

    def on(self, base: Mapping[str, Any]) -> Variant:
        """Without what the yaml of a training has already, or a training does without being told.

        A weight of a loss only says that the term is there. Variants from files stay as they are.
        """
        if self.stem:
            return self
        return replace(self, changes=_differing(self.changes, _with_defaults(base)))


@dataclass(frozen=True)
class Study:
    """Variants and the figures by which they are compared."""

    title: str
    columns: tuple[str, ...]
    """Keys of the rows of an evaluation."""
    variants: tuple[Variant, ...]
    interval: int = 2
    """Keyframe interval of its figures, frames; 2 is that of the tables in the paper."""
    mode: str = 'both'
    """Of its figures, 'both' or 'past'."""

    def on(self, base: Mapping[str, Any]) -> Study:
        """The study of a training's yaml, see `Variant.on`."""
        return replace(self, variants=tuple(variant.on(base) for variant in self.variants))


def study(name: str) -> Study:
    """Find a study.

    Args:
        name: 'decomposition' (Table V), 'losses' (VI), 'loss_types' (VII), 'gaps' (the paper's
            pairs, direct neighbours, or age-matched ones), or a folder for `read_study`.

    Raises:
        ValueError: If there is no such study, or the folder holds none.
    """
    if name == 'gaps':
        return _GAPS
    if name in _TABLES:
        table, columns = _TABLES[name]
        rows = [_variant(name, row, columns) for row in published(table)]
        return Study(title(table), columns, tuple(rows))
    if Path(name).is_dir():
        return read_study(Path(name))
    known = ', '.join(STUDIES)
    raise ValueError(f'`name` must be one of {known}, or a folder of variants, got {name!r}')


def read_study(folder: Path) -> Study:
    """Read a study from a folder: every yaml is a variant, in order of their names.

    A yaml holds what it changes in the training's; an empty one is the full model. The variant is
    named by a comment in the first line, else by the file; the study by the first line of
    README.md, else by the folder.

    Raises:
        ValueError: If there is no yaml, one is not a table of changes, or two would be trained in
            one folder.
    """
    paths = sorted([*folder.glob('[!.]*.yaml'), *folder.glob('[!.]*.yml')])
    if not paths:
        raise ValueError(f'`name` must be a folder with a yaml per variant, got {folder}')
    variants = tuple(map(_read_variant, paths))
    by_folder: dict[str, Path] = {}
    for variant, path in zip(variants, paths, strict=True):
        if (other := by_folder.setdefault(variant.folder, path)) != path:
            what = 'differ from each other in more than case and punctuation of their names'
            what = 'be the only one without changes' if variant.folder == 'full' else what
            raise ValueError(f'a variant must {what}, got {other} and {path}')
    readme = folder / 'README.md'
    lines = readme.read_text(encoding='utf-8').splitlines() if readme.is_file() else []
    name = _heading(lines) or folder.resolve().name
    columns = ('miou', 'miou_key', 'miou_nonkey', 'mvc8')
    return Study(name, columns, variants, interval=4, mode='past')


def _read_variant(path: Path) -> Variant:
    text = path.read_text(encoding='utf-8')
    try:
        changes = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ValueError(f'{path} is not YAML: {error}') from None
    if not isinstance(changes, dict):
        raise ValueError(f'{path} must be a table of changes, got {changes!r}')
    lines = text.splitlines() if text.startswith('#') else []
    return Variant(_heading(lines) or path.stem, changes, stem=path.stem)


def _heading(lines: Sequence[str]) -> str:
    """The first line without its signs, '' if there is none."""
    return lines[0].strip('# \t') if lines else ''


def _variant(study_name: str, row: Any, columns: tuple[str, ...]) -> Variant:
    """A row of a table of the paper."""
    changes: dict[str, dict[str, Any]]
    if study_name == 'decomposition':
        off = [switch for switch in SWITCHES if not getattr(row, switch)]
        name = ', '.join(f'without {_words(switch)}' for switch in off) or 'full model'
        changes = {'net': {switch: switch not in off for switch in SWITCHES}}
    elif study_name == 'losses':
        terms = {'keyframe': 'L_I', 'nonkey': 'L_B', 'consistency': 'L_con'}
        off = [term for term in terms if not getattr(row, f'{term}_loss')]
        name = ' + '.join(sign for term, sign in terms.items() if term not in off)
        weights = asdict(LossOptions())
        changes = {'loss': {term: 0.0 if term in off else weights[term] for term in terms}}
    else:
        name = f'{row.segmentation_loss}, {row.consistency_loss}'
        kinds = _SEGMENTATION[row.segmentation_loss], _DISTANCE[row.consistency_loss]
        changes = {'loss': dict(zip(('segmentation', 'distance'), kinds, strict=True))}
    printed = {column: getattr(row, column) for column in columns}
    return Variant(name, {'model': changes}, printed)


def _with_defaults(base: Mapping[str, Any]) -> dict[str, Any]:
    """What a training's yaml says of what the studies change, where it is silent the defaults."""
    model, data = base.get('model') or {}, base.get('data') or {}
    gaps = data.get('gaps') or {'class_path': _AGE_MATCHED}
    kind = _GAP_CLASSES.get(str(gaps.get('class_path')))
    arguments = (asdict(kind()) if kind else {}) | (gaps.get('init_args') or {})
    return {
        'model': {
            'net': dict.fromkeys(SWITCHES, True) | (model.get('net') or {}),
            'loss': asdict(LossOptions()) | (model.get('loss') or {}),
        },
        'data': {'gaps': {**gaps, 'init_args': arguments}},
    }


def _differing(changes: Mapping[str, Any], present: Mapping[str, Any]) -> dict[str, Any]:
    """Changes that are not present; what names a class stays whole."""
    left: dict[str, Any] = {}
    for key, value in changes.items():
        old = present.get(key)
        if isinstance(value, Mapping) and 'class_path' not in value:
            if inner := _differing(value, old if isinstance(old, Mapping) else {}):
                left[key] = inner
        elif not _says(old, value):
            left[key] = value
    return left


def _says(old: Any, value: Any) -> bool:
    """Whether a yaml says the same as a change."""
    if isinstance(value, Mapping):
        is_table = isinstance(old, Mapping)
        return is_table and all(_says(old.get(name), item) for name, item in value.items())
    if isinstance(value, float) and value > 0:
        return isinstance(old, int | float) and old > 0
    return bool(old == value)


def _words(switch: str) -> str:
    frame, _, feature = switch.partition('_uses_')
    return f'{feature} in {"keyframes" if frame == "key" else "non-key frames"}'


_TABLES = {
    'decomposition': ('table5_decomposition_b2', ('miou_key', 'miou_nonkey', 'miou')),
    'losses': ('table6_losses_b2', ('miou', 'mvc8', 'mvc16')),
    'loss_types': ('table7_loss_types_b2', ('miou', 'mvc8', 'mvc16')),
}

STUDIES = (*_TABLES, 'gaps')
"""Names that `study` knows beside folders."""


_GAPS = Study(
    'Pairs: direct neighbours (the paper) or the ages that a keyframe interval of 6 produces',
    ('miou', 'miou_nonkey', 'nonkey_loss', 'mvc8'),
    (
        Variant(
            'neighbours (paper)',
            {'data': {'gaps': {'class_path': _NEIGHBOURS, 'init_args': {'reach': 1}}}},
        ),
        Variant(
            'age-matched, K = 6',
            {
                'data': {
                    'gaps': {
                        'class_path': _AGE_MATCHED,
                        'init_args': {'keyframe_intervals': [6]},
                    }
                }
            },
        ),
    ),
    interval=6,
    mode='past',
)
