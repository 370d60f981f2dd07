"""The executables of ``ros2 run dcfm_ros <verb>``: each is ``dcfm <verb>`` under its own name."""

from __future__ import annotations

from pathlib import Path
import sys

from dcfm_ros.cli import main as cli


def main() -> None:
    """Run the command line with the name of the executable as its verb."""
    sys.argv[:1] = ['dcfm', Path(sys.argv[0]).stem]
    cli.main()
