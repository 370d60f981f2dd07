"""The environment is the one that `make` says it runs: ROS, Fast DDS, OpenCV and NumPy.

A leg takes most packages from .venv, so a wrong path would test .venv once more, in silence.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import distribution
import json
import os
from pathlib import Path
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
from repository import ROOT

LEG = os.environ.get('DCFM_LEG', '')
FOLDER = ROOT / 'test' / 'legs'
CLAIMS = {
    'jazzy': {'rclpy': '7.1.', 'Fast DDS': '2.14', 'OpenCV': '5.', 'NumPy': '2.'},
    'kilted': {'rclpy': '9.1.', 'Fast DDS': '3.2', 'OpenCV': '5.', 'NumPy': '2.'},
    'opencv46': {'rclpy': '7.1.', 'Fast DDS': '2.14', 'OpenCV': '4.6.', 'NumPy': '1.26.'},
}
"""What each leg is there for, by the beginning of the version."""
OF_A_NODE = """
import json, rclpy
rclpy.init()
node = rclpy.create_node('leg_test')
with open('/proc/self/maps') as maps:
    print(json.dumps(sorted({line.split()[-1] for line in maps if '.so' in line})))
node.destroy_node()
rclpy.shutdown()
"""
needs_leg = pytest.mark.skipif(not LEG, reason='DCFM_LEG is set by make only')


def pins(leg: str) -> dict[str, str]:
    """Versions by distribution."""
    found: dict[str, str] = {}
    for line in (FOLDER / f'{leg}.txt').read_text('utf-8').splitlines():
        if line.startswith('-r '):
            found |= pins(Path(line[3:]).stem)
        elif line and not line.startswith('#'):
            name, _, version = line.partition('==')
            found[name] = version
    return found


def libraries_of_a_node() -> Iterator[Path]:
    """Shared libraries that a process with a node has loaded."""
    done = subprocess.run(
        [sys.executable, '-c', OF_A_NODE], capture_output=True, text=True, check=True
    )
    return map(Path, json.loads(done.stdout.splitlines()[-1]))


def test_every_leg_has_a_claim() -> None:
    assert {path.stem for path in FOLDER.glob('*.txt')} == CLAIMS.keys()
    assert LEG in CLAIMS or not LEG


def test_ci_runs_every_leg() -> None:
    makefile = (ROOT / 'Makefile').read_text('utf-8')
    targets = re.findall(r'^\.PHONY: (.*)$|^LEGS := (.*)$', makefile, re.MULTILINE)
    known, legs = (set((phony or names).split()) for phony, names in reversed(targets))
    run = set((ROOT / '.ci' / 'run').read_text('utf-8').replace(';', ' ').split())
    assert legs == CLAIMS.keys() - {'jazzy'}
    assert {'test', *(f'test-{leg}' for leg in legs)} <= known & run


@needs_leg
def test_packages_have_the_versions_of_the_leg() -> None:
    wrong = {
        name: (found.version, version)
        for name, version in pins(LEG).items()
        if (found := distribution(name)).version != version
        or not Path(str(found.locate_file(''))).is_relative_to(sys.prefix)
    }
    assert not wrong


@needs_leg
def test_versions_are_what_the_leg_is_there_for() -> None:
    found = {
        'rclpy': distribution('ros-rclpy').version,
        'OpenCV': cv2.__version__,
        'NumPy': np.__version__,
    }
    wrong = [name for name, version in found.items() if not version.startswith(CLAIMS[LEG][name])]
    assert not wrong, found


@needs_leg
def test_all_of_ros_lies_in_the_environment_that_runs() -> None:
    names = ('rclpy', 'rpyutils', 'ament_index_python', 'builtin_interfaces', 'diagnostic_msgs')
    names += ('geometry_msgs', 'lifecycle_msgs', 'nav_msgs', 'rcl_interfaces', 'sensor_msgs')
    names += ('std_msgs', 'std_srvs')
    files = [Path(str(import_module(name).__file__)) for name in names]
    assert not [file for file in files if not file.is_relative_to(sys.prefix)]


@needs_leg
@pytest.mark.dds
def test_a_node_loads_the_middleware_of_the_leg_and_of_no_other() -> None:
    libraries = list(libraries_of_a_node())
    (fast_dds,) = (p for p in libraries if p.name.startswith(('libfastrtps.so', 'libfastdds.so')))
    assert fast_dds.name.partition('.so.')[2].startswith(CLAIMS[LEG]['Fast DDS'])
    of_ros = [p for p in libraries if p.name.startswith(('librcl', 'librmw', 'librosidl'))]
    assert of_ros
    assert not [p for p in (*of_ros, fast_dds) if not p.is_relative_to(sys.prefix)]


@pytest.mark.parametrize(('extra', 'leg'), [('ros', 'jazzy'), ('ros-kilted', 'kilted')])
def test_extras_ask_for_what_the_legs_install(extra: str, leg: str) -> None:
    tree = ast.parse((ROOT / 'setup.py').read_text('utf-8'))
    keywords = (node for node in ast.walk(tree) if isinstance(node, ast.keyword))
    (extras,) = (k.value for k in keywords if k.arg == 'extras_require')
    asked = {line.replace('[fastrtps]', '') for line in ast.literal_eval(extras)[extra]}
    assert len(asked) == 5
    assert asked <= {f'{name}=={version}' for name, version in pins(leg).items()}
