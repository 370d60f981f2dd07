"""What is seen of a process that ends, and of what it leaves."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import sys
import threading
import time

import pytest
from running_node import wait_for

from dcfm_ros.torture.faults.process import Ending, Watched


def watched(tmp_path: Path, code: str) -> Watched:
    return Watched([sys.executable, '-u', '-c', code], tmp_path / 'log')


def test_exit_code_and_signal(tmp_path: Path) -> None:
    process = watched(tmp_path, 'import sys; sys.exit(7)')
    ending = process.wait()
    assert (ending.code, ending.strays, len(ending.left)) == (7, 0, 0)
    process = watched(tmp_path, 'import time; time.sleep(99)')
    assert not process.handles(signal.SIGTERM)
    assert process.end(signal.SIGTERM).code == -signal.SIGTERM


def test_handler_is_seen(tmp_path: Path) -> None:
    code = """if True:
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
        while True: time.sleep(0.1)
    """
    process = watched(tmp_path, code)
    wait_for(lambda: process.handles(signal.SIGTERM), 'its handler')
    assert process.end(signal.SIGTERM).code == 3


def test_process_that_outlives_it_is_counted(tmp_path: Path) -> None:
    code = """if True:
        import subprocess, sys
        print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)']).pid)
    """
    process = watched(tmp_path, code)
    ending = process.wait()
    os.kill(int(process.output), signal.SIGKILL)
    assert (ending.code, ending.strays) == (0, 1)


_UNTIL_TOLD = """
import signal
import threading
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print('ready')
signal.sigwait([signal.SIGTERM])
"""


@pytest.mark.parametrize('is_left', [False, True])
def test_shared_memory_that_nobody_uses_is_counted(tmp_path: Path, is_left: bool) -> None:
    shared = Path(f'/dev/shm/fastdds_test_{os.getpid()}_{is_left}')
    code = f"""
import mmap, os
file = open({str(shared)!r}, 'wb+')
file.truncate(4096)
mapped = mmap.mmap(file.fileno(), 4096)
{_UNTIL_TOLD}
{'' if is_left else f'os.unlink({str(shared)!r})'}
"""
    process = watched(tmp_path, code)
    wait_for(lambda: 'ready' in process.output, 'it to map the file')
    try:
        ending = process.end(signal.SIGTERM)
        assert (ending.code, len(ending.left)) == (0, is_left)
    finally:
        shared.unlink(missing_ok=True)


def test_what_another_process_removes_a_moment_later_is_not_left(tmp_path: Path) -> None:
    shared = Path(f'/dev/shm/fastdds_test_{os.getpid()}_late')
    process = watched(tmp_path, f'file = open({str(shared)!r}, "ab")\n{_UNTIL_TOLD}')
    wait_for(lambda: 'ready' in process.output, 'it to open the file')
    remover = threading.Timer(0.4, shared.unlink)
    remover.start()
    ending = process.end(signal.SIGTERM)
    remover.join()
    assert (ending.code, ending.left) == (0, ())
    assert ending.seconds < 0.4, 'the file was removed too early to tell'


def test_what_another_process_uses_is_not_left(tmp_path: Path) -> None:
    shared = Path(f'/dev/shm/fastdds_test_{os.getpid()}_both')
    process = watched(tmp_path, f'file = open({str(shared)!r}, "ab")\n{_UNTIL_TOLD}')
    wait_for(lambda: 'ready' in process.output, 'it to open the file')
    try:
        with shared.open('rb'):
            ending = process.end(signal.SIGTERM)
        assert (ending.code, len(ending.left)) == (0, 0)
    finally:
        shared.unlink()


def test_nothing_of_one_that_is_killed_stays(tmp_path: Path) -> None:
    shared = Path(f'/dev/shm/fastrtps_test_{os.getpid()}')
    code = f'import time; file = open({str(shared)!r}, "wb"); print("ready"); time.sleep(99)'
    process = watched(tmp_path, code)
    wait_for(lambda: 'ready' in process.output, 'it to open the file')
    process.kill()
    assert not shared.exists()
    assert not process.is_running


def test_seconds_are_those_from_the_signal_on(tmp_path: Path) -> None:
    code = """if True:
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), sys.exit()))
        while True: time.sleep(0.1)
    """
    process = watched(tmp_path, code)
    wait_for(lambda: process.handles(signal.SIGTERM), 'its handler')
    time.sleep(0.2)
    ending = process.end(signal.SIGTERM)
    assert isinstance(ending, Ending)
    assert ending.seconds >= 0.5


_ENDS = """if True:
    import signal, sys, threading
    import rclpy
    from rclpy.duration import Duration
    from rclpy.executors import ExternalShutdownException
    from std_msgs.msg import String
    rclpy.init()
    node = rclpy.create_node(sys.argv[1])
    if sys.argv[1] == 'listener':
        node.create_subscription(String, 'it', lambda message: print('heard'), 10)
        node.create_timer(0.2, lambda: None)  # without one, rclpy may miss the signal
    else:
        publisher = node.create_publisher(String, 'it', 10)
        is_told = threading.Event()
        signal.signal(signal.SIGUSR1, lambda *_: is_told.set())

        def talk():
            if is_told.is_set():
                timer.cancel()
                print('all acknowledged:', publisher.wait_for_all_acked(Duration(seconds=30)))
            else:
                publisher.publish(String(data='x'))

        timer = node.create_timer(0.05, talk)
    try:
        rclpy.spin(node)
    except ExternalShutdownException:
        node.destroy_node()
"""


@pytest.mark.dds
def test_what_a_killed_process_shared_is_not_counted_as_left_by_others(tmp_path: Path) -> None:
    pytest.importorskip('rclpy')
    run = [sys.executable, '-u', '-c', _ENDS]
    listener = Watched([*run, 'listener'], tmp_path / 'listener')
    talker = Watched([*run, 'talker'], tmp_path / 'talker')
    try:
        wait_for(lambda: 'heard' in listener.output, 'a message')
        # At rest when it is killed: it holds no lock of the shared memory then.
        talker.send(signal.SIGUSR1)
        wait_for(lambda: 'all acknowledged: True' in talker.output, 'it to be quiet')
        time.sleep(0.5)
    finally:
        talker.kill()
        ending = listener.end(signal.SIGTERM)
    assert (ending.code, len(ending.left)) == (0, 0)
