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
PACKAGES = {'dcfm_ros': ROOT / 'dcfm_ros'} | {
    '.'.join(path.parent.relative_to(ROOT).parts): path.parent.resolve()
    for pattern in ('dcfm_ros/*/__init__.py', 'dcfm_ros/*/*/__init__.py')
    for path in ROOT.glob(pattern)
}
ROS_MODULES = {
    f'dcfm_ros.{name}'
    for name in (
        'node',
        'camera',
        'cloud_inputs',
        'cloud_messages',
        'matched_subscription',
        'messages',
        'parameter_declaration',
        'player',
        'player_node',
        'qos_overrides',
        'run_length_node',
        'run_node',
        'semantic_cloud_node',
        'benchmark.frame_taker',
        'benchmark.transport_child',
    )
}
ROS_PACKAGES = {'ament_index_python', 'cv_bridge', 'diagnostic_updater', 'launch', 'launch_ros'}
ROS_PACKAGES |= {'message_filters', 'rclpy', 'rpyutils', 'sensor_msgs_py', 'tf2_ros'}
ROS_SUFFIXES = ('_msgs', '_srvs', '_interfaces')
IMPORTED_AS = {
    'opencv-python-headless': 'cv2',
    'pillow': 'PIL',
    'PyYAML': 'yaml',
    'scikit-learn': 'sklearn',
}
MAX_LINES = 300


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
    """Names under which what setup.py asks for is imported: always, for training, for backends."""
    extras = setup_keyword('extras_require')

    def imports(requirements: list[str]) -> set[str]:
        names = {re.split('[^a-zA-Z0-9-]', line)[0] for line in requirements}
        return {IMPORTED_AS.get(name, name) for name in names}

    optional = imports(extras['train'] + extras['cluster']), imports(extras['speed'])
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


def test_ros_is_imported_at_the_edge_only() -> None:
    users = {name for name, found in IMPORTS.items() if any(map(is_ros, found))}
    assert not users - ROS_MODULES


def test_models_reach_models_only() -> None:
    reached = reached_from(*in_package('dcfm_ros.models'))
    assert not reached - set(in_package('dcfm_ros.models')) - {'dcfm_ros'}


def test_engine_reaches_neither_training_nor_ros() -> None:
    reached = reached_from('dcfm_ros.engine', *in_package('dcfm_ros.backends'))
    assert 'dcfm_ros.engine' in reached
    assert not reached & (ROS_MODULES | set(in_package('dcfm_ros.training')))


def test_node_does_not_reach_training() -> None:
    assert not reached_from(*ROS_MODULES) & set(in_package('dcfm_ros.training'))


def test_training_does_not_reach_node() -> None:
    reached = reached_from(*in_package('dcfm_ros.training'))
    assert 'dcfm_ros.models.dcfm' in reached
    assert not reached & ROS_MODULES


def test_training_needs_no_command_line_packages() -> None:
    tops = {name: set(map(top, IMPORTS[name])) for name in in_package('dcfm_ros.training')}
    assert not [name for name, found in tops.items() if found & {'typer', 'rosbags'}]


def test_imported_packages_are_declared_in_setup() -> None:
    always, training, speed = declared_imports()
    undeclared = {}
    for module, found in IMPORTS.items():
        known = always | sys.stdlib_module_names | {'dcfm_ros'}
        if module.startswith('dcfm_ros.training.'):
            known |= training
        if module.startswith('dcfm_ros.backends.') or module == 'dcfm_ros.deploy.export':
            known |= speed
        if module == 'dcfm_ros.masks.triton_kernel':
            known |= {'triton'}  # comes with PyTorch, and `mask` does without it elsewhere
        undeclared[module] = {top(name) for name in found if not is_ros(name)} - known
    assert not {module: names for module, names in undeclared.items() if names}


def test_package_init_imports_nothing() -> None:
    for package in PACKAGES:
        assert package in MODULES, f'{package} has no __init__.py'
        assert not IMPORTS[package] - {'__future__', '__future__.annotations'}


@pytest.mark.parametrize('module', ['dcfm_ros', 'dcfm_ros.models.config'])
def test_import_leaves_torch_alone(module: str) -> None:
    code = f'import sys, {module}; sys.exit("torch" in sys.modules)'
    subprocess.run([sys.executable, '-c', code], cwd=ROOT, check=True)


@pytest.mark.parametrize('folder', ['test', 'launch', 'config', 'rviz'])
def test_folder_is_no_package(folder: str) -> None:
    assert not (ROOT / folder / '__init__.py').exists()


def test_no_conftest_beside_the_packages() -> None:
    assert not (ROOT / 'conftest.py').exists(), 'it would make `import models` work by accident'


def test_files_are_short() -> None:
    texts = {name: path.read_text(encoding='utf-8') for name, path in MODULES.items()}
    lines = {name: sum(1 for line in text.splitlines() if line) for name, text in texts.items()}
    assert not {name: count for name, count in lines.items() if count > MAX_LINES}
