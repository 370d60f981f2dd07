"""A tiny training as its own process: its data, its command, its loss at every step."""

from __future__ import annotations

from collections.abc import Callable
import csv
import os
from pathlib import Path
import resource
import subprocess
import sys
import time

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from dcfm_ros.files import new_folder

STATE = 'last.ckpt'
SIZE = 64, 96
_FRAMES = 8
_WAIT_S = 600.0


def make_footage(root: Path) -> None:
    """Frames and labels of two drives in CamVid's layout, if they are not there: sky and road."""
    if root.exists():
        return
    random = np.random.default_rng(0)
    with new_folder(root) as part:
        for name in ('train', 'trainannot', 'val', 'valannot'):
            (part / name).mkdir()
        for number in range(2 * _FRAMES):
            label = np.zeros(SIZE, np.uint8)
            label[SIZE[0] // 2 :] = 3
            noise = random.integers(0, 20, (*SIZE, 3))
            image = (np.where(label[..., None] == 0, 200, 60) + noise).astype(np.uint8)
            # CamVid's names: numbers of the drives, and of frames 2 apart.
            name = f'{("0001TP", "0006R0")[number % 2]}_{6690 + number // 2 * 2:06d}'
            for split in ('train', 'val'):
                cv2.imwrite(str(part / split / f'{name}.jpg'), image)
                cv2.imwrite(str(part / f'{split}annot' / f'{name}.png'), label)


class Training:
    """A training in a folder; started again, it goes on where its last state was written.

    Args:
        footage: Made by `make_footage`.
        folder: Of the training.
        steps: Of the whole training.
    """

    def __init__(self, footage: Path, folder: Path, steps: int) -> None:
        self.folder = folder
        self.starts = 0
        """Processes so far."""
        self.resumed: list[int] = []
        """Numbers of those that went on from a state."""
        self._footage = footage
        self._steps = steps
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def state(self) -> Path:
        """What a training is resumed from."""
        return self.folder / STATE

    def start(self, file_limit: int | None = None) -> subprocess.Popen[bytes]:
        """Start the process.

        Args:
            file_limit: Bytes that it may write to a file, as if the disk were full then.
        """
        before: Callable[[], None] | None = None
        if file_limit is not None:
            limits = file_limit, file_limit

            def before() -> None:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)

        command = [sys.executable, '-m', 'dcfm_ros.training.train', *self._arguments()]
        with (self.folder / f'{self.starts}.log').open('wb') as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, preexec_fn=before, env=_environment()
            )
        if self.state.exists():
            self.resumed.append(self.starts)
        self.starts += 1
        return process

    def forget(self) -> None:
        """Begin anew with the next process."""
        for path in (self.state, self.folder / 'last.safetensors'):
            path.unlink(missing_ok=True)

    def finish(self, file_limit: int | None = None) -> int:
        """Start the process and wait for its end; its exit code, below 0 if it has none."""
        return wait_or_kill(self.start(file_limit), _WAIT_S)

    def losses(self, start: int) -> dict[int, float]:
        """Loss by step, as the process with that number has logged it so far."""
        path = self.folder / 'log' / f'version_{start}' / 'metrics.csv'
        if not path.exists():
            return {}
        with path.open(encoding='utf-8', newline='') as file:
            rows = [row for row in csv.DictReader(file) if row.get('loss') and row['step']]
        return {int(row['step']): float(row['loss']) for row in rows}

    def all_losses(self) -> dict[int, float]:
        """Loss by step, of all processes."""
        return {k: v for start in range(self.starts) for k, v in self.losses(start).items()}

    def left_over(self) -> int:
        """Files that were being written when a process was killed."""
        return sum(path.name.startswith(f'.{STATE}.') for path in self.folder.iterdir())

    def weights(self) -> dict[str, NDArray[np.generic]]:
        """Those of the finished training, by name."""
        with safe_open(self.folder / 'last.safetensors', framework='np') as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118

    def _arguments(self) -> list[str]:
        still = '{scale: [1.0, 1.0], stretch: 0.0, rotation_deg: 0.0, crop: [64, 64]}'
        logger = 'lightning.pytorch.loggers.CSVLogger'
        options = {
            'seed_everything': 3,
            'model.net.backbone': 'mit_b0',
            'model.net.fuse_channels': 16,
            'model.optimisation.warmup_steps': 0,
            'data.train': f'[{{dataset: camvid, root: {self._footage}}}]',
            'data.cache_dir': self.folder.parent / 'cache',
            'data.batch_size': 2,
            'data.pairs_per_epoch': 4,
            'data.num_workers': 0,
            'data.hold_out_share': 0.34,
            'data.augmentation': 'dcfm_ros.training.pairs.augment.RoadSceneAugmentation',
            'data.augmentation.init_args': still,
            'average.decay': 0.5,
            'export.folder': self.folder,
            'trainer.max_steps': self._steps,
            'trainer.accelerator': 'cpu',
            'trainer.num_sanity_val_steps': 0,
            'trainer.enable_progress_bar': 'false',
            'trainer.log_every_n_steps': 1,
            'trainer.logger': logger,
            'trainer.logger.init_args.save_dir': self.folder,
            'trainer.logger.init_args.name': 'log',
            'trainer.logger.init_args.version': self.starts,
            'trainer.logger.init_args.flush_logs_every_n_steps': 1,
            **({'ckpt_path': self.state} if self.state.exists() else {}),
        }
        return ['fit', *(f'--{name}={value}' for name, value in options.items())]


def _environment() -> dict[str, str]:
    # Sums are rounded alike for equal numbers of threads only.
    return {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}


def wait_for(process: subprocess.Popen[bytes], is_so: Callable[[], bool]) -> bool:
    """Wait until something is so, or a process has ended; whether it is so and runs still."""
    end_s = time.monotonic() + _WAIT_S
    while process.poll() is None and time.monotonic() < end_s:
        if is_so():
            return True
        time.sleep(0.002)
    return False


def wait_or_kill(process: subprocess.Popen[bytes], seconds: float) -> int:
    """Exit code of a process; one that takes longer than that is killed."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
