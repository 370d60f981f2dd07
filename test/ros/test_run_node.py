"""What a node's process makes of its command line and of early signals, seen from outside."""

from __future__ import annotations

from pathlib import Path
import signal
import sys
import time

import pytest

pytest.importorskip('rclpy')

from running_node import NodeProcess, wait_for

from dcfm_ros.torture.faults.process import Watched

pytestmark = pytest.mark.dds

HIT_BY_A_SIGNAL = """if True:
    import os
    import signal
    import sys
    import time
    import rclpy
    from dcfm_ros import node
    from dcfm_ros.ros import engine_loader

    go_on = {module}.{function}

    def be_hit(*arguments):
        os.kill(os.getpid(), signal.{how})
        while rclpy.ok():
            time.sleep(0.01)
        time.sleep({wait_s})
        return go_on(*arguments)

    {module}.{function} = be_hit
    sys.exit(node.main())
"""


def run(log: Path, **where: object) -> NodeProcess:
    program = ('-c', HIT_BY_A_SIGNAL.format(**where))
    return NodeProcess(log, program=program, cpu_threads=1, backend='torch')


@pytest.mark.parametrize('how', ['SIGINT', 'SIGTERM'])
def test_signal_while_the_node_is_made_is_no_wrong_parameter(tmp_path: Path, how: str) -> None:
    node = run(tmp_path / 'log', module='node', function='DeclaredParameters', how=how, wait_s=0)
    assert node.wait() == 0
    assert '[FATAL]' not in node.log


def test_signal_while_the_network_is_loaded_ends_the_node_cleanly(tmp_path: Path) -> None:
    """The diagnostics go on meanwhile, once per second, as long as they can."""
    node = run(
        tmp_path / 'log', module='engine_loader', function='load_engines', how='SIGTERM', wait_s=0
    )
    assert node.wait() == 0
    assert 'Traceback' not in node.log
    assert '[ERROR]' not in node.log


def test_node_does_not_wait_for_the_network_to_be_loaded(tmp_path: Path) -> None:
    """What it waits for would take longer than the test waits for the node."""
    node = run(
        tmp_path / 'log',
        module='engine_loader',
        function='load_engines',
        how='SIGTERM',
        wait_s=999,
    )
    assert node.wait() == 0
    assert 'stopped while busy' in node.log
    assert 'Traceback' not in node.log


@pytest.mark.parametrize('wait_s', [0.0, 1.0, 2.0, 4.0])
def test_node_that_is_stopped_while_it_starts_leaves_nothing(
    tmp_path: Path, wait_s: float
) -> None:
    """Nor in shared memory, whatever it is busy with."""
    node = Watched([sys.executable, '-m', 'dcfm_ros.node'], tmp_path / 'log')
    wait_for(lambda: node.handles(signal.SIGTERM), 'the node to handle signals')
    time.sleep(wait_s)
    ending = node.end(signal.SIGTERM)
    assert (ending.code, ending.strays, len(ending.left)) == (0, 0, 0), node.output
    assert 'Traceback' not in node.output


HIT_AT_ONCE = """if True:
    import os, signal, sys
    import rclpy
    from dcfm_ros import node

    init = rclpy.init

    def be_hit(args):
        os.kill(os.getpid(), signal.{how})
        init(args=args)

    rclpy.init = be_hit
    sys.exit(node.main())
"""


@pytest.mark.parametrize('how', ['SIGINT', 'SIGTERM'])
def test_signal_before_rclpy_takes_them_ends_the_node_cleanly(tmp_path: Path, how: str) -> None:
    node = NodeProcess(tmp_path / 'log', program=('-c', HIT_AT_ONCE.format(how=how)))
    assert node.wait() == 0
    assert node.log == ''


def test_signals_while_the_node_cleans_up_are_ignored(tmp_path: Path) -> None:
    program = ('-c', HIT_WHILE_IT_ENDS)
    node = NodeProcess(tmp_path / 'log', program=program, autostart=False)
    node.wait_for_log('autostart is off')
    assert node.stop(signal.SIGTERM) == 0
    assert 'Traceback' not in node.log


HIT_WHILE_IT_ENDS = """if True:
    import os, signal, sys
    from dcfm_ros import node
    from dcfm_ros.ros import run_node

    shut_down = run_node.try_shutdown

    def be_hit():
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        shut_down()
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)

    run_node.try_shutdown = be_hit
    sys.exit(node.main())
"""
NODES = {
    'node': {'autostart': 'false'},
    'cloud.node': {},
    'ground.node': {'camera_height': '1.0'},
    'ros.run_length_node': {},
}


@pytest.mark.parametrize('module', NODES)
def test_parameter_file_that_misses_the_node_is_reported(tmp_path: Path, module: str) -> None:
    file = tmp_path / 'own.yaml'
    file.write_text('some_node: {ros__parameters: {keyframe_interval: 7}}')
    program = ('-m', f'dcfm_ros.{module}')
    given = ('--params-file', str(file))
    node = NodeProcess(tmp_path / 'log', *given, program=program, **NODES[module])
    node.wait_for_log(f'parameters of {file} under /some_node are ignored: this node is')
    assert node.stop() == 0
