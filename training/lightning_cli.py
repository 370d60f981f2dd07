"""Lightning's command line for this package: its module, its data and the export of networks."""

from __future__ import annotations

from argparse import ArgumentError
import copy
from dataclasses import asdict
from datetime import datetime, timezone
import math
import os
from pathlib import Path
import platform
import re
import shlex
import sys
import time
from typing import Any
import warnings

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins import TorchCheckpointIO
import torch

from dcfm_ros.files import new_file
from dcfm_ros.models.checkpoint import save_checkpoint
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.models.staged import StagedNetwork
from dcfm_ros.training.data import PairData
from dcfm_ros.training.footage.class_files import load_label_set
from dcfm_ros.training.module import SymmetricTraining


class WeightAverage(EMAWeightAveraging):
    """Lightning's average of the weights, which until its start is the weights themselves."""

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Follow the weights; Lightning's own would hold those of before the training."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if trainer.global_step <= (self.update_starting_at_step or 0):
            assert self._average_model is not None
            self._average_model.module.load_state_dict(pl_module.state_dict())


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes the state of a training beside its target first: a file that is there is whole."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a file that is either the old one or the whole new one."""
        # Lightning's own goes through TMPDIR, and from another disk it is copied onto the target.
        with new_file(Path(path)) as part:
            torch.save(checkpoint, part)


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
        self._save('last', trainer, pl_module, pl_module.net)

    def _save(
        self, name: str, trainer: Trainer, pl_module: LightningModule, net: DCFM | StagedNetwork
    ) -> None:
        if not trainer.is_global_zero:
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
            'image_height': self.image_height,
            'metrics': metrics,
            'loss': asdict(pl_module.loss_options),
            'optimisation': asdict(pl_module.optimisation),
        }
        save_checkpoint(self.folder / f'{name}.safetensors', net, training=record)

    def _hours_now(self) -> float:
        return self.hours + (time.monotonic() - self._resumed_at) / 3600


class TrainingCLI(LightningCLI):
    """Lightning's command line with this package's module, data and export."""

    def __init__(self, arguments: list[str] | None = None, run: bool = True) -> None:
        """Parse the command line and do what it says.

        Args:
            arguments: Instead of `sys.argv`.
            run: Do it; False: the arguments have no verb, and only the parts are built.
        """
        super().__init__(
            SymmetricTraining,
            PairData,
            args=arguments,
            run=run,
            seed_everything_default=1,
            save_config_kwargs={'overwrite': True},
            # The data share themselves out; Lightning's sampler would pad and shuffle.
            trainer_defaults={'use_distributed_sampler': False},
            parser_kwargs={'parser_mode': 'yaml', 'exit_on_error': False},
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Give the network the data's classes, averaging and export sections of their own."""
        parser.add_lightning_class_args(WeightAverage, 'average')
        parser.add_lightning_class_args(ExportNetwork, 'export')
        for field in ('num_classes', 'class_names', 'palette'):
            parser.link_arguments(
                'data.labels',
                f'model.net.{field}',
                lambda labels, field=field: getattr(load_label_set(labels), field),
            )

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Put state and curves beside the exported networks, where nothing else is said."""
        folder = self._get(self.config_init, 'export').folder
        given = self._get(self.config_init, 'trainer')
        callbacks = _as_list(given.callbacks)
        has_state = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
        if not has_state and given.enable_checkpointing is not False:
            callbacks.append(ModelCheckpoint(folder, 'last', enable_version_counter=False))
        return super().instantiate_trainer(
            default_root_dir=given.default_root_dir or folder,
            logger=TensorBoardLogger(folder, 'log') if given.logger is None else given.logger,
            callbacks=callbacks,
            plugins=[*_as_list(given.plugins), WholeCheckpointIO()],
            **kwargs,
        )


def run(arguments: list[str] | None = None) -> None:
    """Parse the command line and do what it says; see `train.main`."""
    # `dcfm train` takes its own verb off; processes that Lightning starts need it in sys.argv.
    warnings.filterwarnings('ignore', "LightningCLI's args parameter")
    try:
        TrainingCLI(arguments)
    except ArgumentError as error:
        # What is wrong with the classes comes wrapped in the name of the link that reads them.
        message = re.sub(r'(?s).*Call to compute_fn of link .*\) failed: ', '', str(error))
        raise SystemExit(f'dcfm train: {message}') from None


def _as_list(value: Any) -> list[Any]:
    """None, one or several, as the Trainer takes them."""
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def _command() -> str:
    """The command line of this training; that of `dcfm train` has one word more."""
    arguments = sys.argv[2:] if sys.argv[1:2] == ['train'] else sys.argv[1:]
    return shlex.join(['python', '-m', 'dcfm_ros.training.train', *arguments])


def _hardware(device: torch.device) -> str:
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    return f'{platform.machine()} CPU, {torch.get_num_threads()} threads'
