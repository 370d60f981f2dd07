"""The command line `dcfm`. A verb imports what it needs when it runs: --help is quick."""

from __future__ import annotations

from importlib import import_module
import os
import signal
import sys

import typer

VERBS = {
    'segment': 'segment',
    'demo': 'demo',
    'replay': 'replay',
    'evaluate': 'evaluate',
    'bench': 'bench',
    'synth': 'recordings',
    'bag': 'recordings',
    'extract': 'recordings',
    'pseudo-label': 'pseudo_label',
    'merge-labels': 'merge_labels',
    'train': 'train',
    'ablate': 'train',
    'figures': 'figures',
    'calibrate': 'calibrate',
    'convert': 'weights',
    'pack': 'weights',
    'prepare': 'weights',
    'quantise': 'weights',
    'export': 'export',
    'torture': 'torture',
}
"""Module of this folder by verb; its function has the verb's name."""
EXTRAS = {
    'torch': 'torch',
    'timm': 'torch',
    'onnx': 'torch',
    'torchvision': 'train',
    'lightning': 'train',
    'jsonargparse': 'train',
    'tensorboard': 'train',
    'segmentation_models_pytorch': 'smp',
    'nncf': 'quantise',
    'ray': 'cluster',
}
"""Extra of this package that brings a module."""
_PASSED_ON = {'allow_extra_args': True, 'ignore_unknown_options': True}

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help='Video semantic segmentation with Deep Common Feature Mining.',
)
for _verb, _module in VERBS.items():
    _function = getattr(import_module(f'dcfm_ros.cli.{_module}'), _verb.replace('-', '_'))
    # Lightning's command line parses what follows `train`.
    app.command(_verb, context_settings=_PASSED_ON if _verb == 'train' else None)(_function)


def main() -> None:
    """Run the command line; errors that a user can mend are one line, without a traceback."""
    # Read when torch is loaded: waiting threads sleep instead of spinning, see node.main.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    if not {'train', 'ablate'}.intersection(sys.argv[1:2]):  # Lightning finishes the step first
        # By itself Python would end at once, and leave the processes that a verb has started.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        app()
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or '').partition('.')[0])
        hint = f": pip install 'dcfm_ros[{extra}]'" if extra else ''
        typer.echo(f'dcfm: {error}{hint}', err=True)
        sys.exit(1)
    except (ValueError, OSError, RuntimeError, TimeoutError, ImportError) as error:
        # CheckpointError and SourceError are RuntimeErrors; what torch raises at run time is too.
        typer.echo(f'dcfm: {error}', err=True)
        sys.exit(1)


if __name__ == '__main__':
    main()
