"""Fills the page templates; a page is one HTML file with its style, plots and pictures inside."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import cache
import io
from typing import Any

import cv2
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
import numpy as np
from numpy.typing import NDArray


def render(template: str, **values: Any) -> str:
    """Fill a template of this package; all values are escaped, except plots."""
    return _environment().get_template(template).render(values)


def plain(value: Any) -> str:
    """A value as people read it."""
    if isinstance(value, Mapping):
        return ', '.join(f'{key} {plain(item)}' for key, item in value.items()) or '-'
    if isinstance(value, (list, tuple)):
        return '; '.join(plain(item) for item in value) or '-'
    return f'{value:.3f}' if isinstance(value, float) else '-' if value is None else str(value)


def number(value: float | None, unit: str = '', factor: float = 1.0, digits: int = 1) -> str:
    """A number with its unit, '-' if it is unknown."""
    return '-' if value is None else f'{value * factor:.{digits}f}{unit}'


def percent(value: float | None) -> str:
    """A fraction as a percentage, '-' if it is unknown."""
    return number(value, ' %', 100)


def words(name: str) -> str:
    """A key as words."""
    return name.replace('_', ' ')


def jpeg(image: NDArray[np.uint8]) -> str:
    """An RGB image, (H, W, 3), as a data URL."""
    is_written, data = cv2.imencode('.jpg', image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert is_written
    return 'data:image/jpeg;base64,' + base64.b64encode(data.tobytes()).decode()


def svg(figure: Figure | None) -> str:
    """A plot to be put into a page as it is; '' for None."""
    if figure is None:
        return ''
    buffer = io.StringIO()
    figure.savefig(buffer, format='svg')
    text = buffer.getvalue()
    return text[text.index('<svg') :]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(plain=plain, number=number, percent=percent, words=words, jpeg=jpeg)
    return environment
