"""`dcfm` in this process, for tests: its own would spend seconds on imports every time."""

from __future__ import annotations

from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
import io
import os
import sys
from unittest.mock import patch

from dcfm_ros.cli.main import main


@dataclass(frozen=True)
class Outcome:
    """What is left of a command, named as in `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


def dcfm(*arguments: object) -> Outcome:
    """Run a command to its end; the environment is afterwards as it was."""
    output, errors = io.StringIO(), io.StringIO()
    command = ['dcfm', *map(str, arguments)]
    with (
        patch.dict(os.environ),
        patch.object(sys, 'argv', command),
        redirect_stdout(output),
        redirect_stderr(errors),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):  # as Python itself does at the end of a process
                errors.write(f'{end.code}\n')
        else:
            code = 0
    return Outcome(code, output.getvalue(), errors.getvalue())
