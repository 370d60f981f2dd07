from __future__ import annotations

import threading

from dcfm_ros.frame_slot import FrameSlot


def test_newest_frame_wins() -> None:
    slot: FrameSlot[int] = FrameSlot()
    for frame in (1, 2, 3):
        slot.put(frame)
    assert slot.take() == 3


def test_put_returns_the_frame_it_replaces() -> None:
    slot: FrameSlot[int] = FrameSlot()
    assert [slot.put(frame) for frame in (1, 2, 3)] == [None, 1, 2]


def test_replaced_frames_are_counted() -> None:
    slot: FrameSlot[int] = FrameSlot()
    for frame in (1, 2, 3):
        slot.put(frame)
    slot.take()
    slot.put(4)
    assert slot.replaced == 2


def test_take_waits_for_a_frame() -> None:
    slot: FrameSlot[int] = FrameSlot()
    taken: list[int | None] = []
    thread = threading.Thread(target=lambda: taken.append(slot.take()))
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    slot.put(7)
    thread.join(10)
    assert taken == [7]


def test_close_ends_take() -> None:
    slot: FrameSlot[int] = FrameSlot()
    taken: list[int | None] = [0]
    thread = threading.Thread(target=lambda: taken.append(slot.take()))
    thread.start()
    slot.close()
    thread.join(10)
    assert taken == [0, None]


def test_close_returns_the_frame_that_waited() -> None:
    slot: FrameSlot[int] = FrameSlot()
    slot.put(1)
    assert slot.close() == 1
    assert slot.take() is None


def test_closed_slot_gives_a_frame_back() -> None:
    slot: FrameSlot[int] = FrameSlot()
    slot.close()
    assert slot.put(1) == 1


def test_discard_empties_the_slot() -> None:
    slot: FrameSlot[int] = FrameSlot()
    slot.put(1)
    assert slot.discard() == 1
    assert slot.discard() is None


def test_every_frame_is_taken_or_replaced_once() -> None:
    slot: FrameSlot[int] = FrameSlot()
    taken: list[int] = []

    def work() -> None:
        while (frame := slot.take()) is not None:
            taken.append(frame)

    thread = threading.Thread(target=work)
    thread.start()
    replaced = [old for frame in range(1, 5001) if (old := slot.put(frame)) is not None]
    if (left := slot.close()) is not None:
        replaced.append(left)
    thread.join(10)
    assert sorted(taken + replaced) == list(range(1, 5001))
    assert taken == sorted(taken)
