"""What a player knows of its frames when the node says no more, or too late."""

from __future__ import annotations

from dcfm_ros.play.account import PlayAccount
from dcfm_ros.ros.frame_timing import FrameTiming
from dcfm_ros.ros.health.status import NodeHealth

DROPS = NodeHealth().dropped


def account_of(sent: int, answered: int) -> PlayAccount:
    """A frame is sent each second, from 100 s on."""
    account = PlayAccount()
    account.update(NodeHealth(frames_received=7, frames_answered=7), 99.0)
    account.begin()
    for index in range(sent):
        account.add(index, 'camera', 100.0 + index)
    for record in account.records[:answered]:
        record.received_s, record.timing = record.sent_s + 0.1, FrameTiming()
    return account


def test_nothing_is_said_of_frames_that_no_diagnostics_account_for() -> None:
    account = account_of(sent=40, answered=23)
    account.update(NodeHealth(frames_received=7 + 15, dropped={**DROPS, 'lost': 2}), 116.0)
    report = account.report()
    assert (report.answered, report.never_arrived, report.unaccounted) == (23, 2, 15)
    assert not account.is_idle()


def test_diagnostics_that_came_later_tell_how_many_frames_arrived() -> None:
    account = account_of(sent=40, answered=23)
    account.update(NodeHealth(frames_received=7 + 30, dropped={**DROPS, 'replaced': 5}), 142.0)
    assert account.report().never_arrived == 10


def test_no_frame_that_was_answered_never_arrived() -> None:
    account = account_of(sent=40, answered=23)
    # A node that was started anew counts from 0.
    account.update(NodeHealth(frames_received=4, dropped={**DROPS, 'replaced': 5}), 142.0)
    assert account.report().never_arrived == 40 - 23 - 5
