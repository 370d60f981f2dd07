from __future__ import annotations

from contextlib import suppress
from importlib.util import find_spec
import os
import sys
from threading import Thread

import cv2
import psutil
import pytest
from work import (
    Square,
    slept,
    threads_and_process,
    threads_in_this_process,
    working_folder,
)

from dcfm_ros.training.workers import MAX_TRIES, map_in_order, ray_session

pytestmark = pytest.mark.slow

needs_ray = pytest.mark.skipif(find_spec('ray') is None, reason='ray is not installed')
PLACES = [
    pytest.param({'jobs': 1}, id='here'),
    pytest.param({'jobs': 2}, id='processes'),
    pytest.param({'jobs': 2, 'ray_address': 'local', 'threads': 1}, id='ray', marks=needs_ray),
]
PARALLEL = PLACES[1:]


@pytest.fixture(scope='module', autouse=True)
def one_ray_for_all():
    """Starting it takes seconds; that `map_in_order` starts it is tested with the evaluation."""
    if find_spec('ray') is None:
        yield
        return
    with ray_session('local', 2):
        yield


@pytest.mark.parametrize('place', PARALLEL)
def test_item_of_a_killed_worker_is_tried_again(tmp_path, place):
    square = Square(tmp_path, deadly=(3,))
    assert map_in_order(square, range(6), **place) == [0, 1, 4, 9, 16, 25]
    assert (tmp_path / '3').read_text() == 'xx'


@pytest.mark.parametrize('place', PARALLEL)
def test_item_that_always_kills_is_given_up_and_named(tmp_path, place):
    square = Square(tmp_path, deadly=(3,), num_deaths=99)
    with pytest.raises(RuntimeError, match=rf'killed {MAX_TRIES} times .* \b3\b'):
        map_in_order(square, range(4), **place)
    assert (tmp_path / '3').read_text() == 'x' * MAX_TRIES


def test_worker_that_is_killed_takes_no_other_item_with_it(tmp_path):
    square = Square(tmp_path, deadly=(1, 2, 3), last=0)
    assert map_in_order(square, range(4), jobs=2) == [0, 1, 4, 9]
    assert (tmp_path / '0').read_text() == 'x'


def test_worker_that_is_killed_while_it_starts_hangs_nothing(tmp_path):
    """More than a pipe holds is to be handed over to it."""
    square, killed = Square(tmp_path), []
    square.ballast = bytes(1 << 22)

    def kill_one():
        while not killed:
            for child in psutil.Process().children():
                with suppress(psutil.Error):
                    if 'spawn_main' in ' '.join(child.cmdline()):
                        child.kill()
                        killed.append(child)
                        return

    killer = Thread(target=kill_one, daemon=True)
    killer.start()
    assert map_in_order(square, range(4), jobs=2) == [0, 1, 4, 9]
    killer.join()
    assert killed


@pytest.mark.parametrize('place', PLACES)
def test_error_of_the_function_comes_back_as_it_is(tmp_path, place):
    with pytest.raises(ValueError, match=r'^`number` must be at least 0, got -1$'):
        map_in_order(Square(tmp_path), [1, -1], **place)


@pytest.mark.parametrize('place', PLACES)
def test_results_are_in_the_order_of_the_items(place):
    assert map_in_order(slept, [0.5, 0.0, 0.01, 0.02], **place) == [0.5, 0.0, 0.01, 0.02]


def test_threads_are_those_asked_for_and_then_as_before():
    import torch

    before = torch.get_num_threads(), cv2.getNumThreads()
    assert map_in_order(threads_in_this_process, [0], threads=3) == [(3, 3)]
    assert (torch.get_num_threads(), cv2.getNumThreads()) == before


@pytest.mark.parametrize('place', PARALLEL)
def test_workers_have_threads_of_their_own(place):
    results = map_in_order(threads_and_process, range(4), **{**place, 'threads': 1})
    assert {(variable, threads) for variable, threads, _ in results} == {('1', 1)}
    assert os.getpid() not in {process for _, _, process in results}


@pytest.mark.parametrize('place', PARALLEL)
def test_workers_work_where_the_work_is_given_out(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    assert map_in_order(working_folder, [0], **place) == [tmp_path]


@needs_ray
def test_task_that_no_machine_has_room_for_is_refused():
    limit = '`threads` must be at most 2, the CPUs of the largest machine of the cluster, got 3'
    with pytest.raises(ValueError, match=f'^{limit}$'):
        map_in_order(str, [1], ray_address='local', threads=3)


@pytest.mark.parametrize('name', ['jobs', 'threads'])
def test_numbers_below_1_are_refused(name):
    with pytest.raises(ValueError, match=f'`{name}` must be at least 1, got 0'):
        map_in_order(str, [1], **{name: 0})


def test_absent_ray_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(RuntimeError, match=r"needs the package ray: pip install 'dcfm_ros\[cl"):
        map_in_order(str, [1], ray_address='local')
    assert os.environ['RAY_USAGE_STATS_ENABLED'] == '0'
