"""Schedules of a few options, and what they are shown."""

from __future__ import annotations

import numpy as np

from dcfm_ros.keyframes.adaptive_schedule import make_schedule
from dcfm_ros.keyframes.schedule import Observation
from dcfm_ros.keyframes.schedule_options import ScheduleOptions


def fixed(interval):
    return make_schedule(ScheduleOptions(schedule='fixed', keyframe_interval=interval))


def adaptive(threshold, shortest=0, longest=0, score='image', replaced=None):
    options = ScheduleOptions(
        schedule='adaptive',
        keyframe_score=score,
        change_threshold=threshold,
        min_keyframe_interval=shortest,
        max_keyframe_interval=longest,
    )
    return make_schedule(options, replaced)


def grey(level):
    return np.full((6, 8, 3), level, np.uint8)


def seen(image, age=1, **values):
    return Observation(image=image, age=age, **values)


def stream_keyframes(schedule, images):
    """Keyframes as a robot would take them: one image at a time, the first is one."""
    schedule.set_keyframe(seen(images[0]))
    keyframes = [0]
    for frame, image in enumerate(images[1:], 1):
        if schedule.decide(seen(image, frame - keyframes[-1])).reason:
            schedule.set_keyframe(seen(image))
            keyframes.append(frame)
    return keyframes
