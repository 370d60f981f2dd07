"""Stand-ins for programs of the documents that a test machine does not have.

`ros2` runs what it can for real (`ros2 run` starts the node) and checks the rest against what the
package declares: launch arguments, parameters and their values, topics, services, transitions.
"""

from __future__ import annotations

import ast
from itertools import pairwise
from pathlib import Path
import re
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

from command import Outcome
from documents import OK, Call
from repository import ROOT
from small_net import make_net
import yaml

from dcfm_ros.models.checkpoint import save_checkpoint
from dcfm_ros.training.studies.runs import merged, training_config
from dcfm_ros.training.studies.variants import study

NODES = ('segmentation_node', 'semantic_cloud_node', 'ground_grid_node', 'run_length_node')
TRANSITIONS = ('configure', 'activate', 'deactivate', 'cleanup', 'shutdown')
FOREIGN = {
    'rosdep': 'needs the ROS package index',
    'sudo': 'changes the machine',
    'rviz2': 'has no wheel',
    'trtexec': 'needs TensorRT',
    'srun': 'needs SLURM',
    'pip': 'would download gigabytes; the names are checked against setup.py',
}
"""Programs that are not run, and why."""


def pip(call: Call) -> Outcome:
    """Refuse a package that setup.py does not ask for."""
    declared = set(re.findall(r"'([A-Za-z0-9._-]+)", (ROOT / 'setup.py').read_text('utf-8')))
    words = [re.split(r'[\[<>=]', word)[0] for word in call.words[2:] if word != '-e']
    if '-c' in words:
        del words[words.index('-c') : words.index('-c') + 2]
    unknown = [word for word in words if word not in declared | {'.', ''}]
    return call.refused(f'not in setup.py: {unknown}') if unknown else OK


