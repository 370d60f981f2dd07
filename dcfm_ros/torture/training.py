"""A training that is killed, a disk that is full, an evaluation whose workers are killed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
import math
import shutil
import subprocess
import time

import numpy as np

from dcfm_ros.benchmark.sections import Section
from dcfm_ros.torture.campaign import Piece, Torture, Verdict
from dcfm_ros.torture.killed_evaluation import killed_evaluation
from dcfm_ros.torture.training_process import Training, make_footage, wait_for

_TOLERANCE = 1e-6
_MOMENTS = ('write', 'step', 'write', 'any')
_MAX_WRITE_S, _MAX_ANY_S = 0.3, 30.0


class KilledTraining(Torture):
    """A training that is killed and resumed again and again, beside one that is not.

    Every other kill is aimed at the write of its state. Once in a piece the disk is full while the
    state is written, and an evaluation loses workers.
    """

    unit = 'kills'
    full = 20
    piece = 4
    steps = 12

    def begin(self, keep: ExitStack) -> None:
        """Train once without a kill, if that has not been done."""
        self._footage = self.folder / 'training_footage'
        make_footage(self._footage)
        self._unbroken = Training(self._footage, self.folder / 'training_unbroken', self.steps)
        if not (self._unbroken.folder / 'last.safetensors').exists():
            shutil.rmtree(self._unbroken.folder)
            self._unbroken = Training(self._footage, self._unbroken.folder, self.steps)
            if code := self._unbroken.finish():
                raise RuntimeError(f'the training failed with {code}, see {self._unbroken.folder}')
        self._losses = self._unbroken.losses(0)

    def run_piece(self, begin: int, count: int) -> Piece:
        """Kill a training `count` times, resume it to its end, and compare."""
        random = np.random.default_rng([self.seed, begin])
        folder = self.folder / 'training_killed'
        shutil.rmtree(folder, ignore_errors=True)
        training = Training(self._footage, folder, self.steps)
        kills: list[str] = []
        in_write = missed = 0
        while len(kills) < count:
            moment = _MOMENTS[len(kills) % len(_MOMENTS)]
            left = training.left_over()
            code = self._kill(training, moment, random)
            if code is not None:  # it came to its end before
                if code or missed > 10 * count:
                    raise RuntimeError(f'the training failed with {code}, see {folder}')
                missed += 1
                training.forget()
                continue
            kills.append(moment)
            in_write += training.left_over() > left
        is_full = self._fill_disk(training)
        code = training.finish()
        exact = sum(self._is_exact(training, start) for start in training.resumed)
        weights = training.weights() if code == 0 else {}
        unbroken = self._unbroken.weights()
        return {
            'killed': len(kills),
            'in_write': in_write,
            'processes': training.starts,
            'resumed': len(training.resumed),
            'exact': exact,
            'failed': int(code != 0),
            'steps_missing': len(self._losses.keys() - training.all_losses().keys()),
            'other_weights': sum(
                name not in weights or not np.array_equal(weights[name], value)
                for name, value in unbroken.items()
            ),
            **is_full,
            **killed_evaluation(self._footage, self.folder / 'training_evaluation', random),
        }

    def _is_exact(self, training: Training, start: int) -> bool:
        """Whether a process has logged the losses of the unbroken training."""
        found, known = training.losses(start), self._losses
        return all(abs(v - known.get(step, math.nan)) <= _TOLERANCE for step, v in found.items())

    def _kill(self, training: Training, moment: str, random: np.random.Generator) -> int | None:
        """Start a training and kill it; its exit code, None if it was alive."""
        number = training.starts
        known = set(training.folder.glob(f'.{training.state.name}.*'))
        process = training.start()
        steps, share = int(random.integers(1, 5)), float(random.random())

        def is_written() -> bool:
            return bool(set(training.folder.glob(f'.{training.state.name}.*')) - known)

        if moment == 'write':
            wait_for(process, is_written)
            time.sleep(share * _MAX_WRITE_S)
        else:
            if moment == 'step':
                wait_for(process, lambda: len(training.losses(number)) >= steps)
            with suppress(subprocess.TimeoutExpired):
                process.wait(share * (_MAX_ANY_S if moment == 'any' else 1.0))
        if (code := process.poll()) is None:
            process.kill()
            process.wait()
        return code

    def _fill_disk(self, training: Training) -> Piece:
        """Let a training run onto a full disk; what it has written before must stay."""
        if not training.state.exists():
            return {}
        before = training.state.read_bytes()
        code = training.finish(file_limit=len(before) // 2)
        kept = training.state.read_bytes() == before
        return {'disk_full': 1, 'disk_full_unseen': int(code <= 0), 'state_lost': int(not kept)}

    def verdicts(self, pieces: Sequence[Piece]) -> list[Verdict]:
        """Everything is as if nothing had happened."""
        total = {name: sum(piece.get(name, 0) for piece in pieces) for name in _COUNTS}
        return [
            Verdict.zero('resumed processes with another loss', total['resumed'] - total['exact']),
            Verdict.zero('trainings that could not be resumed', total['failed']),
            Verdict.zero('steps without a loss', total['steps_missing']),
            Verdict.zero('tensors unlike those of the unbroken training', total['other_weights']),
            Verdict.zero('states lost on a full disk', total['state_lost']),
            Verdict.zero('full disks that went unnoticed', total['disk_full_unseen']),
            Verdict.zero('evaluations of killed workers with another JSON', total['other_json']),
        ]

    def sections(self, pieces: Sequence[Piece]) -> list[Section]:
        """What was done."""
        rows = [
            {'what': what, 'times': sum(piece.get(name, 0) for piece in pieces)}
            for name, what in _COUNTS.items()
        ]
        return [Section('Training', rows, _NOTE)]


_COUNTS = {
    'killed': 'trainings killed',
    'in_write': 'of these while the state was being written',
    'processes': 'training processes',
    'resumed': 'of these resumed from a state',
    'exact': 'of these with the losses of the unbroken training',
    'failed': 'trainings that could not be resumed',
    'steps_missing': 'steps without a loss',
    'other_weights': 'tensors unlike those of the unbroken training',
    'disk_full': 'full disks',
    'disk_full_unseen': 'full disks that went unnoticed',
    'state_lost': 'states lost on a full disk',
    'evaluations': 'evaluations with killed workers',
    'workers_killed': 'workers killed',
    'other_json': 'evaluations of killed workers with another JSON',
}
_NOTE = (
    'Processes of `dcfm train fit`, killed with SIGKILL at random moments, half of them aimed at '
    f'the write of the state. The loss of every step is compared, with a tolerance of '
    f'{_TOLERANCE}, and the weights at the end bit by bit; the JSON of an evaluation without the '
    'times in it. A full disk is a limit on the size of a file (RLIMIT_FSIZE) in the process, '
    'half of what the state needs.'
)
