#!/usr/bin/env bash
# What happens: Lightning's ModelCheckpoint(every_n_train_steps=N) may save at the last batch of an epoch. A training
#   with max_epochs that goes on from such a state twice does more steps than it was asked for: 16 instead
#   of 12 in three epochs of four batches, and its loggers get steps twice.
# Why it matters: segmentation networks are trained for hours on machines that are taken away, and resumed again and
#   again. The learning rate goes below the end of its schedule, the data are seen more often than the
#   recipe says, and two points of the loss curve stand on one step; nothing is said.
# Workaround: bound the training by max_steps, save at the end of epochs, and compare trainer.global_step
#   with the number of batches.
# It downloads PyTorch, which takes a few minutes.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -qq lightning==2.6.6 torch==2.14.1
OMP_NUM_THREADS=1 venv/bin/python -I -W ignore - 2>log <<'PYTHON' || { cat log; exit 1; }
import csv
from pathlib import Path

import lightning
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
import torch

BATCHES = 4


class Net(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, index):
        loss = self.layer(batch).square().mean()
        self.log('loss', loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def train(folder, max_epochs, state=None):
    """Steps of the trainer, and those that were logged, up to `max_epochs`."""
    logger = CSVLogger(folder, flush_logs_every_n_steps=1)
    trainer = Trainer(
        max_epochs=max_epochs,
        accelerator='cpu',
        logger=logger,
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ModelCheckpoint(dirpath=folder, save_last=True, every_n_train_steps=BATCHES)],
    )
    trainer.fit(Net(), torch.utils.data.DataLoader(torch.ones(BATCHES, 1)), ckpt_path=state)
    rows = csv.DictReader(Path(logger.log_dir, 'metrics.csv').open())
    return trainer.global_step, [int(row['step']) for row in rows if row['loss']]


whole, logged_whole = train('whole', 3)
parts, logged = 0, []
for epochs in (1, 2, 3):
    parts, more = train('parts', epochs, 'parts/last.ckpt' if logged else None)
    logged += more
print(f'versions: lightning {lightning.__version__}, torch {torch.__version__}')
print(f'expected: {3 * BATCHES} steps in three epochs, resumed twice or not; logged {logged_whole}')
print(f'seen: {whole} in one run, {parts} resumed twice; logged {logged}')
if whole != 3 * BATCHES:
    raise SystemExit('The unbroken training has another length: this is another problem.')
if parts == whole:
    raise SystemExit('The behaviour has changed: both do as many steps.')
print('The surprise is still there.')
PYTHON
