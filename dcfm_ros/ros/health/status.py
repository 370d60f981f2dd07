"""What a node says of its health, and how that is read back; no ROS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
import math

import psutil

from dcfm_ros.ros.health.stream_statistics import DROP_CAUSES, StreamSnapshot


class Level(IntEnum):
    """Severity, with the values of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2


@dataclass(frozen=True, kw_only=True)
class Status:
    """One line of a diagnostics display."""

    task: str
    level: Level
    message: str
    values: dict[str, str] = field(default_factory=dict)


def image_status(
    snapshot: StreamSnapshot,
    *,
    is_waiting: bool,
    no_image_warning_s: float,
    topic: str,
    publishers: int,
    reliability: str,
    clock_running_s: float = math.inf,
    camera_info_problem: str | None = None,
    failure: str = '',
    wrong_types: str = '',
) -> Status:
    """Diagnostics of the input.

    Args:
        snapshot: Figures of the stream.
        is_waiting: Whether images are expected now (the node is active and enabled).
        no_image_warning_s: The parameter.
        topic: Fully qualified.
        publishers: Number connected.
        reliability: As requested; '' while not subscribed.
        clock_running_s: Seconds for which the node's clock has been running, 0 while it is
            stopped: a paused bag is not a silent camera.
        camera_info_problem: Why the last mask got no camera_info; '' if it got one, None if it
            needs none.
        failure: Why the node is not subscribed, if its last transition failed.
        wrong_types: What is published on the topic and cannot be received, in words; or ''.
    """
    silent = 0 < no_image_warning_s <= min(snapshot.since_image_s, clock_running_s)
    level, message = Level.OK, f'{snapshot.rate_in_hz:.1f} images per second'
    if snapshot.bad_frame:
        level, message = Level.ERROR, f'bad image: {snapshot.last_error}'
    elif is_waiting and wrong_types and not publishers:
        level, message = Level.WARN, wrong_types
    elif is_waiting and silent:
        level = Level.WARN
        message = f'no image for {snapshot.since_image_s:.0f} s on {topic}'
        message += f' ({publishers} publishers connected)'
    elif not is_waiting and failure:
        level, message = Level.ERROR, f'not subscribed: {failure}'
    elif not is_waiting:
        message = 'paused by ~/enable' if reliability else 'not subscribed'
    elif not clock_running_s:
        message = 'the clock is not running'
    if camera_info_problem and level == Level.OK:
        level, message = Level.WARN, camera_info_problem
    elif is_waiting and wrong_types and level == Level.OK:
        level, message = Level.WARN, f'{message}, but {wrong_types}'
    values = {
        'topic': topic,
        'publishers': str(publishers),
        'reliability': reliability,
        'rate_in_hz': f'{snapshot.rate_in_hz:.2f}',
        'frames_received': str(snapshot.received),
    }
    values |= {f'dropped_{cause}': str(count) for cause, count in snapshot.dropped.items()}
    values['last_error'] = snapshot.last_error
    if camera_info_problem is not None:
        values['camera_info'] = camera_info_problem or 'ok'
    return Status(task='images', level=level, message=message, values=values)


def mask_status(snapshot: StreamSnapshot, subscribers: int, images: Status) -> Status:
    """Diagnostics of the output; without masks, what is wrong with the images is the cause."""
    level, message = Level.OK, f'{snapshot.rate_out_hz:.1f} masks per second'
    if images.level > Level.OK and not snapshot.rate_out_hz:
        level, message = images.level, f'no masks: {images.message}'
    values = {
        **snapshot.output_values(),
        'mask_subscribers': str(subscribers),
        'frames_answered': str(snapshot.answered),
        'keyframe_share': f'{snapshot.keyframe_share:.3f}',
    }
    return Status(task='masks', level=level, message=message, values=values)


def model_status(state: str, failure: str, requested_device: str, model: dict[str, str]) -> Status:
    """Diagnostics of the node and its network.

    Args:
        state: Lifecycle state in words.
        failure: Why the last transition failed; '' if it did not.
        requested_device: Parameter `device`.
        model: The loaded network, by the names of the options, and `backend_failure` if the
            chosen backend failed; empty if none is loaded.
    """
    level, message = Level.OK, state
    if failure:
        level, message = Level.ERROR, failure
    elif backend_failure := model.get('backend_failure'):
        level, message = Level.WARN, f'{state}, but {backend_failure}'
    elif requested_device == 'auto' and model.get('device') == 'cpu':
        level = Level.WARN
        message = f'{state}, on the CPU: no CUDA device found (device:=cpu accepts that)'
    values = {
        'state': state,
        **model,
        'memory_mb': f'{psutil.Process().memory_info().rss / 1e6:.0f}',
    }
    return Status(task='model', level=level, message=message, values=values)


@dataclass(frozen=True, kw_only=True)
class NodeHealth:
    """What a node with one camera says of itself, read back from its statuses."""

    state: str = ''
    message: str = ''
    """Of status `model`: what is wrong, if anything is."""
    model: Mapping[str, str] = field(default_factory=dict)
    """Checkpoint, device and options of the loaded network, by the names of the options."""
    publishers: int = 0
    reliability: str = ''
    mask_subscribers: int = 0
    frames_received: int = 0
    frames_answered: int = 0
    dropped: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(DROP_CAUSES, 0))
    """Frames without a mask since the start of the node, by cause."""

    @property
    def has_failed(self) -> bool:
        """Whether the last transition failed, so that the node will not become active."""
        return self.state != 'active' and not self.message.startswith(self.state)

    @classmethod
    def from_values(cls, values: Mapping[str, Mapping[str, str]], message: str = '') -> NodeHealth:
        """Read the values that the functions above wrote, by task; what is absent is 0 or ''.

        Args:
            values: Of the statuses 'model', 'images' and 'masks'.
            message: Of status 'model'.
        """
        model, images = values.get('model', {}), values.get('images', {})
        masks = values.get('masks', {})
        return cls(
            state=model.get('state', ''),
            message=message,
            model=model,
            publishers=int(images.get('publishers', 0)),
            reliability=images.get('reliability', ''),
            mask_subscribers=int(masks.get('mask_subscribers', 0)),
            frames_received=int(images.get('frames_received', 0)),
            frames_answered=int(masks.get('frames_answered', 0)),
            dropped={cause: int(images.get(f'dropped_{cause}', 0)) for cause in DROP_CAUSES},
        )
