"""`SymmetricTraining`: the network, its loss and its learning rate, for Lightning to drive.

Shapes: B batch, K classes, H W image.
"""

from __future__ import annotations

import os
from pathlib import Path

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
import torch
from torch import Tensor

from dcfm_ros.models.checkpoint import load_checkpoint
from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.models.labels import CAMVID_NAMES, CAMVID_PALETTE
from dcfm_ros.training.clip_pairs import ClipPair
from dcfm_ros.training.losses import LossOptions, SymmetricLoss, symmetric_loss
from dcfm_ros.training.metrics import ConfusionMatrix
from dcfm_ros.training.schedule import poly_with_warmup


class SymmetricTraining(LightningModule):
    """Symmetric training of one DCFM network with AdamW and the poly schedule.

    Logs the terms of the loss, and on the validation pairs `val_miou_key` (every frame its own
    keyframe), `val_miou_nonkey` (the reference frame as keyframe) and their mean, `val_miou`.
    """

    def __init__(
        self,
        backbone: str = 'timm:mobilenetv4_conv_small',
        head: str = 'linear',
        fuse_channels: int = 128,
        dropout: float = 0.1,
        drop_path: float = 0.1,
        initial_checkpoint: Path | None = None,
        keyframe_weight: float = 1.0,
        nonkey_weight: float = 0.4,
        consistency_weight: float = 10.0,
        class_weights: list[float] | None = None,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        warmup_steps: int = 200,
        power: float = 0.9,
        min_lr: float = 0.0,
        channels_last: bool = True,
    ) -> None:
        """Build the network; all arguments are also the keys of the yaml's `model` section.

        Args:
            backbone: As in `DCFMConfig`: 'mit_b0', 'resnet18', 'timm:<name>', ...
            head: 'linear', 'mlp' or 'conv'.
            fuse_channels: Width of the all-MLP fuse, which is that of the common feature.
            dropout: Before the classifier and in the all-MLP fuse.
            drop_path: Stochastic depth of a MiT.
            initial_checkpoint: Network file to start from; it must have the same configuration.
                None: random weights.
            keyframe_weight: Weight of L_I.
            nonkey_weight: Weight of L_B (lambda 1).
            consistency_weight: Weight of L_con (lambda 2).
            class_weights: One weight per class of the cross-entropies; None: all 1.
            lr: Learning rate at the end of the warm-up.
            weight_decay: Of AdamW.
            warmup_steps: Optimiser steps of linear rise; cut to a tenth of a shorter training.
            power: Exponent of the poly decay.
            min_lr: Learning rate at the end.
            channels_last: Memory layout of the images; faster for convolutions on CPU.

        Raises:
            ValueError: If a value is not allowed, or `initial_checkpoint` is another network's.
        """
        super().__init__()
        self.save_hyperparameters()
        config = DCFMConfig(
            backbone=backbone,
            num_classes=len(CAMVID_NAMES),
            head=head,
            fuse_channels=fuse_channels,
            dropout=dropout,
            drop_path=drop_path,
            class_names=CAMVID_NAMES,
            palette=CAMVID_PALETTE,
        )
        self.net = DCFM(config)
        if initial_checkpoint is not None:
            _start_from(self.net, initial_checkpoint)
        if channels_last:
            self.net = self.net.to(memory_format=torch.channels_last)
        if class_weights is not None and len(class_weights) != config.num_classes:
            msg = f'one weight per class ({config.num_classes}), got {len(class_weights)}'
            raise ValueError(f'`class_weights` must be {msg}')
        self.class_weights = None if class_weights is None else torch.tensor(class_weights)
        self.loss_weights = LossOptions(
            keyframe=keyframe_weight, nonkey=nonkey_weight, consistency=consistency_weight
        )
        self._confusion = _new_confusion(config.num_classes)

    def on_train_batch_start(self, batch: ClipPair, batch_index: int) -> None:
        """Give every batch its own dropout, the same in a resumed training as without a break."""
        seed = int(os.environ.get('PL_GLOBAL_SEED', 0))
        number = (self.global_step * 1_000_003 + batch_index) * 1_009 + self.global_rank
        torch.manual_seed((seed * 1_000_000_007 + number) % 2**63)

    def training_step(self, batch: ClipPair, _batch_index: int) -> Tensor:
        """The symmetric loss of one batch of pairs, logged."""
        loss = self.loss(batch)
        self.log('loss', loss.total.detach(), prog_bar=True)
        terms = {name: getattr(loss, name).detach() for name in _LOGGED_TERMS}
        self.log_dict({f'train/{name}': value for name, value in terms.items()})
        self.log('lr', self.optimizers().param_groups[0]['lr'])  # type: ignore[union-attr]
        return loss.total

    def loss(self, batch: ClipPair) -> SymmetricLoss:
        """The symmetric loss of one batch of pairs, with its terms."""
        weights = self.class_weights
        return symmetric_loss(
            self.net,
            self._to_input(batch.reference),
            self._to_input(batch.labelled),
            batch.label.long(),
            self.loss_weights,
            None if weights is None else weights.to(self.device),
        )

    def on_validation_epoch_start(self) -> None:
        """Forget the counts of the last validation."""
        self._confusion = _new_confusion(self.net.config.num_classes)

    def validation_step(self, batch: ClipPair, _batch_index: int) -> None:
        """Count the labelled frames, once as keyframes and once as non-key frames."""
        net = self.net
        size = (batch.label.shape[-2], batch.label.shape[-1])
        independent = net.encode_independent(self._to_input(batch.labelled))
        reference = net.encode_independent(self._to_input(batch.reference))
        fused = {
            'key': net.fuse(net.encode_common(independent), independent),
            'nonkey': net.fuse(net.encode_common(reference), independent, is_keyframe=False),
        }
        label = batch.label.cpu().numpy()
        for name, feature in fused.items():
            prediction = net.decode(feature, size).argmax(dim=1).cpu().numpy()
            for one_prediction, one_label in zip(prediction, label, strict=True):
                self._confusion[name].update(one_prediction, one_label)

    def on_validation_epoch_end(self) -> None:
        """Log the mIoU of both roles and their mean."""
        miou = {name: confusion.miou() for name, confusion in self._confusion.items()}
        self.log_dict({f'val_miou_{name}': value for name, value in miou.items()}, prog_bar=True)
        self.log('val_miou', (miou['key'] + miou['nonkey']) / 2)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, and the poly schedule stepped once per optimiser step."""
        values = self.hparams
        decayed = [p for p in self.parameters() if p.ndim > 1]
        others = [p for p in self.parameters() if p.ndim <= 1]
        groups = [
            {'params': decayed, 'weight_decay': values['weight_decay']},
            {'params': others, 'weight_decay': 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=values['lr'])
        total_steps = max(int(self.trainer.estimated_stepping_batches), 1)
        warmup_steps = min(values['warmup_steps'], total_steps // 10)

        def factor(step: int) -> float:
            lr = poly_with_warmup(
                step,
                base_lr=values['lr'],
                total_steps=total_steps,
                warmup_steps=warmup_steps,
                power=values['power'],
                min_lr=values['min_lr'],
            )
            return lr / float(values['lr'])

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {
            'optimizer': optimizer,
            'lr_scheduler': {'scheduler': schedule, 'interval': 'step'},
        }

    def _to_input(self, image: Tensor) -> Tensor:
        layout = torch.channels_last if self.hparams['channels_last'] else torch.contiguous_format
        return image.float().div_(255).contiguous(memory_format=layout)


_LOGGED_TERMS = ('keyframe', 'nonkey', 'consistency', 'agreement')


def _new_confusion(num_classes: int) -> dict[str, ConfusionMatrix]:
    return {name: ConfusionMatrix(num_classes) for name in ('key', 'nonkey')}


def _start_from(net: DCFM, path: Path) -> None:
    initial = load_checkpoint(path)
    if initial.config != net.config:
        ours, theirs = net.config.to_dict(), initial.config.to_dict()
        differing = [f'{k}: {theirs[k]!r}, not {ours[k]!r}' for k in ours if ours[k] != theirs[k]]
        raise ValueError(f'`initial_checkpoint` must fit the model, {path} has {differing}')
    net.load_state_dict(initial.state_dict())