def git(call: Call) -> Outcome:
    """Copy the working tree in place of `git clone`: what a commit of it would hold."""
    listing = subprocess.run(
        ['git', 'ls-files', '-z', '-co', '--exclude-standard'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    target = call.folder / call.words[-1]
    for name in filter(None, listing.stdout.split('\0')):
        if (ROOT / name).is_symlink() or (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name, follow_symlinks=False)
    return OK


def foreign(call: Call) -> Outcome:
    """Do nothing; only programs of `FOREIGN` come here."""
    assert call.words[0] in FOREIGN
    return OK


def make(call: Call) -> Outcome:
    """Check targets and variables. Not `make -n`: it runs every recipe that calls make itself."""
    text = (ROOT / 'Makefile').read_text('utf-8')
    words = [word for word in call.words[1:] if '=' not in word]
    variables = [word.partition('=')[0] for word in call.words[1:] if '=' in word]
    known = re.search(r'^\.PHONY: (.*)$', text, re.MULTILINE)
    assert known
    unknown = set(words) - set(known[1].split())
    unknown |= {name for name in variables if not re.search(rf'^{name} \?=', text, re.MULTILINE)}
    return call.refused(f'not in the Makefile: {sorted(unknown)}') if unknown else OK


def ros2(call: Call) -> Outcome:
    """`ros2 VERB ...`."""
    verbs = {
        'run': _run,
        'launch': _launch,
        'param': _param,
        'lifecycle': _lifecycle,
        'topic': _topic,
        'pkg': lambda call: Outcome(0, f'{ROOT}\n', ''),
    }
    if call.words[1] not in verbs:
        return call.refused(f'the stand-in knows {", ".join(verbs)}')
    return verbs[call.words[1]](call)


def _run(call: Call) -> Outcome:
    """Start a node with the arguments given, wait until it runs, and stop it."""
    package, program, *arguments = call.words[2:]
    if package != 'dcfm_ros':
        return OK if package in ('foxglove_bridge',) else call.refused('a foreign package')
    if program not in NODES:
        return call.refused(f'executables are {", ".join(NODES)}')
    arguments = [word.replace(':=...', f':=/topic_{i}') for i, word in enumerate(arguments)]
    return _start(Path(sys.executable).parent / program, arguments, call)


def segmentation_node(call: Call) -> Outcome:
    """The node by itself, without `ros2`."""
    return _start(Path(sys.executable).parent / 'segmentation_node', call.words[1:], call)


def _start(program: Path, arguments: list[str], call: Call) -> Outcome:
    """Start a node, wait until it is ready, or alive for some seconds, and stop it."""
    path = call.folder / 'node.log'
    says_ready = program.name == 'segmentation_node'
    with path.open('w') as log:
        node = subprocess.Popen(
            [program, *arguments], stdout=log, stderr=log, env=call.environment
        )
        end = time.monotonic() + (60 if says_ready else 5)
        while node.poll() is None and time.monotonic() < end and not is_ready(path):
            time.sleep(0.1)
        is_alive = node.poll() is None
        node.send_signal(signal.SIGINT)
        node.wait(30)
    if not is_alive or (says_ready and not is_ready(path)):
        return call.refused(f'it did not run: {path.read_text("utf-8")}')
    return OK


def is_ready(log: Path) -> bool:
    """Whether segmentation_node has logged that it takes images."""
    return 'ready on' in log.read_text('utf-8')


def _launch(call: Call) -> Outcome:
    """Check the file and its arguments."""
    package, file, *arguments = call.words[2:]
    path = ROOT / 'launch' / file
    if package != 'dcfm_ros' or not path.is_file():
        return call.refused(f'{path} does not exist')
    declared = {
        ast.literal_eval(node.args[0])
        for launch in _with_included(path)
        for node in ast.walk(ast.parse(launch.read_text('utf-8')))
        if isinstance(node, ast.Call)
        and getattr(node.func, 'id', '') == 'DeclareLaunchArgument'
        and isinstance(node.args[0], ast.Constant)
    }
    declared |= {
        name
        for launch in _with_included(path)
        for node in ast.parse(launch.read_text('utf-8')).body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == 'OVERRIDES'
        for name in ast.literal_eval(node.value)
    }
    names = {word.partition(':=')[0] for word in arguments if ':=' in word}
    unknown = names - declared
    if unknown:
        return call.refused(f'not declared: {sorted(unknown)}')
    for prefix in filter(None, call.environment.get('AMENT_PREFIX_PATH', '').split(':')):
        program = Path(prefix, 'lib', 'dcfm_ros', 'segmentation_node')
        if file == 'segment.launch.py' and program.is_file():
            return _start(program, [], call)  # as colcon has just installed it
    return OK


def _with_included(path: Path) -> list[Path]:
    included = re.findall(r"'(\w+\.launch\.py)'", path.read_text('utf-8'))
    return [path, *(path.with_name(name) for name in included if name != path.name)]


def _param(call: Call) -> Outcome:
    from dcfm_ros.ros.parameters.rules import settle
    from dcfm_ros.ros.parameters.segmentation import NodeParameters

    verb, node, *rest = call.words[2:]
    if not node.endswith('/segmentation_node'):
        return call.refused('another node')
    if verb == 'set':
        settle({rest[0]: yaml.safe_load(rest[1])}, NodeParameters)  # a wrong value raises
    return (
        OK if verb in ('set', 'get', 'describe', 'list', 'dump') else call.refused('no such verb')
    )


def _lifecycle(call: Call) -> Outcome:
    verb, _, *rest = call.words[2:]
    is_known = verb in ('get', 'list') or (verb == 'set' and rest[0] in TRANSITIONS)
    return OK if is_known else call.refused(f'transitions are {", ".join(TRANSITIONS)}')


def _topic(call: Call) -> Outcome:
    from dcfm_ros.cloud import node as cloud
    from dcfm_ros.ros import camera_topics

    topics = [word for word in call.words if word.startswith('/')]
    known = {name.lstrip('~/') for name, _, _ in (camera_topics.OUTPUTS | cloud.OUTPUTS).values()}
    known |= {'diagnostics', 'image', 'labels', 'label_info'}
    unknown = [t for t in topics if not any(t.endswith(name) for name in known)]
    return call.refused(f'nothing publishes {unknown}') if unknown else OK


def python3(call: Call) -> Outcome:
    """The Python that runs the tests; a virtual environment sees the packages of this one."""
    done = subprocess.run(
        [sys.executable, *call.words[1:]],
        cwd=call.folder,
        env=call.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if call.words[1:3] == ['-m', 'venv'] and done.returncode == 0:
        (site_packages,) = (call.folder / call.words[-1]).glob('lib/python3*/site-packages')
        borrowed = [path for path in sys.path if path.endswith('site-packages')]
        (site_packages / 'borrowed.pth').write_text('\n'.join(borrowed) + '\n')
    return Outcome(done.returncode, done.stdout, done.stderr)


def torchrun(call: Call) -> Outcome:
    """Check what each process would train, without the processes."""
    words = call.words[call.words.index('-m') :]
    command = [sys.executable, *words, '--print_config']
    done = subprocess.run(command, cwd=call.folder, capture_output=True, text=True, check=False)
    return Outcome(done.returncode, '', done.stderr)


def finished_trainings(call: Call) -> None:
    """Leave networks where `dcfm ablate` would train them, for minutes each, with seed 1."""
    arguments: dict[str, list[str]] = {'--config': [], '--output': ['out/ablation']}
    for name, value in pairwise(call.words):
        if name in arguments:
            arguments[name].append(value)
    base: dict[str, Any] = {}
    for path in arguments['--config'] or ['config/train/ablation.yaml']:
        base = merged(base, yaml.safe_load(Path(path).read_text('utf-8')))
    for variant in study(call.words[2]).on(base).variants:
        folder = Path(arguments['--output'][-1]) / variant.folder / 'seed_1'
        folder.mkdir(parents=True, exist_ok=True)
        config = training_config(base, variant, 1, folder)
        (folder / 'train.yaml').write_text(yaml.safe_dump(config, sort_keys=False))
        save_checkpoint(folder / 'last.safetensors', make_net())
