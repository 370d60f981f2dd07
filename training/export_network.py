"""`ExportNetwork`: writes what a training makes as the robot loads it."""

from __future__ import annotations

import copy
from dataclasses import asdict
from datetime import datetime, timezone
import math
import os
from pathlib import Path
import platform
import shlex
import sys
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.utilities import rank_zero_info
from safetensors import SafetensorError
from safetensors.torch import load_file
import torch

from dcfm_ros.models.checkpoint import save_checkpoint
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.models.staged import StagedNetwork
from dcfm_ros.training.module import SymmetricTraining


class ExportNetwork(Callback):
    """Writes the network as the robot loads it, with a record of its training."""

    def __init__(self, folder: Path = Path('out/train'), image_height: int = 360) -> None:
        """Choose where.

        Args:
            folder: Gets best.safetensors and last.safetensors, and with them all else that a
                training writes that has no folder of its own; created if absent.
            image_height: Height of the training images, pixels; the node shrinks larger ones.
        """
        self.folder = Path(folder)
        self.image_height = image_height
        self.best = -math.inf
        self.hours = 0.0
        self._resumed_at = time.monotonic()
        self._validated: DCFM | StagedNetwork | None = None
        self._validated_at = -1
        self._has_ended = False

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training must know: the best value so far and the hours spent."""
        return {'best': self.best, 'hours': self._hours_now()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting from a resumed training."""
        self.best, self.hours = state_dict['best'], state_dict['hours']

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resumed_at = time.monotonic()
        self._has_ended = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the best network of another training: it is not this one's."""
        path = self.folder / 'best.safetensors'
        is_new = trainer.ckpt_path is None and not trainer.fast_dev_run  # type: ignore[attr-defined]
        if is_new and trainer.is_global_zero and path.exists():
            path.unlink()
            rank_zero_info(f'removed {path}, which is of another training')

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep what is being validated: weight averaging takes its average back before the end."""
        assert isinstance(pl_module, SymmetricTraining)
        self._validated = copy.deepcopy(pl_module.net)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the network if it is the best so far."""
        self._validated_at = trainer.global_step
        value = float(trainer.callback_metrics.get('val_miou', math.nan))
        if trainer.state.fn != 'fit' or trainer.sanity_checking or not value > self.best:
            return
        self.best = value
        assert self._validated is not None
        self._save('best', trainer, pl_module, self._validated)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the last network; with weight averaging, that is the average."""
        assert isinstance(pl_module, SymmetricTraining)
        self._has_ended = True
        self._save('last', trainer, pl_module, pl_module.net)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the last network where it is missing though the training was complete before.

        Lightning does nothing in a training that is resumed at its end, not even end it.
        """
        if self._has_ended or not trainer.global_step:
            return
        assert isinstance(pl_module, SymmetricTraining)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, WeightAveraging):
                callback.on_train_end(trainer, pl_module)
        path = self.folder / 'last.safetensors'
        if not _holds(path, pl_module.net):
            rank_zero_info(f'the training was complete but for {path}, which is written now')
            self._save('last', trainer, pl_module, pl_module.net)

    def _save(
        self, name: str, trainer: Trainer, pl_module: LightningModule, net: DCFM | StagedNetwork
    ) -> None:
        # A trial run must not replace what a training has left.
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        assert isinstance(pl_module, SymmetricTraining)
        is_validated = trainer.global_step == self._validated_at
        metrics = {
            key: float(value)
            for key, value in trainer.callback_metrics.items()
            if is_validated or not key.startswith('val_')
        }
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        record = {
            'dataset': data.describe(),
            'initial_weights': pl_module.start,
            'command': _command(),
            'steps': trainer.global_step,
            'hours': round(self._hours_now(), 3),
            'hardware': _hardware(pl_module.device),
            'torch': torch.__version__,
            'date': datetime.now(timezone.utc).date().isoformat(),
            'seed': int(os.environ.get('PL_GLOBAL_SEED', -1)),
            'data_seed': int(data.hparams['seed']),
            'image_height': self.image_height,
            'metrics': metrics,
            'loss': asdict(pl_module.loss_options),
            'optimisation': asdict(pl_module.optimisation),
        }
        save_checkpoint(self.folder / f'{name}.safetensors', net, training=record)

    def _hours_now(self) -> float:
        return self.hours + (time.monotonic() - self._resumed_at) / 3600


def _holds(path: Path, net: DCFM | StagedNetwork) -> bool:
    """Whether a file has the weights of a network."""
    try:
        stored = load_file(path)
    except (OSError, SafetensorError):
        return False
    own = net.state_dict()
    return stored.keys() == own.keys() and all(
        torch.equal(stored[key], value.cpu()) for key, value in own.items()
    )


def _command() -> str:
    """The command line of this training; that of `dcfm train` has one word more."""
    arguments = sys.argv[2:] if sys.argv[1:2] == ['train'] else sys.argv[1:]
    return shlex.join(['python', '-m', 'dcfm_ros.training.train', *arguments])


def _hardware(device: torch.device) -> str:
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    return f'{platform.machine()} CPU, {torch.get_num_threads()} threads'
