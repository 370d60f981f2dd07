"""The shape of the repository: which module may know which, and two folders that are links."""

from __future__ import annotations

import ast
from pathlib import Path
import re
import subprocess
import sys
from typing import Any

import pytest
from repository import ROOT

# Where each package really lies, links followed.
PACKAGES = {
    '.'.join(path.parent.relative_to(ROOT).parts): path.parent.resolve()
    for depth in ('', '*/', '*/*/', '*/*/*/')
    for path in ROOT.glob(f'dcfm_ros/{depth}__init__.py')
}
RULE = """
cli > torture > replay benchmark deploy > training > play cloud ground node > ros > engine
    > network > engine_options > recordings > synthetic > keyframes > backends > masks > images
    > models
    > option_spec files machine percentiles > threads
"""
"""A room may use the rooms below it; not one beside or above it."""
LEVELS = {room: level for level, rooms in enumerate(RULE.split('>')) for room in rooms.split()}
ROS_ROOMS = {'ros', 'cloud', 'ground', 'play', 'node', 'torture'}
WITH_TORCH = {'backends', 'models', 'deploy', 'benchmark', 'training'}
"""Rooms with modules that need the extra [torch]."""
PURE = ('dcfm_ros.ros.health', 'dcfm_ros.ros.parameters')
ROS_PACKAGES = {'ament_index_python', 'cv_bridge', 'diagnostic_updater', 'launch', 'launch_ros'}
ROS_PACKAGES |= {'message_filters', 'rclpy', 'rpyutils', 'sensor_msgs_py', 'tf2_ros'}
ROS_SUFFIXES = ('_msgs', '_srvs', '_interfaces')
IMPORTED_AS = {
    'opencv-python-headless': 'cv2',
    'pillow': 'PIL',
    'PyYAML': 'yaml',
}
MAX_LINES = 250
MAX_FUNCTION_LINES = 80
MAX_VERB_PARAMETERS = 12


def find_modules() -> dict[str, Path]:
    modules = {}
    for package, folder in PACKAGES.items():
        for path in folder.glob('*.py'):
            modules[package if path.stem == '__init__' else f'{package}.{path.stem}'] = path
    return modules


MODULES = find_modules()


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding='utf-8'), str(path))


def imported_names(tree: ast.AST) -> set[str]:
    """Every name that the file imports anywhere, `from a import b` as both a and a.b."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f'{node.module}.{alias.name}' for alias in node.names)}
    return names


IMPORTS = {name: imported_names(parse(path)) for name, path in MODULES.items()}


def reached_from(*modules: str) -> set[str]:
    """Modules of the package that these import, directly or through others."""
    reached: set[str] = set()
    waiting = [name for name in modules if name in MODULES]
    while waiting:
        name = waiting.pop()
        reached.add(name)
        waiting += (IMPORTS[name] & MODULES.keys()) - reached
    return reached


def in_package(package: str) -> list[str]:
    assert package in PACKAGES
    return [name for name in MODULES if name == package or name.startswith(f'{package}.')]


def top(name: str) -> str:
    return name.partition('.')[0]


def is_ros(name: str) -> bool:
    return top(name) in ROS_PACKAGES or top(name).endswith(ROS_SUFFIXES)


def python_files() -> list[Path]:
    folders = [*PACKAGES.values(), ROOT / 'test', ROOT / 'launch']
    return [ROOT / 'setup.py', *(path for folder in folders for path in folder.glob('*.py'))]


def setup_keyword(name: str) -> Any:
    keywords = (
        node for node in ast.walk(parse(ROOT / 'setup.py')) if isinstance(node, ast.keyword)
    )
    (value,) = (keyword.value for keyword in keywords if keyword.arg == name)
    return ast.literal_eval(value)


def declared_imports() -> tuple[set[str], set[str], set[str]]:
    """Names under which what setup.py asks for is imported: always, for training, with PyTorch."""
    extras = setup_keyword('extras_require')

    def imports(requirements: list[str]) -> set[str]:
        names = {re.split('[^a-zA-Z0-9-]', line)[0] for line in requirements}
        return {IMPORTED_AS.get(name, name) for name in names}

    optional = imports(extras['train'] + extras['cluster']), imports(extras['torch'])
    return imports(setup_keyword('install_requires')), *optional


@pytest.mark.parametrize('name', ['models', 'training'])
def test_package_folder_is_link(name: str) -> None:
    link = ROOT / 'dcfm_ros' / name
    assert link.is_symlink(), f'{link} is a copy, not a link; was the folder copied with -L?'
    assert link.readlink() == Path('..') / name


@pytest.mark.parametrize('name', ['models', 'training'])
def test_package_link_is_committed_as_link(name: str) -> None:
    if not (ROOT / '.git').exists():
        pytest.skip('not a git checkout')
    command = ['git', 'ls-files', '--stage', f'dcfm_ros/{name}']
    entry = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert entry.startswith('120000 ')


def test_every_package_is_listed_in_setup() -> None:
    assert {'dcfm_ros.models', 'dcfm_ros.training'} < PACKAGES.keys()
    assert set(setup_keyword('packages')) == PACKAGES.keys()


def test_models_and_training_are_never_imported_as_global_packages() -> None:
    tops = {path: {top(name) for name in imported_names(parse(path))} for path in python_files()}
    assert not [path for path, names in tops.items() if {'models', 'training'} & names]


def test_imports_are_absolute() -> None:
    nodes = {path: ast.walk(parse(path)) for path in python_files()}
    relative = (
        f'{path}:{node.lineno}'
        for path, found in nodes.items()
        for node in found
        if isinstance(node, ast.ImportFrom) and node.level
    )
    assert not list(relative)


def room_of(module: str) -> str:
    return module.split('.')[1] if '.' in module else ''


def is_pure(module: str) -> bool:
    return module.startswith(PURE)


def test_every_room_has_a_place_in_the_rule() -> None:
    assert {room_of(module) for module in MODULES} - {''} == LEVELS.keys()


def test_rooms_use_only_rooms_below_them() -> None:
    crossings = [
        f'{module} -> {used}'
        for module, names in IMPORTS.items()
        for used in names & MODULES.keys()
        if used != 'dcfm_ros'
        and room_of(used) != room_of(module)
        and LEVELS[room_of(used)] <= LEVELS[room_of(module)]
    ]
    assert not crossings


def test_ros_is_imported_in_its_rooms_only() -> None:
    users = {name for name, found in IMPORTS.items() if any(map(is_ros, found))}
    assert not {name for name in users if is_pure(name) or room_of(name) not in ROS_ROOMS}


def test_health_and_parameters_reach_no_ros() -> None:
    reached = reached_from(*filter(is_pure, MODULES))
    assert 'dcfm_ros.ros.parameters.rules' in reached
    assert not {name for name in reached if room_of(name) in ROS_ROOMS and not is_pure(name)}


def test_engine_keyframes_and_masks_never_look_inside_a_tensor() -> None:
    """Not even type checkers tell them what a feature is: that is the backend's."""
    blind = {name for name in MODULES if room_of(name) in ('engine', 'keyframes', 'masks')}
    assert {'dcfm_ros.keyframes.selector', 'dcfm_ros.masks.class_mask'} < blind
    assert not {name for name in blind if 'torch' in map(top, IMPORTS[name])}


