from __future__ import annotations

import threading

import pytest

from dcfm_ros.ros.frame_worker import FrameWorker, repeated


def test_frames_are_worked_on_in_another_thread() -> None:
    names: list[str] = []
    is_done = threading.Event()

    def work(frame: int) -> None:
        names.append(threading.current_thread().name)
        is_done.set()

    worker: FrameWorker[int] = FrameWorker({'front': work}, lambda error: None)
    worker.slot.put('front', 1)
    assert is_done.wait(10)
    worker.stop()
    assert names == ['segmentation']


def test_each_camera_has_work_of_its_own() -> None:
    done: list[tuple[str, int]] = []
    is_done = threading.Event()

    def front(frame: int) -> None:
        done.append(('front', frame))

    def rear(frame: int) -> None:
        done.append(('rear', frame))
        is_done.set()

    worker: FrameWorker[int] = FrameWorker({'front': front, 'rear': rear}, lambda error: None)
    worker.slot.put('front', 1)
    worker.slot.put('rear', 2)
    assert is_done.wait(10)
    worker.stop()
    assert done == [('front', 1), ('rear', 2)]


def test_stop_finishes_the_frame_under_way_and_returns_those_that_waited() -> None:
    has_begun, may_end = threading.Event(), threading.Event()
    finished: list[int] = []

    def work(frame: int) -> None:
        has_begun.set()
        may_end.wait(10)
        finished.append(frame)

    worker: FrameWorker[int] = FrameWorker({'front': work}, lambda error: None)
    worker.slot.put('front', 1)
    assert has_begun.wait(10)
    worker.slot.put('front', 2)
    threading.Timer(0.05, may_end.set).start()
    assert worker.stop() == {'front': 2}
    assert finished == [1]


def test_failure_is_reported_once_and_ends_the_work() -> None:
    failures: list[Exception] = []
    has_failed = threading.Event()

    def report(error: Exception) -> None:
        failures.append(error)
        has_failed.set()

    def work(frame: int) -> None:
        raise RuntimeError(f'frame {frame}')

    worker: FrameWorker[int] = FrameWorker({'front': work}, report)
    worker.slot.put('front', 1)
    assert has_failed.wait(10)
    worker.slot.put('front', 2)
    assert worker.stop() == {'front': 2}
    assert [str(error) for error in failures] == ['frame 1']


def test_repeated_action_ends_with_the_body() -> None:
    calls: list[int] = []
    has_been_called = threading.Event()

    def action() -> None:
        calls.append(1)
        if len(calls) == 3:
            has_been_called.set()

    before = threading.active_count()
    with repeated(action, 0.01):
        assert has_been_called.wait(10)
    assert threading.active_count() == before


def test_repeated_action_ends_with_a_failing_body() -> None:
    before = threading.active_count()
    with pytest.raises(ValueError, match='body'), repeated(lambda: None, 0.01):
        raise ValueError('body')
    assert threading.active_count() == before
