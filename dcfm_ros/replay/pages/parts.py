"""What every report page is made of: one HTML file with its style, plots and pictures inside."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
import html
import io
from typing import Any

import cv2
import matplotlib

matplotlib.use('Agg')
from matplotlib.figure import Figure
import numpy as np
from numpy.typing import NDArray

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem;
  color: #1c2733; background: #fff }
h1 { font-size: 1.6rem; margin-bottom: 0 } h2 { font-size: 1.15rem; margin-top: 2rem }
p.note { color: #5a6875; margin-top: .2rem }
.warning { background: #fff4e0; border-left: 4px solid #d8863b; padding: .5rem 1rem }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0 }
.tile { background: #f2f5f8; border-radius: 8px; padding: .6rem 1rem; min-width: 7.5rem }
.tile b { display: block; font-size: 1.4rem } .tile span { color: #5a6875; font-size: .85rem }
table { border-collapse: collapse; max-width: 100%; margin-bottom: .8rem }
td, th { padding: .25rem .9rem .25rem 0; text-align: left; vertical-align: top }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere }
tr { border-bottom: 1px solid #e3e8ed }
table.rows th, table.rows td { text-align: right; white-space: nowrap }
table.rows th:first-child, table.rows td:first-child { text-align: left }
.wide { overflow-x: auto } .better { color: #1d7a3a } .worse { color: #b00020 }
video, img, svg { max-width: 100%; height: auto } figure { margin: 0 0 .6rem }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page; `parts` are HTML."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{html.escape(title)}</title><style>{_STYLE}</style></head>'
        f'<body><h1>{html.escape(title)}</h1>{"".join(parts)}</body></html>'
    )


def note(text: str) -> str:
    """A line of small print."""
    return f'<p class="note">{html.escape(text)}</p>'


def warning(texts: Sequence[str]) -> str:
    """A box with what the reader must know first; '' if there is nothing."""
    lines = '<br>'.join(html.escape(text) for text in texts)
    return f'<p class="warning">{lines}</p>' if texts else ''


def tiles(shown: Iterable[tuple[str, Any]]) -> str:
    """The few figures that matter most, large."""
    boxes = (
        f'<div class="tile"><span>{html.escape(name)}</span><b>{html.escape(str(value))}</b></div>'
        for name, value in shown
    )
    return f'<div class="tiles">{"".join(boxes)}</div>'


def section(heading: str, *parts: str) -> str:
    """A heading and what follows it; '' where nothing does."""
    content = ''.join(parts)
    return f'<h2>{html.escape(heading)}</h2>{content}' if content else ''


def plot(figure: Figure | None) -> str:
    """A plot as it is seen on the page; '' for None."""
    return '' if figure is None else f'<figure>{_svg(figure)}</figure>'


def picture(image: NDArray[np.uint8], name: str = 'frame') -> str:
    """An RGB image, (H, W, 3)."""
    return f'<figure><img alt="{html.escape(name)}" src="{jpeg(image)}"></figure>'


def video(path: str, snapshots: Sequence[NDArray[np.uint8]]) -> str:
    """A video beside the page, with the first of the snapshots until it plays."""
    poster = f' poster="{jpeg(snapshots[0])}"' if snapshots else ''
    return f'<video controls muted loop src="{html.escape(path)}"{poster}></video>'


def table(values: Mapping[str, Any]) -> str:
    """A name and its value per line; values that are mappings are told in one line."""
    rows = (
        f'<tr><th>{html.escape(str(name))}</th><td>{html.escape(plain(value))}</td></tr>'
        for name, value in values.items()
    )
    return f'<table>{"".join(rows)}</table>'


def rows_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of figures under the names of their columns."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = ''.join(f'<th>{html.escape(name)}</th>' for name in names)
    lines = (''.join(_cell(name, row.get(name)) for name in names) for row in rows)
    body = ''.join(f'<tr>{line}</tr>' for line in lines)
    return f'<div class="wide"><table class="rows"><tr>{head}</tr>{body}</table></div>'


def _cell(name: str, value: Any) -> str:
    style = f' class="{html.escape(plain(value))}"' if name == 'verdict' else ''
    return f'<td{style}>{html.escape(plain(value))}</td>'


def plain(value: Any) -> str:
    """A value as people read it."""
    if isinstance(value, Mapping):
        return ', '.join(f'{key} {plain(item)}' for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return '; '.join(plain(item) for item in value)
    return f'{value:.3f}' if isinstance(value, float) else '-' if value is None else str(value)


def number(value: float | None, unit: str = '', factor: float = 1.0, digits: int = 1) -> str:
    """A figure with its unit, '-' where it is unknown."""
    return '-' if value is None else f'{value * factor:.{digits}f}{unit}'


def jpeg(image: NDArray[np.uint8]) -> str:
    """An RGB image as the address of itself."""
    is_written, data = cv2.imencode('.jpg', image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert is_written
    return 'data:image/jpeg;base64,' + base64.b64encode(data.tobytes()).decode()


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format='svg')
    text = buffer.getvalue()
    return text[text.index('<svg') :]
