"""The parameters as files in `config` and as tables of the nodes' manuals and `README.md`.

After a change of a table, `python -m dcfm_ros.ros.parameters.documents` in a
checkout writes them all.
"""

from __future__ import annotations

from pathlib import Path
import textwrap

from dcfm_ros.files import write_text
from dcfm_ros.ros.parameters.cloud import CloudParameters
from dcfm_ros.ros.parameters.rules import allowed_values, type_name
from dcfm_ros.ros.parameters.segmentation import LIVE, SPECS, NodeParameters, specs_of

MANUAL = 'docs/node.md'
README = 'README.md'
YAML = 'config/segmentation.yaml'
CLOUD_MANUAL = 'docs/semantic_cloud.md'
CLOUD_YAML = 'config/semantic_cloud.yaml'
_BEGIN = '<!-- written by python -m dcfm_ros.ros.parameters.documents -->'
_END = '<!-- end of what it writes -->'
_YAML_HEAD = """\
# Parameters of {node}: all of them, with their defaults. {manual} has the table.
# The name /** makes the file work in any namespace.
/**:
  ros__parameters:
"""


def files(root: Path) -> dict[Path, str]:
    """What the files of a checkout must hold, their own text outside the tables included.

    Raises:
        ValueError: If the marks around a table are missing.
    """
    tables = {
        MANUAL: manual_table(),
        README: readme_table(),
        CLOUD_MANUAL: manual_table(CloudParameters),
    }
    texts = {root / name: _with_table(root / name, table) for name, table in tables.items()}
    clouds = yaml_text(CloudParameters, 'semantic_cloud_node', CLOUD_MANUAL)
    return texts | {root / YAML: yaml_text(), root / CLOUD_YAML: clouds}


def manual_table(table: type = NodeParameters) -> str:
    """All that is known of each parameter, Markdown."""
    lines = [
        '| Name | Type | Default | Allowed | Can be changed | Meaning |',
        '|---|---|---|---|---|---|',
    ]
    for name, spec in specs_of(table).items():
        cells = [f'`{name}`', type_name(name, table), _code(name, table), _allowed(name, table)]
        lines.append(f'| {" | ".join([*cells, spec.changeable, spec.description])} |')
    return '\n'.join(lines)


def readme_table() -> str:
    """Name, default, and meaning of each parameter, Markdown; * marks the live ones."""
    lines = ['| parameter | default | |', '|---|---|---|']
    for name, spec in SPECS.items():
        mark = ' \\*' if spec.changeable == LIVE else ''
        unit = f' {spec.unit}' if spec.unit else ''
        lines.append(
            f'| `{name}`{mark} | {_code(name, NodeParameters)}{unit} | {spec.description} |'
        )
    return '\n'.join(lines)


def yaml_text(
    table: type = NodeParameters, node: str = 'segmentation_node', manual: str = MANUAL
) -> str:
    """A parameter file with every default and what may be put instead."""
    entries = []
    for name, spec in specs_of(table).items():
        limits = f'{_allowed(name, table)}; can be changed {spec.changeable}'
        lines = [*textwrap.wrap(spec.description, 93), *textwrap.wrap(limits, 93)]
        comment = '\n'.join(f'    # {line}' for line in lines)
        entries.append(f'{comment}\n    {name}: {_yaml_value(name, table)}\n')
    return _YAML_HEAD.format(node=node, manual=manual) + '\n'.join(entries)


def _with_table(path: Path, table: str) -> str:
    before, begin, rest = path.read_text(encoding='utf-8').partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f'{path} must have a line {_BEGIN} and a line {_END}')
    return f'{before}{begin}\n{table}\n{end}{after}'


def _allowed(name: str, table: type) -> str:
    unit = specs_of(table)[name].unit
    return allowed_values(name, table) + (f' ({unit})' if unit else '')


def _yaml_value(name: str, table: type) -> str:
    value = getattr(table(), name)
    if isinstance(value, tuple):
        return "['']"  # an empty list in a file has no type, and ROS would not start with it
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) or '""'


def _code(name: str, table: type) -> str:
    text = _yaml_value(name, table)
    return '(empty)' if text == '""' else f'`{text}`'


if __name__ == '__main__':
    for path, text in files(Path(__file__).resolve().parents[3]).items():
        write_text(path, text)
