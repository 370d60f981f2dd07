"""How long the engine takes for a frame: as measured here, or as assumed of another machine."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from dcfm_ros.engine import FrameResult


@dataclass(frozen=True)
class FrameTimes:
    """Times that a keyframe and a non-key frame are assumed to take, in ms."""

    key_ms: float
    nonkey_ms: float

    def __post_init__(self) -> None:
        for name in ('key_ms', 'nonkey_ms'):
            if not getattr(self, name) >= 0:
                raise ValueError(f'`{name}` must be at least 0, got {getattr(self, name)}')

    def of(self, result: FrameResult, num_slices: int = 1) -> float:
        """Time of a frame, ms; slices of a keyframe are taken to be equally long."""
        if not _is_deep(result):
            return self.nonkey_ms
        at_once = result.keyframe_age == 0
        share = 1.0 if at_once else 1 / num_slices
        return self.nonkey_ms + share * (self.key_ms - self.nonkey_ms)


class MeasuredTimes:
    """Times of frames that were run, by what they were to the schedule.

    That is the age of the feature in use and whether the deep encoder was at work; under a fixed
    interval the age tells which slice was done.
    """

    def __init__(self) -> None:
        self._ms: dict[tuple[int, bool], list[float]] = {}

    def add(self, result: FrameResult) -> None:
        """Note how long the engine took for a frame."""
        self._ms.setdefault(_role(result), []).append(total_ms(result))

    def merge(self, other: MeasuredTimes) -> None:
        """Put the frames of another one behind those of this one."""
        for role, times in other._ms.items():
            self._ms.setdefault(role, []).extend(times)

    def of(self, result: FrameResult) -> float:
        """Median time in ms of frames like this one; its own if there is none."""
        return median(self._ms.get(_role(result), [total_ms(result)]))

    def at_age(self, age: int) -> float:
        """Median time in ms of frames that used a feature of this age.

        In a long run the deep encoder is at work on all of them or on none. When a stream begins,
        it may rest on frames where it works later: these are left out.
        """
        return median(self._ms.get((age, True)) or self._ms[age, False])

    def medians(self) -> dict[str, float | None]:
        """Medians in ms: 'ms_key' where the deep encoder was at work, 'ms_nonkey' elsewhere."""
        return {
            'ms_key': _rounded_median(self._where(is_deep=True)),
            'ms_nonkey': _rounded_median(self._where(is_deep=False)),
        }

    def _where(self, *, is_deep: bool) -> list[float]:
        return [ms for role, times in self._ms.items() if role[1] == is_deep for ms in times]


def total_ms(result: FrameResult) -> float:
    """Time that the engine took for a frame."""
    return sum(result.stage_ms.values())


def _role(result: FrameResult) -> tuple[int, bool]:
    return result.keyframe_age, _is_deep(result)


def _is_deep(result: FrameResult) -> bool:
    return 'common' in result.stage_ms


def _rounded_median(times: list[float]) -> float | None:
    return round(median(times), 3) if times else None
