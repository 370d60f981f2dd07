"""The parameters as files in `config` and as tables of the nodes' manuals.

After a change of a table, `python -m dcfm_ros.ros.parameters.documents` in a checkout rewrites
them all.
"""

from __future__ import annotations

from pathlib import Path
import textwrap
from typing import Any

from dcfm_ros.files import write_text
from dcfm_ros.option_spec import allowed_values, specs_of, types_of
from dcfm_ros.ros.parameters.cloud import CloudParameters
from dcfm_ros.ros.parameters.ground import GroundParameters
from dcfm_ros.ros.parameters.segmentation import NodeParameters
from dcfm_ros.ros.parameters.spec import when_changeable

_NODES = (
    (NodeParameters, 'segmentation', 'node'),
    (CloudParameters, 'semantic_cloud', 'semantic_cloud'),
    (GroundParameters, 'ground_grid', 'ground_grid'),
)
_BEGIN = '<!-- written by python -m dcfm_ros.ros.parameters.documents -->'
_TYPES = {bool: 'bool', int: 'int', float: 'double', str: 'string', tuple: 'string_array'}
_END = '<!-- end of what it writes -->'
_YAML_HEAD = """\
# Parameters of {node}: all of them, with their defaults. {manual} has the table.
# The name /** makes the file work in any namespace.
/**:
  ros__parameters:
"""


def files(root: Path) -> dict[Path, str]:
    """What the files of a checkout must hold; the text around the tables is left as it is.

    Raises:
        ValueError: If the marks around a table are missing.
    """
    texts = {}
    for table, name, manual in _NODES:
        path = root / 'docs' / f'{manual}.md'
        texts[path] = _with_table(path, manual_table(table))
        head = _YAML_HEAD.format(node=f'{name}_node', manual=f'docs/{manual}.md')
        texts[root / 'config' / f'{name}.yaml'] = head + yaml_entries(table)
    return texts


def manual_table(table: Any) -> str:
    """All that is known of each parameter, Markdown."""
    lines = [
        '| Name | Type | Default | Allowed | Can be changed | Meaning |',
        '|---|---|---|---|---|---|',
    ]
    for name, spec in specs_of(table).items():
        default = _yaml_value(name, table)
        code = '(empty)' if default == '""' else f'`{default}`'
        cells = [f'`{name}`', _TYPES[types_of(table)[name]], code, _allowed(name, table)]
        lines.append(f'| {" | ".join([*cells, when_changeable(name, table), spec.description])} |')
    return '\n'.join(lines)


def yaml_entries(table: Any) -> str:
    """Every parameter with its default, below a comment that says what is allowed."""
    entries = []
    for name, spec in specs_of(table).items():
        limits = f'{_allowed(name, table)}; can be changed {when_changeable(name, table)}'
        lines = [*textwrap.wrap(spec.description, 93), *textwrap.wrap(limits, 93)]
        comment = '\n'.join(f'    # {line}' for line in lines)
        entries.append(f'{comment}\n    {name}: {_yaml_value(name, table)}\n')
    return '\n'.join(entries)


def _with_table(path: Path, table: str) -> str:
    before, begin, rest = path.read_text(encoding='utf-8').partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f'{path} must have a line {_BEGIN} and a line {_END}')
    return f'{before}{begin}\n{table}\n{end}{after}'


def _allowed(name: str, table: Any) -> str:
    unit = specs_of(table)[name].unit
    return allowed_values(name, table) + (f' ({unit})' if unit else '')


def _yaml_value(name: str, table: Any) -> str:
    value = getattr(table(), name)
    if isinstance(value, tuple):
        # An empty list in a file has no type, and ROS would not start with it.
        return f'[{", ".join(map(repr, value))}]' if value else "['']"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) or '""'


if __name__ == '__main__':
    for path, text in files(Path(__file__).resolve().parents[3]).items():
        write_text(path, text)
