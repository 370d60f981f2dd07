"""Options that several verbs share, see `takes_options`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcfm_ros.option_spec import check_options, option

if TYPE_CHECKING:
    from dcfm_ros.training.evaluation.clip_choice import ClipChoice
    from dcfm_ros.training.evaluation.frame_times import FrameTimes


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Which clips of a dataset."""

    dataset: str = option(
        'camvid',
        'Layout: camvid, camvid_raw, cityscapes, vspw, idd_lite, folder, stills, bag or '
        'synthetic.',
    )
    split: str = option('val', "Part of the dataset; 'all' if it has none.")
    classes: str = option('', 'Read labels as these classes: camvid, cityscapes, vspw or a file.')
    hold_out: float = option(
        0.0,
        'Only what a training with this data.hold_out_share validates on; 0: everything.',
        maximum=1.0,
    )

    def __post_init__(self) -> None:
        check_options(self)

    def choice(self, root: Path) -> ClipChoice:
        """The clips of a folder."""
        from dcfm_ros.training.evaluation.clip_choice import ClipChoice

        return ClipChoice(
            dataset=self.dataset,
            root=root,
            split=self.split,
            classes=self.classes or None,
            hold_out_share=self.hold_out or None,
        )


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """The streaming accuracy."""

    streaming: bool = option(True, 'Also measure the streaming mIoU.')
    rate: float = option(
        0.0, "Frames per second of the camera, streaming; 0: the data's.", maximum=1000.0
    )
    key_ms: float = option(
        0.0, 'Time that a keyframe is assumed to take; 0: as measured.', maximum=1e6, unit='ms'
    )
    nonkey_ms: float = option(
        0.0, 'Time that other frames are assumed to take; 0: as measured.', maximum=1e6, unit='ms'
    )

    def __post_init__(self) -> None:
        check_options(self)
        if self.rate and not self.streaming:
            raise ValueError(f'--rate ({self.rate}) needs --streaming')
        if bool(self.key_ms) != bool(self.nonkey_ms):
            raise ValueError('`key_ms` and `nonkey_ms` must be given both or not at all')

    def frame_times(self) -> FrameTimes | None:
        """What frames are assumed to take; None: as measured."""
        from dcfm_ros.training.evaluation.frame_times import FrameTimes

        return FrameTimes(self.key_ms, self.nonkey_ms) if self.key_ms else None


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """Who does the work."""

    jobs: int = option(
        1, 'Clips or recordings at a time, each in a process.', minimum=1, maximum=1000
    )
    threads: int = option(
        0,
        'Threads of each process, which decide how sums are rounded; 0: one where accuracies are '
        'measured (evaluate), the cores shared out where frames are timed (replay).',
        maximum=1000,
    )
    ray: str = option('', 'A Ray cluster: local, auto or HOST:PORT.')

    def __post_init__(self) -> None:
        check_options(self)

    def values(self, threads: int | None) -> dict[str, Any]:
        """Arguments of `map_in_order`; `threads` if the number is not given."""
        threads = self.threads or threads
        return {'jobs': self.jobs, 'threads': threads, 'ray_address': self.ray or None}


@dataclass(frozen=True, kw_only=True)
class ExcerptOptions:
    """What figure 10 shows of a dataset."""

    clip: str = option('', 'Clip to show; none: the first that is long enough.')
    start: int = option(0, 'First frame of it.', maximum=1_000_000)
    frames: int = option(6, 'Frames of it.', minimum=1, maximum=100)
    interval: int = option(2, 'Keyframe interval.', minimum=1, maximum=1000)

    def __post_init__(self) -> None:
        check_options(self)


def names_of(*tables: type) -> tuple[str, ...]:
    """The fields of tables, for `takes_options`."""
    return tuple(field.name for table in tables for field in fields(table))
