"""`PairData`: training pairs from any mix of datasets, and the frames to validate on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lightning.pytorch import LightningDataModule
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Subset

from dcfm_ros.models.labels import CAMVID_NAMES
from dcfm_ros.training.augment import PairAugmentation, RoadSceneAugmentation
from dcfm_ros.training.clip_pairs import (
    ClipPair,
    ClipPairDataset,
    FixedPairDataset,
    RunningSampler,
    use_one_opencv_thread,
)
from dcfm_ros.training.datasets import Clip, check_clips, find_clips, hold_out, read_frame
from dcfm_ros.training.drive_cache import rendered_drives
from dcfm_ros.training.gaps import AgeMatchedGaps, Gaps
from dcfm_ros.training.label_sets import LabelSet, load_label_set, mapped
from dcfm_ros.training.pair_sources import (
    DrivePairs,
    LayeredPairs,
    PairSource,
    RoadScenePairs,
    VideoPairs,
)

MOTIONS = ('auto', 'video', 'street', 'layers')
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
    motion: str = 'auto'
    """What the reference frame is: 'video' (a real neighbour), 'street' (a CamVid still in
    synthetic motion), 'layers' (any still in synthetic motion) or 'auto' ('street' for camvid,
    'layers' for stills, else 'video')."""
    in_memory: bool = False
    """Decode the videos once, at the start. Streets always are."""
    paste_share: float = 0.3
    """Share of street pairs that get extra objects, in [0, 1]."""
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
        if (self.root is None) != (self.dataset == RENDERED):
            msg = f'the folder of the dataset, and absent for {RENDERED!r}'
            raise ValueError(f'`root` must be {msg}, got {self.root} for {self.dataset!r}')


class PairData(LightningDataModule):
    """Training pairs and validation frames for Lightning."""

    def __init__(
        self,
        train: list[SourceOptions],
        validation: SourceOptions | None = None,
        labels: str = 'camvid',
        hold_out_share: float = 0.1,
        validation_age: int = 4,
        validation_height: int | None = None,
        validation_every: int = 1,
        batch_size: int = 8,
        pairs_per_epoch: int = 2000,
        num_workers: int = 1,
        gaps: Gaps | None = None,
        augmentation: PairAugmentation | None = None,
        cache_dir: Path = Path('out/cache'),
        check: bool = True,
        seed: int = 0,
    ) -> None:
        """Describe the data; nothing is read before `setup`.

        Args:
            train: Where the pairs come from.
            validation: Where the frames to validate on come from; None: the held-out part of
                the first training source.
            labels: What the classes are: 'camvid', 'cityscapes', 'vspw', or the `classes.yaml` of
                own footage. Sources with other classes are mapped to these where they agree.
            hold_out_share: Part of the first source that is kept for validation, in [0, 1); not
                used where `validation` is given.
            validation_age: Frames between keyframe and labelled frame in validation.
            validation_height: Validation images are shrunk to this height; None: not at all.
            validation_every: Take every n-th validation frame only.
            batch_size: Pairs per batch, over all processes.
            pairs_per_epoch: Pairs between two validations and two checkpoints.
            num_workers: Processes that make pairs; 0: the training process itself.
            gaps: How far apart the frames of a pair are; None: `AgeMatchedGaps()`.
            augmentation: What is done to every pair; None: `RoadSceneAugmentation()`.
            cache_dir: Where rendered drives and the frames of bags are kept.
            check: Decode every file before the training starts and list all problems at once.
            seed: The same one gives the same pairs.
        """
        super().__init__()
        self.save_hyperparameters('batch_size', 'pairs_per_epoch', 'num_workers', 'seed')
        self.label_set = load_label_set(labels)
        self.train_options = train
        self.validation_options = validation
        self._hold_out_share = hold_out_share
        self._validation_age = validation_age
        self._validation_height = validation_height
        self._validation_every = validation_every
        self._gaps = gaps or AgeMatchedGaps()
        self._augmentation = augmentation or RoadSceneAugmentation()
        self._cache_dir = cache_dir
        self._check = check
        self._training: ClipPairDataset | None = None
        self._validation: FixedPairDataset | None = None

    def prepare_data(self) -> None:
        """Render drives and extract bags, in one process of several."""
        for options in self.train_options:
            if options.dataset == RENDERED:
                self._rendered(options)
            elif options.dataset == 'bag':
                self._find(options)

    def setup(self, stage: str) -> None:
        """Find, check and prepare everything, and render the drives.

        Raises:
            FileNotFoundError: If a dataset is not there.
            ValueError: If something is wrong with it; everything is listed.
        """
        if self._training is not None:
            return
        # Before any OpenCV call: a worker forked after its thread pool has started hangs.
        use_one_opencv_thread()
        found = [self._find(options) for options in self.train_options]
        held: Sequence[Clip] = ()
        kept_options = self.train_options[0] if self.train_options else None
        if self.validation_options is not None:
            kept_options = self.validation_options
            held = self._find(self.validation_options)
        elif found and self._hold_out_share > 0:
            found[0], held = hold_out(found[0], self._hold_out_share)
        if self._check:
            check_clips([clip for clips in (*found, held) for clip in clips])
        sources = [
            (self._source(options, clips), options.share)
            for options, clips in zip(self.train_options, found, strict=True)
        ]
        self._training = ClipPairDataset(sources, self._augmentation, int(self.hparams['seed']))
        if held and kept_options is not None:
            source = self._source(kept_options, held)
            self._validation = FixedPairDataset(
                source, self._validation_age, self._validation_height
            )

    def train_dataloader(self) -> DataLoader[ClipPair]:
        """Augmented pairs; which ones follows from `seed` and the steps made so far."""
        assert self._training is not None
        values = self.hparams
        rank, world_size = self._process()
        sampler = RunningSampler(
            values['pairs_per_epoch'], values['batch_size'], self._pairs_so_far, rank, world_size
        )
        return DataLoader(
            self._training,
            batch_size=values['batch_size'] // world_size,
            sampler=sampler,
            num_workers=values['num_workers'],
            worker_init_fn=use_one_opencv_thread,
            persistent_workers=values['num_workers'] > 0,
            prefetch_factor=4 if values['num_workers'] > 0 else None,
            drop_last=True,
        )

    def val_dataloader(self) -> DataLoader[ClipPair] | list[DataLoader[ClipPair]]:
        """Whole frames, each with one fixed reference; every process has its part of them."""
        if self._validation is None:
            return []
        rank, world_size = self._process()
        chosen = range(0, len(self._validation), self._validation_every)
        return DataLoader(Subset(self._validation, list(chosen)[rank::world_size]), batch_size=1)

    def describe(self) -> str:
        """What the training data are, for the record in the checkpoint."""
        parts = [f'{o.dataset} {o.split} ({o.share:g})' for o in self.train_options]
        return f'{", ".join(parts)}; classes of {self.label_set.name}'

    def _find(self, options: SourceOptions) -> list[Clip]:
        if options.root is None:
            return []
        clips = find_clips(options.dataset, options.root, options.split, cache_dir=self._cache_dir)
        return [replace(clip, labels=self._mapped(clip.labels)) for clip in clips]

    def _mapped(self, own: LabelSet) -> LabelSet:
        target = self.label_set
        return own if own.class_names == target.class_names else mapped(own, target)

    def _source(self, options: SourceOptions, clips: Sequence[Clip]) -> PairSource:
        if options.dataset == RENDERED:
            return DrivePairs(*self._rendered(options), self._gaps)
        motion = options.motion
        if motion == 'auto':
            motion = {'camvid': 'street', 'stills': 'layers'}.get(options.dataset, 'video')
        if motion == 'video':
            return VideoPairs(clips, self._gaps, options.in_memory)
        if motion == 'layers':
            return LayeredPairs(clips, self._gaps)
        if self.label_set.class_names != CAMVID_NAMES:
            msg = "'layers' or 'video' for classes other than CamVid's"
            raise ValueError(f"`motion` must be {msg}, got 'street' for {self.label_set.name}")
        frames = [read_frame(frame, clip.labels) for clip in clips for frame in clip.frames]
        labelled = [(image, label) for image, label in frames if label is not None]
        return RoadScenePairs(labelled, self._gaps, options.paste_share)

    def _rendered(self, options: SourceOptions) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        return rendered_drives(
            self._cache_dir, options.num_drives, options.frames_per_drive, *options.size
        )

    def _process(self) -> tuple[int, int]:
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)

    def _pairs_so_far(self) -> int:
        trainer = self.trainer
        if trainer is None:
            return 0
        batches = trainer.global_step * trainer.accumulate_grad_batches
        return batches * int(self.hparams['batch_size'])
