"""Parameters on the command line, or in files there, that miss the node; no ROS.

ROS ignores them without a word: a section `segmentation_node:` means `/segmentation_node`, not
the node of that name in the namespace `/segmentation`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
import re
from typing import Any

import yaml


def misplaced_parameters(arguments: Sequence[str], node: str) -> list[str]:
    """One warning for each file or value on the command line that misses the node.

    Such a file has a section for another node of that name, or none that applies to this node. In
    `-p segmentation_node:device:=cpu` the name is that of a node without a namespace.

    Args:
        arguments: Command line of the process, which has one node.
        node: Its name, fully qualified.
    """
    warnings = []
    for option, path in pairwise(arguments):
        if option in ('-p', '--param'):
            warnings += _misplaced_value(path, node)
        if option != '--params-file':
            continue
        sections = _sections(path)
        missed = [s for s in sections if not _matches(s, node)]
        namesakes = [s for s in missed if s.rpartition('/')[2] == node.rpartition('/')[2]]
        if shown := namesakes or (missed if len(missed) == len(sections) else []):
            warnings.append(
                f'parameters of {path} under {", ".join(shown)} are ignored: '
                f'this node is {node}; write {node} or /** instead'
            )
    return warnings


def _misplaced_value(rule: str, node: str) -> list[str]:
    """A warning if a rule, `name:=value` or `node:name:=value`, is for another node."""
    names, _, value = rule.partition(':=')
    other, _, name = names.rpartition(':')
    if not other or _matches(f'/{other.strip("/")}', node):
        return []
    return [
        f'parameter -p {rule} is ignored: it is for /{other.strip("/")}, and this node is {node}; '
        f'write -p {name}:={value} instead'
    ]


def _sections(path: str) -> list[str]:
    """The node names of a parameter file, as ROS understands them; [] if it is something else."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):  # ROS has its own say on these
        return []
    return list(_names('', content))


def _names(prefix: str, content: Any) -> Iterator[str]:
    if isinstance(content, dict):
        for key, value in content.items():
            if key == 'ros__parameters':
                yield prefix or '/'
            else:
                yield from _names(f'{prefix}/{str(key).strip("/")}', value)


def _matches(section: str, node: str) -> bool:
    """Whether a section applies to a node; `*` stands for one name, `**` for any number."""
    pattern = re.escape(section).replace(r'/\*\*', '(/[^/]+)*').replace(r'\*', '[^/]+')
    return re.fullmatch(pattern, node) is not None
