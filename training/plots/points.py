"""Points of an accuracy-speed trade-off: the published methods and own evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from dcfm_ros.training.plots.rows import EvaluatedRow, short_names
from dcfm_ros.training.plots.style import Row
from dcfm_ros.training.studies.published import published

# Video methods carry something from frame to frame, image methods do not.
_IMAGE_METHODS = ('DeepLabv3+', 'UperNet', 'PSPNet', 'OCRNet', 'Mask2Former', 'SegFormer', 'FCN')
KINDS = ('image method', 'video method', 'DCFM', 'own evaluation')
_SHORT = {'ResNet-': 'R', 'MiT-': '', 'Swin-': 'Swin-'}


@dataclass(frozen=True, kw_only=True)
class Point:
    """A method in a trade-off; accuracies are fractions in [0, 1]."""

    kind: str
    """'image method', 'video method', 'DCFM' or 'own evaluation'."""
    method: str
    backbone: str
    fps: float
    miou: float
    mvc8: float | None = None
    params_m: float | None = None

    @property
    def label(self) -> str:
        """What is written beside it, for example 'DCFM-B2 K=2'."""
        if not self.backbone:
            return self.method
        short = self.backbone
        for long, replacement in _SHORT.items():
            short = short.replace(long, replacement)
        name, _, schedule = self.method.partition(' ')
        return f'{name}-{short} {schedule}'.strip()

    def row(self) -> Row:
        """What the CSV says of it."""
        return asdict(self)


def vspw_points(own: Sequence[EvaluatedRow] = ()) -> list[Point]:
    """Table II, and own rows that have a speed."""
    return _published_points('table2_vspw') + _own_points(own)


def cityscapes_points(own: Sequence[EvaluatedRow] = ()) -> list[Point]:
    """Table III, and own rows that have a speed."""
    return _published_points('table3_cityscapes') + _own_points(own)


def _published_points(table: str) -> list[Point]:
    points = []
    for row in published(table):
        known = {f.name: getattr(row, f.name) for f in fields(Point) if hasattr(row, f.name)}
        points.append(Point(kind=_kind(row.method), **known))
    return points


def _kind(method: str) -> str:
    if method.startswith('DCFM'):
        return 'DCFM'
    return 'image method' if method in _IMAGE_METHODS else 'video method'


def _own_points(rows: Sequence[EvaluatedRow]) -> list[Point]:
    names = short_names(row.checkpoint for row in rows)
    return [
        Point(
            kind='own evaluation', method=f'{names[row.checkpoint]} {row.schedule_name}',
            backbone='', fps=row.fps, miou=row.miou, mvc8=row.mvc8,
        )
        for row in rows
        if row.fps is not None
    ]  # fmt: skip
