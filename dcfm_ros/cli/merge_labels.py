"""The verb `dcfm merge-labels`: stills from hand-made coarse labels and a network's finer ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dcfm_ros.cli.data_options import DataOptions
from dcfm_ros.cli.options import OptionalFloat, print_rows, takes_options


@takes_options('dataset', 'split', 'classes')
def merge_labels(
    root: Annotated[Path, typer.Option(help='Folder of the dataset with hand-made labels.')],
    teacher: Annotated[
        Path,
        typer.Option(help="The other network's labels/<name>.png and confidence/<name>.png."),
    ],
    output: Annotated[Path, typer.Option(help='Folder of the dataset to create.')],
    teacher_labels: Annotated[
        str, typer.Option(help='What these hold: camvid, cityscapes, vspw or a file of classes.')
    ] = 'cityscapes',
    min_confidence: Annotated[
        float,
        typer.Option(
            help='Probability (confidence / 256) from which on its class is taken, where that is '
            'in the set that the hand-made label is; 0: always.'
        ),
    ] = 0.5,
    fill_confidence: Annotated[
        OptionalFloat,
        typer.Option(help='The same where there is no hand-made label; none: never.'),
    ] = None,
    height: Annotated[
        int, typer.Option(min=0, help='Rows of the stills; 0: those of the images.')
    ] = 0,
    *,
    data: DataOptions,
) -> None:
    """Make stills to train on (dataset 'stills') from coarse labels and a network's finer ones.

    A pixel whose hand-made label is a set of classes gets the network's class if that is one of
    them, and stays the set otherwise.
    """
    from dcfm_ros.training.footage.class_files import load_label_set
    from dcfm_ros.training.footage.label_merging import MergeOptions
    from dcfm_ros.training.merged_labels import merge_labels

    record = merge_labels(
        data.choice(root).find(),
        teacher,
        load_label_set(teacher_labels),
        output,
        data.split,
        options=MergeOptions(
            min_confidence=min_confidence, fill_confidence=fill_confidence, height=height
        ),
        origin={
            'dataset': data.dataset,
            'root': str(root),
            'split': data.split,
            'classes': data.classes or None,
            'teacher': str(teacher),
            'teacher_labels': teacher_labels,
        },
    )
    shown = ('share', 'agrees', 'unsure', 'differs')
    print_rows(
        [
            {'label': name, **{key: figures[key] for key in shown}}
            for name, figures in record['entries'].items()
        ]
    )
    taken = record['taken']
    typer.echo(
        f'{record["images"]} stills in {output}, '
        + ('no label is a set' if taken is None else f'{taken:.0%} of sets became a class')
    )
