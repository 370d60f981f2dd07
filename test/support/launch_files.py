"""Launch files: what they declare, and what their nodes are handed when they run for real.

They run with executables in place of the nodes, in a prefix of their own, that write down what ROS
handed to them. That needs launch_ros, which only a ROS machine has.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
import json
from pathlib import Path
import sys
from typing import Any

import pytest
from repository import ROOT
import yaml

FOLDER = ROOT / 'launch'
_NODE = """#!{python}
import json, rclpy
rclpy.init()
node = rclpy.create_node({name!r}, automatically_declare_parameters_from_overrides=True)
names = node.get_parameters_by_prefix('').keys() - {{'start_type_description_service'}}
report = {{
    'name': node.get_fully_qualified_name(),
    'executable': {name!r},
    'topics': {{name: node.resolve_topic_name(name) for name in {topics!r}}},
    'parameters': {{name: node.get_parameter(name).value for name in names}},
}}
with open({folder!r} + report['name'].replace('/', '.'), 'w') as file:
    json.dump(report, file)
rclpy.shutdown()
"""


def calls_of(file_name: str, function: str) -> list[ast.Call]:
    nodes = ast.walk(ast.parse((FOLDER / file_name).read_text(encoding='utf-8')))
    return [
        node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == function
    ]


def declared(file_name: str) -> dict[str, set[str | None]]:
    """Keywords of each argument that a launch file declares, those of parameters included."""
    own = {
        call.args[0].value: {k.arg for k in call.keywords}
        for call in calls_of(file_name, 'DeclareLaunchArgument')
        if isinstance(call.args[0], ast.Constant)
    }
    of_parameters = {'default_value', 'description'}  # see `launch_argument`
    return own | dict.fromkeys(overrides_of(file_name), of_parameters)


def assigned(file_name: str, name: str) -> Any:
    """The expression that a launch file gives a name of its own."""
    body = ast.parse((FOLDER / file_name).read_text(encoding='utf-8')).body
    (found,) = (
        node.value
        for node in body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    )
    return found


def overrides_of(file_name: str) -> set[str]:
    """Arguments that are parameters of the node."""
    try:
        return set(ast.literal_eval(assigned(file_name, 'OVERRIDES')))
    except ValueError:  # it has none
        return set()


def parameters_of(file_name: str) -> dict[str, Any]:
    """What a file in config gives every node."""
    content = yaml.safe_load((ROOT / 'config' / file_name).read_text(encoding='utf-8'))
    parameters: dict[str, Any] = content['/**']['ros__parameters']
    return parameters


class Prefix:
    """A place where packages are installed, for launch to find."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip('launch_ros', reason='launch_ros is not installed')
        self.folder = folder
        self.reports = folder / 'reports'
        self.reports.mkdir()
        monkeypatch.setenv('AMENT_PREFIX_PATH', str(folder))
        monkeypatch.setenv('ROS_LOG_DIR', str(folder / 'log'))

    def install(self, package: str, executables: Mapping[str, str]) -> None:
        """Install a package with scripts; `node_that_reports` gives one."""
        share, home = self.folder / 'share' / package, self.folder / 'lib' / package
        index = self.folder / 'share' / 'ament_index' / 'resource_index' / 'packages'
        for path in (share, home, index):
            path.mkdir(parents=True, exist_ok=True)
        (index / package).touch()
        if package == 'dcfm_ros':
            for name in ('config', 'launch'):
                (share / name).symlink_to(ROOT / name)
        for name, text in executables.items():
            (home / name).write_text(text)
            (home / name).chmod(0o755)

    def node_that_reports(self, name: str, topics: tuple[str, ...]) -> str:
        """A node that has this name if it is given no other, as nodes of launch have."""
        return _NODE.format(
            python=sys.executable, name=name, topics=topics, folder=f'{self.reports}/'
        )

    def run(self, file_name: str, **arguments: str) -> dict[str, dict[str, Any]]:
        """Run a launch file to its end; what its nodes have reported, by full name.

        Raises:
            RuntimeError: If launch failed.
        """
        from launch import LaunchDescription, LaunchService
        from launch.actions import IncludeLaunchDescription
        from launch.launch_description_sources import PythonLaunchDescriptionSource

        source = PythonLaunchDescriptionSource(str(FOLDER / file_name))
        include = IncludeLaunchDescription(source, launch_arguments=arguments.items())
        service = LaunchService()
        service.include_launch_description(LaunchDescription([include]))
        if service.run() != 0:
            raise RuntimeError('launch failed')
        reports = (json.loads(path.read_text()) for path in sorted(self.reports.iterdir()))
        return {report['name']: report for report in reports}
