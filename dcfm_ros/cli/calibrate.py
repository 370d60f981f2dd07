"""The verb `dcfm calibrate`: a confidence that means what it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from dcfm_ros.cli.data_options import DataOptions, names_of
from dcfm_ros.cli.options import Checkpoint, takes_options
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions


@takes_options('device', 'backend', 'precision', 'inference_height', *names_of(DataOptions))
def calibrate(
    root: Annotated[Path, typer.Option(help='Folder of a dataset that it was not trained on.')],
    output: Annotated[Path, typer.Option(help='.safetensors to write.')],
    checkpoint: Checkpoint = None,
    interval: Annotated[int, typer.Option(min=1, help='Keyframe interval, frames.')] = 3,
    *,
    data: DataOptions,
    engine: EngineOptions,
) -> None:
    """Fit what logits are divided by before the confidence is taken, on labelled frames.

    No mask changes. `dcfm evaluate` shows the expected calibration error (ece) of other frames.
    Graphs in int8 belong to one file: run `dcfm quantise` afterwards.
    """
    from dcfm_ros.models.checkpoint import copy_checkpoint
    from dcfm_ros.models.checkpoint_header import find_checkpoint
    from dcfm_ros.training.ablated_network import load_for_engine, read_network_metadata
    from dcfm_ros.training.evaluation.calibration import fit_temperature
    from dcfm_ros.training.evaluation.setting import Setting

    path = find_checkpoint(checkpoint)
    metadata = read_network_metadata(path)
    how = replace(engine, inference_height=engine.inference_height or metadata.image_height)
    clips = data.choice(root).find()
    clips[0].labels.check_classes(str(path), metadata.config.num_classes)
    setting = Setting(keyframes=ScheduleOptions(keyframe_interval=interval), phases='first')
    found = fit_temperature(load_for_engine(path, how), clips, setting, how)
    config = replace(metadata.config, confidence_temperature=found.temperature)
    copy_checkpoint(path, output, config, {**metadata.training, 'calibrated': found._asdict()})
    typer.echo(
        f'{output}: temperature {found.temperature:.3f}; expected calibration error '
        f'{found.ece_before:.4f} -> {found.ece_after:.4f} on {found.frames} frames'
    )
