"""`PlayAccount`: what has become so far of the frames of a play; no ROS."""

from __future__ import annotations

from dataclasses import replace

from dcfm_ros.play.report import FrameRecord, PlayReport
from dcfm_ros.ros.health.status import NodeHealth

_IDLE_S = 2.0
"""Diagnostics this much later than the last frame account for it, wherever it is."""


class PlayAccount:
    """The frames of one play after the other, beside what the node says; the caller locks it."""

    def __init__(self) -> None:
        self.records: list[FrameRecord] = []
        """Of the frames of this play, in the order of sending."""
        self.unexpected = 0
        """Masks that fit no frame, or that came twice."""
        self.health = NodeHealth()
        """The node's last diagnostics."""
        self._index: dict[tuple[int, str], int] = {}
        self._health_s = 0.0
        self._before = self.health  # before the play

    def begin(self) -> None:
        """Forget the frames of the last play; the node is ready, and idle."""
        # Lost after the last frame that arrived: the next one will show the gap.
        unseen = self._never_arrived() - self._dropped()['lost']
        self.records, self._index, self.unexpected = [], {}, 0
        dropped = dict(self.health.dropped)
        dropped['lost'] += max(unseen, 0)
        self._before = replace(self.health, dropped=dropped)

    def add(self, stamp_ns: int, frame_id: str, sent_s: float) -> None:
        """Count a frame that is sent at `sent_s`, on a steady clock.

        Raises:
            ValueError: If one of this play had its stamp.
        """
        key = (stamp_ns, frame_id)
        if key in self._index:
            raise ValueError(f'`stamp_ns` must differ between frames, got {stamp_ns} twice')
        index = self._index[key] = len(self.records)
        self.records.append(FrameRecord(index, stamp_ns, frame_id, sent_s=sent_s))

    def find(self, stamp_ns: int, frame_id: str) -> FrameRecord | None:
        """The frame of this play with a header, or None."""
        index = self._index.get((stamp_ns, frame_id))
        return None if index is None else self.records[index]

    def update(self, health: NodeHealth, now_s: float) -> None:
        """Take the node's diagnostics, which came at `now_s` on the same clock."""
        self.health, self._health_s = health, now_s

    def is_settled(self) -> bool:
        """Whether every frame is answered, and its timing there, or dropped."""
        waiting = sum(not (record.answered and record.timing) for record in self.records)
        return waiting <= sum(self._dropped().values())

    def is_idle(self) -> bool:
        """Whether the node is done with all it received, so that what is missing will not come."""
        if not self._accounts_for_all():
            return False
        done, dropped = self.health.frames_answered, self.health.dropped
        return done + sum(dropped.values()) - dropped['lost'] == self.health.frames_received

    def report(self) -> PlayReport:
        """The state so far."""
        return PlayReport(
            records=self.records,
            dropped_by_cause=self._dropped(),
            unexpected_masks=self.unexpected,
            health=self.health,
            never_arrived=self._never_arrived(),
        )

    def _accounts_for_all(self) -> bool:
        """Whether the diagnostics are newer than the arrival of any frame."""
        return not self.records or self._health_s >= self.records[-1].sent_s + _IDLE_S

    def _never_arrived(self) -> int:
        dropped = self._dropped()
        lost = dropped['lost']
        # Of a node that has ended or hangs the last diagnostics are of a time before.
        if not self.records or self.is_settled() or not self._accounts_for_all():
            return lost
        arrived = self.health.frames_received - self._before.frames_received
        answered = sum(record.answered for record in self.records)
        missing = len(self.records) - answered - (sum(dropped.values()) - lost)
        return max(lost, min(len(self.records) - arrived, missing))

    def _dropped(self) -> dict[str, int]:
        total, before = self.health.dropped, self._before.dropped
        return {cause: max(total[cause] - before[cause], 0) for cause in total}
