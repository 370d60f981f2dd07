"""Every way to install the package, done for real in an environment of its own.

The environment borrows the installed packages of the one that runs the tests, so nothing is
downloaded and torch is not copied; what is installed there comes first.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from glob import glob
from importlib.metadata import requires
import json
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
from typing import Any
from xml.etree import ElementTree

import pytest
from repository import ROOT
import typer

from dcfm_ros.cli import main as cli

pytestmark = pytest.mark.build

VERBS = set(typer.main.get_command(cli.app).commands)
COMMANDS = {'dcfm', 'segmentation_node', 'semantic_cloud_node', 'run_length_node'}
COMMANDS |= {'ground_grid_node'}
INSTALL = ('install', '--quiet', '--no-index', '--no-deps', '--no-build-isolation')
SDIST = 'from setuptools import build_meta as build; print(build.build_sdist("dist"))'
PROBE = """
import importlib.util, json, pkgutil
import dcfm_ros, dcfm_ros.models.config, dcfm_ros.training
modules = pkgutil.walk_packages(dcfm_ros.__path__, 'dcfm_ros.')
print(json.dumps({
    'package': dcfm_ros.__path__[0],
    'models': dcfm_ros.models.__path__[0],
    'modules': sorted(module.name for module in modules if not module.ispkg),
    'global': [name for name in ('models', 'training') if importlib.util.find_spec(name)],
}))
"""


@dataclass
class Installation:
    """The package as one of the ways left it."""

    way: str
    source: Path
    python: Path
    prefix: Path
    """Holds share/dcfm_ros."""
    scripts: Path
    setup: str
    """Shell commands that a user of this installation runs first."""
    neutral: Path
    """A folder to work from that holds nothing of the package."""

    def run(self, *command: str | Path) -> str:
        return run('sh', '-c', f'{self.setup}exec "$@"', 'sh', *command, cwd=self.neutral)

    @cached_property
    def probe(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run(self.python, '-c', PROBE))
        return found


def run(*command: str | Path, cwd: Path) -> str:
    foreign = ('PYTHONPATH', 'PYTHONHOME', 'AMENT_PREFIX_PATH', 'COLCON_PREFIX_PATH')
    environment = {name: value for name, value in os.environ.items() if name not in foreign}
    environment['COLCON_HOME'] = str(cwd / 'no_defaults')
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f'{command}\n{done.stdout}\n{done.stderr}'
    return done.stdout


def copy_source(target: Path) -> None:
    """Copy what a commit of the working tree would hold, links as links."""
    if not (ROOT / '.git').exists():
        rubbish = shutil.ignore_patterns('.*', '*.egg-info', 'build', 'install', 'log', 'out')
        shutil.copytree(ROOT, target, symlinks=True, ignore=rubbish)
        return
    listing = run('git', 'ls-files', '-z', '-co', '--exclude-standard', cwd=ROOT)
    for name in filter(None, listing.split('\0')):
        if (ROOT / name).is_symlink() or (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name, follow_symlinks=False)


def create_environment(folder: Path) -> Path:
    """Create an environment that sees the packages of the running one; return its Python."""
    run(sys.executable, '-m', 'venv', '--without-pip', folder, cwd=folder.parent)
    (site_packages,) = folder.glob('lib/python3*/site-packages')
    borrowed = [path for path in sys.path if path.endswith(('site-packages', 'dist-packages'))]
    (site_packages / 'borrowed.pth').write_text('\n'.join(borrowed) + '\n', encoding='utf-8')
    return folder / 'bin' / 'python'


def install(way: str, folder: Path) -> Installation:
    source, venv, neutral = folder / 'source', folder / 'venv', folder / 'neutral'
    copy_source(source)
    # No tier is listed by its name anywhere: what lies in the folder is packaged.
    (source / 'models' / 'weights' / 'of_another_tier.safetensors').touch()
    neutral.mkdir()
    python = create_environment(venv)
    prefix, scripts, setup = venv, venv / 'bin', ''
    if way == 'pip':
        run(python, '-m', 'pip', *INSTALL, '--ignore-installed', source, cwd=neutral)
    elif way == 'pip editable':
        run(python, '-m', 'pip', *INSTALL, '--ignore-installed', '-e', source, cwd=neutral)
    elif way == 'pip from sdist':
        archive = source / 'dist' / run(python, '-c', SDIST, cwd=source).split()[-1]
        run(python, '-m', 'pip', *INSTALL, '--ignore-installed', archive, cwd=neutral)
    else:
        options = ['--symlink-install'] if way == 'colcon symlink' else []
        places = ['--base-paths', source, '--build-base', folder / 'build']
        places += ['--install-base', folder / 'install']
        log = ['--log-base', folder / 'log']
        run(python, '-m', 'colcon', *log, 'build', *places, *options, cwd=neutral)
        prefix = folder / 'install' / 'dcfm_ros'
        scripts = prefix / 'lib' / 'dcfm_ros'
        setup = f'COLCON_CURRENT_PREFIX="{folder}/install"; . "{folder}/install/local_setup.sh"; '
    return Installation(way, source, python, prefix, scripts, setup, neutral)


WAYS = ['pip', 'pip editable', 'pip from sdist', 'colcon', 'colcon symlink']


@pytest.fixture(scope='module', params=WAYS)
def installed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    if request.param.startswith('colcon'):
        pytest.importorskip('colcon_core', reason='colcon is not installed')
        pytest.importorskip('colcon_ros', reason='colcon-ros is not installed')
    folder = tmp_path_factory.mktemp('install')
    yield install(request.param, folder)
    shutil.rmtree(folder)


def test_package_is_imported_from_where_it_was_installed(installed: Installation) -> None:
    found = installed.probe
    live = installed.way in ('pip editable', 'colcon symlink')
    home = installed.source if live else installed.prefix
    assert Path(found['package']).resolve().is_relative_to(home)
    assert Path(found['models']).resolve().is_relative_to(home)


def test_every_module_is_installed(installed: Installation) -> None:
    # Unlike Path.glob, this one follows the links.
    files = glob('dcfm_ros/**/*.py', root_dir=installed.source, recursive=True)  # noqa: PTH207
    assert 'dcfm_ros/models/dcfm.py' in files
    names = (name[:-3].replace('/', '.') for name in files if not name.endswith('__init__.py'))
    assert installed.probe['modules'] == sorted(names)


def test_no_global_models_or_training(installed: Installation) -> None:
    assert installed.probe['global'] == []


def test_shared_files_are_installed(installed: Installation) -> None:
    if installed.way == 'pip editable':
        pytest.skip('setuptools installs no shared files in editable mode')
    share = installed.prefix / 'share'
    folders = [installed.source / name for name in ('launch', 'config', 'rviz')]
    files = [path for folder in folders for path in folder.rglob('*') if path.is_file()]
    expected = {path.relative_to(installed.source) for path in files} | {Path('package.xml')}
    assert Path('launch/segment.launch.py') in expected
    assert Path('config/segmentation.yaml') in expected
    assert not [path for path in expected if not (share / 'dcfm_ros' / path).is_file()]
    assert (share / 'ament_index/resource_index/packages/dcfm_ros').is_file()


def test_weights_are_installed(installed: Installation) -> None:
    expected = {path.name for path in (installed.source / 'models' / 'weights').glob('*')}
    assert 'of_another_tier.safetensors' in expected
    found = (Path(installed.probe['models']) / 'weights').glob('*')
    assert 'default.safetensors' in expected
    assert expected == {path.name for path in found}


def test_executables_carry_plain_verbs_for_ros2_run_only(installed: Installation) -> None:
    runnable = {path.name for path in installed.scripts.iterdir() if os.access(path, os.X_OK)}
    if installed.way.startswith('colcon'):
        assert runnable == COMMANDS | VERBS
    else:
        assert runnable >= COMMANDS
        assert not runnable & VERBS


def test_executable_runs(installed: Installation) -> None:
    verb = ['synth'] if installed.way.startswith('colcon') else ['dcfm', 'synth']
    text = installed.run(installed.scripts / verb[0], *verb[1:], '--help')
    assert 'dcfm synth' in text
    assert '--seed' in text


def test_version_is_the_same_everywhere() -> None:
    setup = (ROOT / 'setup.py').read_text(encoding='utf-8')
    init = (ROOT / 'dcfm_ros' / '__init__.py').read_text(encoding='utf-8')
    package = ElementTree.parse(ROOT / 'package.xml').findtext('version')
    assert f"version='{package}'," in setup
    assert f"__version__ = '{package}'" in init


def test_what_is_built_for_numpy_is_in_the_line_for_a_robot() -> None:
    """What rosdep installs of it there is built for the distribution's NumPy, not for pip's."""
    readme = (ROOT / 'README.md').read_text('utf-8')
    pattern = r'^pip install -c src/dcfm_ros/constraints\.txt (.*?[^\\])$'
    (line,) = re.findall(pattern, readme, re.MULTILINE | re.DOTALL)
    given = set(line.replace('\\', ' ').split())
    (names,) = (
        ast.literal_eval(node.value)
        for node in ast.walk(ast.parse((ROOT / 'setup.py').read_text('utf-8')))
        if isinstance(node, ast.keyword) and node.arg == 'install_requires'
    )
    for requirement in names:
        name = re.split(r'[^\w.-]', requirement)[0]
        needs = [need for need in requires(name) or () if 'extra ==' not in need]
        if any(re.match(r'numpy\b', need) for need in needs):
            assert name in given, name
