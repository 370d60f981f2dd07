"""`CamVidPairs`: loaders of CamVid stills in synthetic motion and of synthetic drives."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from dcfm_ros.training.augment import Augmentation
from dcfm_ros.training.camvid_stills import find_camvid, hold_out, load_frames
from dcfm_ros.training.clip_pairs import (
    AgeDistribution,
    ClipPair,
    ClipPairDataset,
    DriveSource,
    FixedPairDataset,
    PairSource,
    RunningSampler,
    StillSource,
    use_one_opencv_thread,
)
from dcfm_ros.training.drive_cache import rendered_drives


class CamVidPairs(LightningDataModule):
    """Training pairs from CamVid's training split and from drives; validation on a held-out part.

    CamVid's own validation split is never touched: it is what `evaluate` measures on.
    """

    def __init__(
        self,
        root: Path,
        batch_size: int = 8,
        pairs_per_epoch: int = 2000,
        num_workers: int = 1,
        hold_out_share: float = 0.1,
        drive_share: float = 0.2,
        num_drives: int = 40,
        frames_per_drive: int = 12,
        cache_dir: Path = Path('out/cache'),
        keyframe_intervals: tuple[int, ...] = (2, 4, 8),
        future_share: float = 0.15,
        paste_share: float = 0.3,
        validation_age: int = 4,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        """Describe the data; nothing is read before `setup`.

        Args:
            root: CamVid in the 480x360 layout (see `datasets.find_camvid`).
            batch_size: Pairs per step.
            pairs_per_epoch: Pairs between two validations and two checkpoints.
            num_workers: Processes that make pairs; 0: the training process itself.
            hold_out_share: Last part of every training drive, kept for validation, in [0, 1).
            drive_share: Share of pairs from synthetic drives, in [0, 1]; 0: none are rendered.
            num_drives: Synthetic drives to render.
            frames_per_drive: Frames of each, at 15 Hz.
            cache_dir: Where rendered drives are kept.
            keyframe_intervals: Schedules to prepare for (see `clip_pairs.AgeDistribution`).
            future_share: Share of pairs with the reference after the labelled frame.
            paste_share: Share of stills that get extra objects.
            validation_age: Frames between keyframe and labelled frame in validation.
            augmentation: How strongly pairs are varied; None: the defaults.
            seed: The same one gives the same pairs.
        """
        super().__init__()
        self.save_hyperparameters(ignore=['augmentation'])
        self._augmentation = augmentation or Augmentation()
        self._training: ClipPairDataset | None = None
        self._validation: FixedPairDataset | None = None

    def setup(self, stage: str) -> None:
        """Find, decode and check everything, and render the drives.

        Raises:
            FileNotFoundError: If the data set is not there.
            ValueError: If something is wrong with it; everything is listed.
        """
        if self._training is not None:
            return
        values = self.hparams
        # Before any OpenCV call: a worker forked after its thread pool has started hangs.
        use_one_opencv_thread()
        ages = AgeDistribution(values['keyframe_intervals'], values['future_share'])
        training, validation = hold_out(
            find_camvid(values['root'], 'train'), values['hold_out_share']
        )
        frames = load_frames(training)
        stills = StillSource(frames, ages, values['paste_share'])
        sources: list[tuple[PairSource, float]] = [(stills, 1 - values['drive_share'])]
        if values['drive_share'] > 0:
            height, width = frames[0][1].shape
            drives = rendered_drives(
                values['cache_dir'],
                values['num_drives'],
                values['frames_per_drive'],
                height,
                width,
            )
            sources.append((DriveSource(*drives, ages), values['drive_share']))
        self._training = ClipPairDataset(sources, self._augmentation, values['seed'])
        self._validation = FixedPairDataset(load_frames(validation), values['validation_age'])

    def train_dataloader(self) -> DataLoader[ClipPair]:
        """Augmented pairs; which ones follows from `seed` and the steps made so far."""
        assert self._training is not None
        values = self.hparams
        return DataLoader(
            self._training,
            batch_size=values['batch_size'],
            sampler=RunningSampler(values['pairs_per_epoch'], self._pairs_so_far),
            num_workers=values['num_workers'],
            worker_init_fn=use_one_opencv_thread,
            persistent_workers=values['num_workers'] > 0,
            prefetch_factor=4 if values['num_workers'] > 0 else None,
            drop_last=True,
        )

    def val_dataloader(self) -> DataLoader[ClipPair] | list[DataLoader[ClipPair]]:
        """Whole frames of the held-out part, each with one fixed reference."""
        assert self._validation is not None
        if not len(self._validation):
            return []
        return DataLoader(self._validation, batch_size=1)

    def _pairs_so_far(self) -> int:
        trainer = self.trainer
        if trainer is None:
            return 0
        batches = trainer.global_step * trainer.accumulate_grad_batches
        return batches * int(self.hparams['batch_size'])
