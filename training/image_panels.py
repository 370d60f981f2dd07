"""`ImagePanels`: what the network makes of a few validation pairs, as pictures in TensorBoard."""

from __future__ import annotations

import cv2
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_warn
import numpy as np
from numpy.typing import NDArray
import torch

from dcfm_ros.masks.overlay import colorize, with_mixtures
from dcfm_ros.training.module import SymmetricTraining
from dcfm_ros.training.pairs.pair_dataset import TrainingPair

Image = NDArray[np.uint8]


class ImagePanels(Callback):
    """Adds one panel per pair: reference, labelled frame, label, key and non-key prediction.

    The panels are named 'validation/0', 'validation/1', ... and show the same pairs every time.
    Without a TensorBoard logger there are none, and a warning says so.
    """

    def __init__(self, num_images: int = 4) -> None:
        """Show the first `num_images` pairs of the validation data.

        Raises:
            ValueError: If there is none.
        """
        if num_images < 1:
            raise ValueError(f'`num_images` must be at least 1, got {num_images}')
        self.num_images = num_images
        self._shown = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn if no logger can show the panels."""
        if not _tensorboards(trainer):
            rank_zero_warn(
                'no image panels are written: `trainer.logger` is not a TensorBoardLogger'
            )

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew with the first pair."""
        self._shown = 0

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: TrainingPair,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the pairs of a batch that are still to be shown."""
        loggers = _tensorboards(trainer)
        missing = self.num_images - self._shown
        if trainer.sanity_checking or not trainer.is_global_zero or not loggers or missing <= 0:
            return
        assert isinstance(pl_module, SymmetricTraining)
        for panel in draw_panels(pl_module, TrainingPair(*(part[:missing] for part in batch))):
            for logger in loggers:
                logger.experiment.add_image(
                    f'validation/{self._shown}', panel, trainer.global_step, dataformats='HWC'
                )
            self._shown += 1


@torch.no_grad()
def draw_panels(module: SymmetricTraining, batch: TrainingPair) -> list[Image]:
    """Side by side, one image per pair of a batch.

    Returns:
        RGB, (H, 5W, 3) each, of the label's size: reference frame, labelled frame, its label, its
        prediction as a keyframe and as a non-key frame of the reference; black where there is no
        label, mixed colours where it is a set of classes.
    """
    logits = module.predict_pair(batch)
    masks = [logits[role].argmax(dim=1).to(torch.uint8) for role in ('key', 'nonkey')]
    palette = with_mixtures(module.net.palette, module.class_sets)
    panels = []
    for reference, labelled, *classes in zip(*batch, *masks, strict=True):
        colours = [colorize(mask.cpu().numpy(), palette) for mask in classes]
        height, width = colours[0].shape[:2]
        frames = [image.permute(1, 2, 0).cpu().numpy() for image in (reference, labelled)]
        columns = [cv2.resize(frame, (width, height)) for frame in frames] + colours
        panels.append(np.concatenate(columns, axis=1))
    return panels


def _tensorboards(trainer: Trainer) -> list[TensorBoardLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