def test_node_does_not_reach_training() -> None:
    robot = [name for name in MODULES if room_of(name) in ('node', 'ros', 'cloud', 'engine')]
    assert 'dcfm_ros.node' in robot
    assert not {name for name in reached_from(*robot) if room_of(name) == 'training'}


def test_training_needs_no_command_line_packages() -> None:
    tops = {name: set(map(top, IMPORTS[name])) for name in in_package('dcfm_ros.training')}
    assert not [name for name, found in tops.items() if found & {'typer', 'rosbags'}]


def test_imported_packages_are_declared_in_setup() -> None:
    always, training, with_torch = declared_imports()
    undeclared = {}
    for module, found in IMPORTS.items():
        known = always | sys.stdlib_module_names | {'dcfm_ros', 'compression'}  # from 3.14 on
        if module.startswith('dcfm_ros.training.'):
            known |= training
        if room_of(module) in WITH_TORCH or module == 'dcfm_ros.ros.engine_loader':
            known |= with_torch
        if module == 'dcfm_ros.deploy.quantise':
            known |= set(setup_keyword('extras_require')['quantise'])
        if module.startswith('dcfm_ros.models.image_networks.'):
            known |= {'segmentation_models_pytorch', 'torchvision'}  # extra [smp]
        if module == 'dcfm_ros.backends.triton_kernel':
            known |= {'triton'}  # comes with PyTorch, and `mask` does without it elsewhere
        undeclared[module] = {top(name) for name in found if not is_ros(name)} - known
    assert not {module: names for module, names in undeclared.items() if names}


def test_rooms_say_what_they_are_for_and_import_nothing() -> None:
    for package in PACKAGES:
        assert not IMPORTS[package] - {'__future__', '__future__.annotations'}
        assert ast.get_docstring(parse(MODULES[package])), package


def test_what_runs_on_a_cpu_needs_no_torch() -> None:
    """Nor do the parts of `backends` and `models` that it uses, and what is in no extra."""
    modules = {name for name in MODULES if room_of(name) not in WITH_TORCH}
    assert {'dcfm_ros.node', 'dcfm_ros.replay.offline', 'dcfm_ros.cli.demo'} < modules
    absent = {name: None for extra in declared_imports()[1:] for name in extra}
    del absent['PIL']  # which matplotlib needs
    code = f'import sys; sys.modules.update({absent}); import {", ".join(sorted(modules))}'
    subprocess.run([sys.executable, '-c', code], cwd=ROOT, check=True)


@pytest.mark.parametrize('folder', ['test', 'launch', 'config', 'rviz'])
def test_folder_is_no_package(folder: str) -> None:
    assert not (ROOT / folder / '__init__.py').exists()


def test_no_conftest_beside_the_packages() -> None:
    assert not (ROOT / 'conftest.py').exists(), 'it would make `import models` work by accident'


def test_files_are_short() -> None:
    lines = {name: len(path.read_text('utf-8').splitlines()) for name, path in MODULES.items()}
    assert not {name: count for name, count in lines.items() if count > MAX_LINES}


def test_functions_are_short() -> None:
    functions = [
        (f'{module}.{node.name}', (node.end_lineno or 0) - node.lineno + 1)
        for module, path in MODULES.items()
        for node in ast.walk(parse(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    assert len(functions) > 500
    assert not [(name, count) for name, count in functions if count > MAX_FUNCTION_LINES]


def test_verbs_have_few_parameters_of_their_own() -> None:
    """Those that stand in a verb's file; groups and types that verbs share do not count."""
    own = {
        f'{module}.{node.name}': sum(
            isinstance(argument.annotation, ast.Subscript) for argument in node.args.args
        )
        for module, path in MODULES.items()
        if room_of(module) == 'cli'
        for node in parse(path).body
        if isinstance(node, ast.FunctionDef)
    }
    assert own['dcfm_ros.cli.evaluate.evaluate'] > 5
    assert not {name: count for name, count in own.items() if count > MAX_VERB_PARAMETERS}
