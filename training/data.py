"""`PairData`: training pairs from any mix of datasets, and the frames to validate on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader, Subset

from dcfm_ros.models.labels import UNLABELLED
from dcfm_ros.training.data_options import check_data_options
from dcfm_ros.training.footage.class_files import load_label_set
from dcfm_ros.training.footage.clips import Clip, hold_out, near_labels, raise_problems
from dcfm_ros.training.footage.frame_check import absent_classes, check_frames_once
from dcfm_ros.training.footage.label_sets import CAMVID
from dcfm_ros.training.pairs.augment import PairAugmentation, RoadSceneAugmentation
from dcfm_ros.training.pairs.class_balance import BalancedPairs
from dcfm_ros.training.pairs.gaps import AgeMatchedGaps, Gaps
from dcfm_ros.training.pairs.pair_dataset import (
    FixedPairDataset,
    PairDataset,
    RunningSampler,
    TrainingPair,
    use_one_opencv_thread,
)
from dcfm_ros.training.pairs.pair_mixing import PairMixing
from dcfm_ros.training.pairs.pair_sources import PairSource
from dcfm_ros.training.pairs.source_loading import (
    in_classes_of,
    load_drives,
    load_source,
    source_clips,
    with_all_sets,
)
from dcfm_ros.training.pairs.source_options import RENDERED, SourceOptions

_Found = tuple[SourceOptions, list[Clip]]


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
        mixing: PairMixing | None = None,
        cache_dir: Path = Path('out/cache'),
        check: bool = True,
        seed: int = 0,
    ) -> None:
        """Describe the data; nothing is read before `setup`.

        Args:
            train: Where the pairs come from.
            validation: Where the frames to validate on come from, not 'rendered'; None: the
                held-out part of the first training source.
            labels: What the classes are: 'camvid', 'cityscapes', 'vspw', or the `classes.yaml` of
                own footage. Sources with other classes are mapped to these where they agree.
            hold_out_share: Part of the first source that is kept for validation, in [0, 1); not
                used where `validation` is given.
            validation_age: Frames between keyframe and labelled frame in validation.
            validation_height: Validation images are shrunk to this height; None: not at all.
            validation_every: Take every n-th validation frame only, n at least 1.
            batch_size: Pairs per batch, over all processes.
            pairs_per_epoch: Pairs between two validations and two checkpoints.
            num_workers: Processes that make pairs; 0: the training process itself.
            gaps: How far apart the frames of a pair are; None: `AgeMatchedGaps()`.
            augmentation: What is done to every pair; None: `RoadSceneAugmentation()`.
            mixing: Which of the augmented pairs get part of another one; None: none.
            cache_dir: Where rendered drives, the frames of bags and which files are good are
                kept.
            check: Decode every frame that a pair can be made of before the training starts, once
                as long as the files stay as they are. Missing files are an error in any case.
            seed: At least 0; the same one gives the same pairs.

        Raises:
            ValueError: If there are no such classes, or an option does not fit.
        """
        super().__init__()
        check_data_options(
            train, validation, hold_out_share, validation_height, validation_every, seed
        )
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
        self._mixing = mixing
        self._cache_dir = cache_dir
        self._check = check
        self.class_sets: tuple[tuple[int, ...], ...] = ()
        """Sets of classes that labels may hold: id K + i means one of the classes `[i]`."""
        self._training: PairDataset | None = None
        self._validation: FixedPairDataset | None = None

    def prepare_data(self) -> None:
        """Check everything, extract bags and render drives, in one process of several.

        Raises:
            ValueError: If something is wrong with the data; all of it is listed.
        """
        # Before any OpenCV call: a worker forked after its thread pool has started hangs.
        use_one_opencv_thread()
        problems: list[str] = []
        training, held = self._split(problems)
        if self._check:
            self._check_frames('training', training, problems)
            self._check_frames('validation', [held] if held is not None else [], problems)
        raise_problems(problems)
        for options in self.train_options:
            if options.dataset == RENDERED:
                load_drives(options, self._cache_dir)

    def setup(self, stage: str) -> None:
        """Find the frames and make the sources of pairs.

        Raises:
            ValueError: If files are missing; all of them are listed.
        """
        if self._training is not None:
            return
        use_one_opencv_thread()
        problems: list[str] = []
        training, held = self._split(problems)
        raise_problems(problems)
        sources = [(self._source(options, clips), options.share) for options, clips in training]
        seed = int(self.hparams['seed'])
        self._training = PairDataset(sources, self._augmentation, seed, self._mixing)
        if held is not None and held[1]:
            source = self._source(replace(held[0], balance=0.0), held[1])
            self._validation = FixedPairDataset(
                source, self._validation_age, self._validation_height
            )
        elif held is not None:
            rank_zero_warn(f'{held[0]} has no frame to validate on: no best.safetensors')

    def train_dataloader(self) -> DataLoader[TrainingPair]:
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

    def val_dataloader(self) -> DataLoader[TrainingPair] | list[DataLoader[TrainingPair]]:
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

    def _split(self, problems: list[str]) -> tuple[list[_Found], _Found | None]:
        """Training sources with their clips, and what to validate on; adds to `problems`."""
        validated = self.validation_options
        sources = [*self.train_options, *filter(None, [validated])]
        found = with_all_sets(
            [source_clips(o, self.label_set, self._cache_dir, problems) for o in sources]
        )
        self.class_sets = next((clips[0].labels.sets for clips in found if clips), ())
        shares = [options.hold_out_share for options in self.train_options]
        if shares and validated is None:
            shares[0] = self._hold_out_share
        # Without a share the clips keep their order, on which the pairs of a seed depend.
        parts = [
            hold_out(clips, share) if share else (clips, [])
            for clips, share in zip(found, shares, strict=False)
        ]
        training = [(o, kept) for o, (kept, _) in zip(self.train_options, parts, strict=True)]
        if validated is not None:
            return training, (validated, found[-1])
        if not training or not self._hold_out_share:
            return training, None
        return training, (self.train_options[0], parts[0][1])

    def _check_frames(self, role: str, found: Sequence[_Found], problems: list[str]) -> None:
        """Decode what is used of some sources; warn of classes that do not occur in them."""
        used = [near_labels(clip, self._reach(o, clip)) for o, clips in found for clip in clips]
        checked = check_frames_once(used, self._cache_dir / 'checked')
        problems += checked.problems
        if problems or not used:
            return
        class_ids = set(checked.class_ids)
        if any(options.dataset == RENDERED for options, _ in found):
            class_ids.update(in_classes_of(self.label_set, CAMVID).to_class.tolist())
        absent = absent_classes(self.label_set.class_names, class_ids, role, self.class_sets)
        if absent and role == 'training' and not class_ids - {UNLABELLED}:
            problems.append(absent)
        elif absent:
            rank_zero_warn(absent)

    def _reach(self, options: SourceOptions, clip: Clip) -> int:
        """How far from a labelled frame its reference frame can lie."""
        if options.chosen_motion != 'video':
            return 0
        if options.in_memory:
            return len(clip.frames)
        return max(self._gaps.farthest(clip.rate_hz), self._validation_age)

    def _source(self, options: SourceOptions, clips: Sequence[Clip]) -> PairSource:
        source = load_source(options, clips, self._gaps, self.label_set, self._cache_dir)
        if not options.balance:
            return source
        return BalancedPairs(source, options.balance, self.label_set.num_classes)

    def _process(self) -> tuple[int, int]:
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)

    def _pairs_so_far(self) -> int:
        trainer = self.trainer
        if trainer is None or trainer.overfit_batches:  # type: ignore[attr-defined]
            return 0
        batches = trainer.global_step * trainer.accumulate_grad_batches
        return batches * int(self.hparams['batch_size'])
