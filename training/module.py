"""`SymmetricTraining`: the network, its loss and its learning rate, for Lightning to drive.

Shapes: B batch, K classes, H W image.
"""

from __future__ import annotations

from collections.abc import Sequence
import math
import os

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from timm.layers import convert_sync_batchnorm
import torch
from torch import Tensor

from dcfm_ros.images.preprocess import nearest_multiple
from dcfm_ros.training.ablated_network import AblatedConfig, build_network
from dcfm_ros.training.initial_config import completed
from dcfm_ros.training.initial_weights import load_initial_weights
from dcfm_ros.training.losses import LossOptions, SymmetricLoss, keyframe_loss, symmetric_loss
from dcfm_ros.training.metrics import ConfusionMatrix
from dcfm_ros.training.optimisation import Optimisation
from dcfm_ros.training.pair_motion import PairMotion
from dcfm_ros.training.pair_network import as_pair_network, resized
from dcfm_ros.training.pairs.pair_dataset import TrainingPair
from dcfm_ros.training.segmentation_losses import ClassWeighting
from dcfm_ros.training.trainer_options import check_trainer, number_of_steps


class SymmetricTraining(LightningModule):
    """Symmetric training of one network (paper III-B, III-C), a DCFM or one of another library.

    Logs the terms of the loss, and on the validation pairs `val_miou_key` (every frame its own
    keyframe), `val_miou_nonkey` (the reference frame as keyframe) and their mean, `val_miou`.
    """

    def __init__(
        self,
        net: AblatedConfig,
        loss: LossOptions | None = None,
        optimisation: Optimisation | None = None,
        initial_weights: str | None = None,
        class_weights: Sequence[float] | None = None,
        sync_batch_norm: bool = True,
        channels_last: bool = True,
    ) -> None:
        """Build the network; all arguments are also the keys of the yaml's `model` section.

        Args:
            net: The architecture; its classes are those of the data. What it leaves open is that
                of the initial weights (see `initial_config.completed`).
            loss: Weights and kinds of the terms; None: the defaults.
            optimisation: Optimiser and learning rates; None: the defaults.
            initial_weights: Where the training starts: None (random), 'timm:<tag>',
                'package:<name>' or a file (see `initial_weights.load_initial_weights`).
            class_weights: One weight per class of the cross-entropies; None: all 1.
            sync_batch_norm: Batch statistics over all processes of a training on several GPUs; on
                CPUs every process has its own.
            channels_last: Memory layout of the images; faster for convolutions on CPU.

        Raises:
            FileNotFoundError: If there is no such file of initial weights.
            ValueError: If a value is not allowed, or the initial weights do not fit.
        """
        super().__init__()
        self.net = build_network(completed(net, initial_weights))
        self.start = load_initial_weights(self.net, initial_weights)
        """Where the training started, in words."""
        rank_zero_info(f'initial weights: {self.start}')
        config = self.net.config
        mean, std = config.image_mean, config.image_std
        normalised = f'images normalised by mean {mean}, std {std}'
        rank_zero_info(f'network: {config.title}, {normalised}, motion {config.motion}')
        if channels_last:
            self.net = self.net.to(memory_format=torch.channels_last)
        self._class_weights = class_weights
        self.class_sets: Sequence[Sequence[int]] = ()
        """Sets of classes that the labels of the data may hold, see `PairData.class_sets`."""
        self._weighting = ClassWeighting.of(net.num_classes, class_weights)
        self.loss_options = loss or LossOptions()
        self.optimisation = optimisation or Optimisation()
        self._sync_batch_norm = sync_batch_norm
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self._confusion = _new_confusion(net.num_classes)

    def setup(self, stage: str) -> None:
        """Learn the sets of classes in the labels, and synchronise the batch norms of processes.

        The latter works on CUDA only.

        Raises:
            ValueError: If the Trainer has an option that does not fit.
        """
        if stage == 'fit':
            check_trainer(self.trainer)
        data = getattr(self.trainer, 'datamodule', None)
        num_classes, self.class_sets = self.net.config.num_classes, getattr(data, 'class_sets', ())
        self._weighting = ClassWeighting.of(num_classes, self._class_weights, self.class_sets)
        if not self._sync_batch_norm or self.trainer.world_size == 1:
            return
        if self.trainer.strategy.root_device.type == 'cuda':
            self.net = convert_sync_batchnorm(self.net)
        else:
            rank_zero_warn('every process uses batch statistics of its own: only CUDA shares them')

    def on_train_batch_start(self, batch: TrainingPair, batch_index: int) -> None:
        """Give every batch its own dropout, the same in a resumed training as without a break."""
        seed = int(os.environ.get('PL_GLOBAL_SEED', 0))
        number = (self.global_step * 1_000_003 + batch_index) * 1_009 + self.global_rank
        torch.manual_seed((seed * 1_000_000_007 + number) % 2**63)
        # Of the steps that loggers see, Lightning counts one too many at every resumption.
        self.trainer.fit_loop.epoch_loop._batches_that_stepped = self.trainer.global_step

    def training_step(self, batch: TrainingPair, _batch_index: int) -> Tensor:
        """The loss of one batch of pairs, logged; the reference is used where a term needs it."""
        if self.loss_options.needs_reference:
            loss = self.loss(batch)
            total = loss.total
            terms = {name: getattr(loss, name).detach() for name in _LOGGED_TERMS}
            self.log_dict({f'train/{name}': value for name, value in terms.items()})
        else:
            labelled = self.to_input(batch.labelled)
            rest = (batch.label.long(), self.loss_options, self._weighting.like(labelled))
            total = keyframe_loss(self.net, labelled, *rest)
        self.log('loss', total.detach(), prog_bar=True)
        groups = self.optimizers().param_groups  # type: ignore[union-attr]
        self.log_dict({'lr': groups[0]['lr'], 'decoder_lr': groups[-1]['lr']})
        return total

    def loss(self, batch: TrainingPair) -> SymmetricLoss:
        """The symmetric loss of one batch of pairs, with its terms."""
        reference = self.to_input(batch.reference)
        return symmetric_loss(
            self.net,
            reference,
            self.to_input(batch.labelled),
            batch.label.long(),
            self.loss_options,
            self._weighting.like(reference),
            self._motion(batch),
        )

    def on_validation_epoch_start(self) -> None:
        """Forget the counts of the last validation."""
        self._confusion = _new_confusion(self.net.config.num_classes)

    def validation_step(self, batch: TrainingPair, _batch_index: int) -> None:
        """Count the labelled frames, once as keyframes and once as non-key frames."""
        label = batch.label.cpu().numpy()
        for role, logits in self.predict_pair(batch).items():
            prediction = logits.argmax(dim=1).cpu().numpy()
            for one_prediction, one_label in zip(prediction, label, strict=True):
                self._confusion[role].update(one_prediction, one_label)

    def predict_pair(self, batch: TrainingPair) -> dict[str, Tensor]:
        """Logits of the labelled frames at the labels' size: as 'key' and as 'nonkey' frames."""
        net = as_pair_network(self.net)
        size = (batch.label.shape[-2], batch.label.shape[-1])
        independent = net.encode(self.to_input(batch.labelled))
        reference = net.deep(net.encode(self.to_input(batch.reference)))
        if motion := self._motion(batch):
            reference = tuple(map(motion.align, reference))
        fused = {
            'key': net.fuse(net.deep(independent), independent, is_keyframe=True),
            'nonkey': net.fuse(reference, independent, is_keyframe=False),
        }
        return {role: net.decode(one, size) for role, one in fused.items()}

    def on_validation_epoch_end(self) -> None:
        """Log the mIoU of both roles, over all processes, and their mean, unless undefined."""
        miou = {}
        for role, confusion in self._confusion.items():
            counts = torch.from_numpy(confusion.counts).to(self.device)
            confusion.counts[:] = self.trainer.strategy.reduce(counts, reduce_op='sum').cpu()
            miou[role] = confusion.miou()
        if any(map(math.isnan, miou.values())):
            what = 'nothing to validate on has a labelled pixel of one class'
            rank_zero_warn(f'{what}: val_miou is undefined')
            return
        self.log_dict({f'val_miou_{role}': value for role, value in miou.items()}, prog_bar=True)
        self.log('val_miou', (miou['key'] + miou['nonkey']) / 2)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimiser and schedule, stepped once per optimiser step.

        Raises:
            ValueError: If the training has no number of steps.
        """
        optimizer, schedule = self.optimisation.build(self.net, number_of_steps(self.trainer))
        return {
            'optimizer': optimizer,
            'lr_scheduler': {'scheduler': schedule, 'interval': 'step'},
        }

    def to_input(self, image: Tensor) -> Tensor:
        """Images as the data give them, uint8, to what the network takes, float in [0, 1].

        They are resized where the network demands multiples of a size, as by the engine.
        """
        dtype = next(self.net.parameters()).dtype
        image = image.to(dtype).div_(255)
        multiple = self.net.config.size_multiple
        height, width = (nearest_multiple(length, multiple) for length in image.shape[-2:])
        if (height, width) != image.shape[-2:]:
            image = resized(image, (height, width))
        return image.contiguous(memory_format=self._layout)

    def _motion(self, batch: TrainingPair) -> PairMotion | None:
        """What the engine does about motion, for pairs."""
        if self.net.config.motion == 'none':
            return None
        return PairMotion(batch.reference, batch.labelled)


_LOGGED_TERMS = ('keyframe', 'nonkey', 'consistency', 'agreement')


def _new_confusion(num_classes: int) -> dict[str, ConfusionMatrix]:
    return {name: ConfusionMatrix(num_classes) for name in ('key', 'nonkey')}
