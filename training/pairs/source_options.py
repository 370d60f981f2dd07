"""`SourceOptions`: one dataset that a training takes pairs from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MOTIONS = ('auto', 'video', 'street', 'layers', 'none')
RENDERED = 'rendered'


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """One dataset to take pairs from.

    Raises:
        ValueError: If a value is outside what its field says.
    """

    dataset: str
    """A dataset of `datasets.find_clips`, or 'rendered': drives that are rendered on first use."""
    root: Path | None = None
    """Folder of the dataset; not for 'rendered'."""
    split: str = 'train'
    share: float = 1.0
    """Share of the pairs (relative to the other sources), at least 0."""
    hold_out_share: float = 0.0
    """Part of this source that is not trained on, in [0, 1), for `dcfm evaluate` to measure on;
    not for 'rendered', nor for a source that the `hold_out_share` of the data already splits."""
    motion: str = 'auto'
    """What the reference frame is: 'video' (a real neighbour), 'street' (a CamVid still in
    synthetic motion), 'layers' (any still in synthetic motion), 'none' (the labelled frame itself:
    enough for an image network, and the fastest) or 'auto' ('street' for camvid, 'layers' for
    stills and idd_lite, else 'video')."""
    in_memory: bool = False
    """Decode videos and stills at rest once, at the start. Streets and camvid at rest always
    are."""
    paste_share: float = 0.3
    """Share of pairs that get extra objects, in [0, 1]: of 'street', and of camvid at rest if the
    classes are CamVid's; ignored elsewhere."""
    balance: float = 0.0
    """Share of the pairs that are drawn for a class, rare ones most often (see `class_balance`),
    in [0, 1]: their frame holds it, and so does their crop. Above 0 every label is read once, at
    the start."""
    num_drives: int = 40
    """'rendered' only: number of drives."""
    frames_per_drive: int = 12
    """'rendered' only: frames of each, at 15 Hz."""
    size: tuple[int, int] = (360, 480)
    """'rendered' only: height and width, pixels."""

    def __post_init__(self) -> None:
        if self.motion not in MOTIONS:
            msg = f'one of {", ".join(MOTIONS)}, got {self.motion!r}'
            raise ValueError(f'`motion` must be {msg}')
        if not self.share >= 0:
            raise ValueError(f'`share` must be at least 0, got {self.share}')
        if not 0 <= self.hold_out_share < 1:
            raise ValueError(f'`hold_out_share` must be in [0, 1), got {self.hold_out_share}')
        for name, value in (('paste_share', self.paste_share), ('balance', self.balance)):
            if not 0 <= value <= 1:
                raise ValueError(f'`{name}` must be in [0, 1], got {value}')
        if (self.root is None) != (self.dataset == RENDERED):
            msg = f'the folder of the dataset, and absent for {RENDERED!r}'
            raise ValueError(f'`root` must be {msg}, got {self.root} for {self.dataset!r}')
        if self.hold_out_share and self.dataset == RENDERED:
            msg = f'0 for {RENDERED!r}, got {self.hold_out_share}'
            raise ValueError(f'`hold_out_share` must be {msg}')

    @property
    def chosen_motion(self) -> str:
        """'video', 'street', 'layers' or 'none': what 'auto' stands for."""
        if self.motion != 'auto':
            return self.motion
        motions = {'camvid': 'street', 'stills': 'layers', 'idd_lite': 'layers'}
        return motions.get(self.dataset, 'video')

    def __str__(self) -> str:
        return ' '.join(str(part) for part in (self.dataset, self.root, self.split) if part)
