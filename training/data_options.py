"""What the options of `PairData` must be."""

from __future__ import annotations

from collections.abc import Sequence

from dcfm_ros.training.pairs.source_options import RENDERED, SourceOptions


def check_data_options(
    train: Sequence[SourceOptions],
    validation: SourceOptions | None,
    hold_out_share: float,
    validation_height: int | None,
    validation_every: int,
    seed: int,
) -> None:
    """Raise ValueError unless the options of the same name fit; see `PairData`."""
    if not 0 <= hold_out_share < 1:
        raise ValueError(f'`hold_out_share` must be in [0, 1), got {hold_out_share}')
    if validation_height is not None and validation_height < 1:
        raise ValueError(
            f'`validation_height` must be at least 1 or None, got {validation_height}'
        )
    if validation_every < 1:
        raise ValueError(f'`validation_every` must be at least 1, got {validation_every}')
    if seed < 0:
        raise ValueError(f'`seed` must be at least 0, got {seed}')
    if validation is not None and validation.dataset == RENDERED:
        msg = f'a dataset with a folder of its own, got {RENDERED!r}; `dcfm synth` writes drives'
        raise ValueError(f'`validation` must be {msg}')
    for validated in [validation] if validation is not None else train[:1]:
        if validated.hold_out_share:
            msg = f'0 for the source that is validated on, got {validated.hold_out_share}'
            raise ValueError(f'`hold_out_share` must be {msg}')
