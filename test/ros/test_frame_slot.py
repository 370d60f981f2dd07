from __future__ import annotations

import threading

from dcfm_ros.ros.frame_slot import FrameSlot


def test_newest_frame_wins() -> None:
    slot: FrameSlot[int] = FrameSlot()
    for frame in (1, 2, 3):
        slot.put('front', frame)
    assert slot.take() == ('front', 3)


def test_put_returns_the_frame_it_replaces() -> None:
    slot: FrameSlot[int] = FrameSlot()
    assert [slot.put('front', frame) for frame in (1, 2, 3)] == [None, 1, 2]


def test_cameras_do_not_replace_each_other() -> None:
    slot: FrameSlot[int] = FrameSlot()
    assert [slot.put('front', 1), slot.put('rear', 2), slot.put('front', 3)] == [None, None, 1]
    assert [slot.take(), slot.take()] == [('front', 3), ('rear', 2)]


def test_camera_that_waits_longest_is_next() -> None:
    slot: FrameSlot[int] = FrameSlot()
    slot.put('front', 1)
    slot.put('rear', 2)
    assert slot.take() == ('front', 1)
    for frame in (3, 4, 5):  # a fast camera, which has just had its turn
        slot.put('front', frame)
    assert [slot.take(), slot.take()] == [('rear', 2), ('front', 5)]


def test_take_waits_for_a_frame() -> None:
    slot: FrameSlot[int] = FrameSlot()
    taken: list[tuple[str, int] | None] = []
    thread = threading.Thread(target=lambda: taken.append(slot.take()))
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    slot.put('front', 7)
    thread.join(10)
    assert taken == [('front', 7)]


def test_close_ends_take() -> None:
    slot: FrameSlot[int] = FrameSlot()
    taken: list[tuple[str, int] | None] = [('none', 0)]
    thread = threading.Thread(target=lambda: taken.append(slot.take()))
    thread.start()
    slot.close()
    thread.join(10)
    assert taken == [('none', 0), None]


def test_close_returns_the_frames_that_waited() -> None:
    slot: FrameSlot[int] = FrameSlot()
    slot.put('front', 1)
    slot.put('rear', 2)
    assert slot.close() == {'front': 1, 'rear': 2}
    assert slot.take() is None


def test_closed_slot_gives_a_frame_back() -> None:
    slot: FrameSlot[int] = FrameSlot()
    slot.close()
    assert slot.put('front', 1) == 1


def test_discard_empties_the_slot() -> None:
    slot: FrameSlot[int] = FrameSlot()
    slot.put('front', 1)
    assert slot.discard() == {'front': 1}
    assert slot.discard() == {}


def test_every_frame_is_taken_or_replaced_once() -> None:
    slot: FrameSlot[int] = FrameSlot()
    taken: dict[str, list[int]] = {'front': [], 'rear': []}

    def work() -> None:
        while (found := slot.take()) is not None:
            taken[found[0]].append(found[1])

    replaced: dict[str, list[int]] = {'front': [], 'rear': []}

    def feed(camera: str) -> None:
        for frame in range(1, 3001):
            if (old := slot.put(camera, frame)) is not None:
                replaced[camera].append(old)

    threads = [threading.Thread(target=work)]
    threads += [threading.Thread(target=feed, args=(camera,)) for camera in taken]
    for thread in threads:
        thread.start()
    for thread in threads[1:]:
        thread.join(10)
    for camera, left in slot.close().items():
        replaced[camera].append(left)
    threads[0].join(10)
    for camera in taken:
        assert sorted(taken[camera] + replaced[camera]) == list(range(1, 3001))
        assert taken[camera] == sorted(taken[camera])
