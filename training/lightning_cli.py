"""Lightning's command line for this package: its module, its data and the export of networks."""

from __future__ import annotations

from argparse import ArgumentError
import os
from pathlib import Path
import re
from typing import Any
import warnings

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins import TorchCheckpointIO
import torch

from dcfm_ros.files import new_file
from dcfm_ros.training.data import PairData
from dcfm_ros.training.export_network import ExportNetwork
from dcfm_ros.training.footage.class_files import load_label_set
from dcfm_ros.training.module import SymmetricTraining


class WeightAverage(EMAWeightAveraging):
    """Lightning's average of the weights; until its first update it is the weights themselves."""

    _follows = True
    """False: an update has been seen; to ask the average after every batch would stall a GPU."""

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
        if not self._follows:
            return
        assert self._average_model is not None
        self._follows = int(self._average_model.n_averaged) == 0
        if self._follows:
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
