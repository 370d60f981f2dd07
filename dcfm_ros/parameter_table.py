"""The parameters as `config/segmentation.yaml` and as tables of `docs/node.md` and `README.md`.

After a change of `parameters`, `python -m dcfm_ros.parameter_table` in a checkout writes them all.
"""

from __future__ import annotations

from pathlib import Path
import textwrap

from dcfm_ros.files import write_text
from dcfm_ros.parameter_rules import allowed_values, type_name
from dcfm_ros.parameters import LIVE, SPECS, NodeParameters

MANUAL = 'docs/node.md'
README = 'README.md'
YAML = 'config/segmentation.yaml'
_BEGIN = '<!-- written by python -m dcfm_ros.parameter_table -->'
_END = '<!-- end of what it writes -->'
_YAML_HEAD = """\
# Parameters of segmentation_node: all of them, with their defaults. docs/node.md has the table.
# The name /** makes the file work in any namespace.
/**:
  ros__parameters:
"""


def files(root: Path) -> dict[Path, str]:
    """What the files of a checkout must hold, their own text outside the tables included.

    Raises:
        ValueError: If the marks around a table are missing.
    """
    tables = {MANUAL: manual_table(), README: readme_table()}
    texts = {root / name: _with_table(root / name, table) for name, table in tables.items()}
    return texts | {root / YAML: yaml_text()}


def manual_table() -> str:
    """All that is known of each parameter, Markdown."""
    lines = [
        '| Name | Type | Default | Allowed | Can be changed | Meaning |',
        '|---|---|---|---|---|---|',
    ]
    for name, spec in SPECS.items():
        cells = [f'`{name}`', type_name(name), _code(name), _allowed(name)]
        lines.append(f'| {" | ".join([*cells, spec.changeable, spec.description])} |')
    return '\n'.join(lines)


def readme_table() -> str:
    """Name, default, and meaning of each parameter, Markdown; * marks the live ones."""
    lines = ['| parameter | default | |', '|---|---|---|']
    for name, spec in SPECS.items():
        mark = ' \\*' if spec.changeable == LIVE else ''
        unit = f' {spec.unit}' if spec.unit else ''
        lines.append(f'| `{name}`{mark} | {_code(name)}{unit} | {spec.description} |')
    return '\n'.join(lines)


def yaml_text() -> str:
    """A parameter file with every default and what may be put instead."""
    entries = []
    for name, spec in SPECS.items():
        limits = f'{_allowed(name)}; can be changed {spec.changeable}'
        lines = [*textwrap.wrap(spec.description, 93), *textwrap.wrap(limits, 93)]
        comment = '\n'.join(f'    # {line}' for line in lines)
        entries.append(f'{comment}\n    {name}: {_yaml_value(name)}\n')
    return _YAML_HEAD + '\n'.join(entries)


def _with_table(path: Path, table: str) -> str:
    before, begin, rest = path.read_text(encoding='utf-8').partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f'{path} must have a line {_BEGIN} and a line {_END}')
    return f'{before}{begin}\n{table}\n{end}{after}'


def _allowed(name: str) -> str:
    unit = SPECS[name].unit
    return allowed_values(name) + (f' ({unit})' if unit else '')


def _yaml_value(name: str) -> str:
    value = getattr(NodeParameters(), name)
    if isinstance(value, tuple):
        return "['']"  # an empty list in a file has no type, and ROS would not start with it
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) or '""'


def _code(name: str) -> str:
    text = _yaml_value(name)
    return '(empty)' if text == '""' else f'`{text}`'


if __name__ == '__main__':
    for path, text in files(Path(__file__).resolve().parents[1]).items():
        write_text(path, text)
