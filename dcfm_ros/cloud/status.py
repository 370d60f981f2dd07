"""Diagnostics of semantic_cloud_node; no ROS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dcfm_ros.ros.health.status import Level, Status
from dcfm_ros.ros.health.stream_statistics import StreamSnapshot

DROP_CAUSES = ('lost', 'no_mask', 'no_camera_info', 'unheard', 'replaced', 'refused')
"""Why a depth image has no cloud: it never arrived, no mask (with its confidence and image) has a
stamp near its own, there was no camera_info yet, the clouds have no subscribers, a newer one
replaced it, it was invalid or did not fit mask or camera_info."""


@dataclass(frozen=True, kw_only=True)
class InputState:
    """State of the inputs other than the depth images."""

    silent: Sequence[str]
    """Topics that are needed and have been silent lately."""
    depth_frame: str
    mask_frame: str
    """Frame ids of the newest messages; '' while there are none."""
    unknown_labels: Sequence[str]
    """Entries of `keep_labels` that are not a class."""
    lone: Mapping[str, int]
    """Messages without a partner, by stream."""


def cloud_status(
    snapshot: StreamSnapshot,
    inputs: InputState,
    *,
    max_time_difference_ms: float,
    subscribers: Mapping[str, int],
) -> Status:
    """Diagnostics of the output.

    Args:
        snapshot: Figures of the depth images.
        inputs: State of the other inputs.
        max_time_difference_ms: Parameter of that name.
        subscribers: By topic.
    """
    has_subscribers = any(subscribers.values())
    level, message = Level.WARN, ''
    if snapshot.rate_in_hz and has_subscribers and not snapshot.rate_out_hz and inputs.silent:
        message = f'no clouds: nothing comes on {", ".join(inputs.silent)}'
    elif snapshot.rate_in_hz and has_subscribers and not snapshot.rate_out_hz:
        message = (
            f'no clouds: no mask has a stamp within {max_time_difference_ms:g} ms of a depth '
            'image, or it arrives after queue_size newer depth images'
        )
    elif inputs.mask_frame and inputs.depth_frame not in ('', inputs.mask_frame):
        message = (
            f'depth is in frame {inputs.depth_frame}, the mask in {inputs.mask_frame}: '
            'is the depth registered to the camera of the mask?'
        )
    elif inputs.unknown_labels:
        message = f'`keep_labels` has no such class: {", ".join(inputs.unknown_labels)}'
    else:
        level, message = Level.OK, f'{snapshot.rate_out_hz:.1f} clouds per second'
    values = {
        'rate_out_hz': f'{snapshot.rate_out_hz:.2f}',
        'clouds': str(snapshot.answered),
        'latency_p50_ms': f'{snapshot.latency_p50_ms:.2f}',
        'latency_p95_ms': f'{snapshot.latency_p95_ms:.2f}',
        'latency_max_ms': f'{snapshot.latency_max_ms:.2f}',
    }
    values |= {f'{topic} subscribers': str(count) for topic, count in subscribers.items()}
    values |= {f'unmatched_{stream}': str(count) for stream, count in inputs.lone.items()}
    values |= {'depth_frame': inputs.depth_frame, 'mask_frame': inputs.mask_frame}
    return Status(task='clouds', level=level, message=message, values=values)
