"""The frames of a recording as a player sends them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
import itertools

from dcfm_ros.play.player import PlayedFrame
from dcfm_ros.recordings.bag_messages import stamp_of
from dcfm_ros.replay.recording import Recording

_SEAM_NS = 10_000_000_000
"""From the last frame of a recording to its first one again: the node starts anew."""
_BUFFER_BYTES = 1 << 30
"""Frames of a fixed rate are held in memory: reading them would cost the node CPU time."""


def image_transport(recording: Recording) -> str:
    """How to send the images, 'raw' or 'compressed'; a frame has been read already."""
    return 'compressed' if recording.bag and recording.bag.is_compressed else 'raw'


def played_frames(recording: Recording, places: list[int] | None = None) -> Iterator[PlayedFrame]:
    """The frames of a recording: JPEG and PNG files of a bag as they are, all else as RGB.

    The node's answers are known by their stamps, so a frame with the stamp of an earlier one gets
    the next that is free.

    Args:
        recording: What to play.
        places: Gets the place of every frame, as in `Recording.numbered`.
    """
    taken: set[tuple[int, str]] = set()
    for place, frame in _placed_frames(recording):
        stamp_ns = frame.stamp_ns
        while (stamp_ns, frame.frame_id) in taken:
            stamp_ns += 1
        taken.add((stamp_ns, frame.frame_id))
        if places is not None:
            places.append(place)
        yield replace(frame, stamp_ns=stamp_ns)


def _placed_frames(recording: Recording) -> Iterator[tuple[int, PlayedFrame]]:
    if (bag := recording.bag) and bag.is_compressed:
        yield from bag.messages(
            lambda message: (
                bag.position,
                PlayedFrame(
                    image=bytes(message.data),
                    stamp_ns=stamp_of(message),
                    frame_id=message.header.frame_id,
                ),
            )
        )
        return
    for place, frame in recording.numbered():
        yield (
            place,
            PlayedFrame(image=frame.image, stamp_ns=frame.stamp_ns, frame_id=frame.frame_id),
        )


def buffered(frames: Iterable[PlayedFrame], count: int) -> list[PlayedFrame]:
    """The first `count` frames, or as many as fit into 1 GiB."""
    kept: list[PlayedFrame] = []
    size = 0
    for frame in itertools.islice(frames, count):
        size += len(frame.image) if isinstance(frame.image, bytes) else frame.image.nbytes
        if kept and size > _BUFFER_BYTES:
            break
        kept.append(frame)
    return kept


def looped(frames: Sequence[PlayedFrame], count: int) -> Iterator[PlayedFrame]:
    """Frames over and over until there are `count`, with stamps that keep rising."""
    span_ns = max(f.stamp_ns for f in frames) - min(f.stamp_ns for f in frames)
    rounds = (
        replace(frame, stamp_ns=frame.stamp_ns + index * (span_ns + _SEAM_NS))
        for index in itertools.count()
        for frame in frames
    )
    return itertools.islice(rounds, count)
