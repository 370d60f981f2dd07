"""The published numbers: complete, typed, and in agreement with each other."""

from __future__ import annotations

from importlib import resources
from typing import Any

import pytest
import yaml

from dcfm_ros.training.plots.evaluations import mean_frame_ms
from dcfm_ros.training.studies.published import TABLES, published, title

ROWS = {
    'table1_training': 13,
    'table2_vspw': 22,
    'table3_cityscapes': 23,
    'table4_camvid': 6,
    'table5_decomposition_b2': 5,
    'table6_losses_b2': 4,
    'table7_loss_types_b2': 6,
    'table8_time_ms_b5_vspw_v100': 5,
    'table9_modes_vspw_k2': 4,
    'datasets': 3,
}


def raw() -> dict[str, Any]:
    text = (
        resources.files('dcfm_ros.training.studies').joinpath('published.yaml').read_text('utf-8')
    )
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def vspw(method: str, backbone: str) -> Any:
    (row,) = (r for r in published('table2_vspw') if (r.method, r.backbone) == (method, backbone))
    return row


def test_file_holds_every_table_and_row() -> None:
    assert {name: len(table['rows']) for name, table in raw().items()} == ROWS
    assert set(TABLES) == set(ROWS)
    assert all(title(name) for name in TABLES)


@pytest.mark.parametrize('name', TABLES)
def test_every_number_reaches_the_row(name: str) -> None:
    table = raw()[name]
    for row, values in zip(published(name), table['rows'], strict=True):
        assert list(row._fields) == table['columns']
        for column, typed, value in zip(row._fields, row, values, strict=True):
            is_accuracy = column.startswith(('miou', 'wiou', 'mvc'))
            assert typed == (pytest.approx(value / 100) if is_accuracy else value)


def test_accuracies_are_fractions() -> None:
    row = vspw('DCFM K=2', 'MiT-B5')
    assert (row.miou, row.wiou, row.mvc8, row.mvc16) == (0.493, 0.659, 0.902, 0.867)


def test_mean_time_reproduces_published_fps() -> None:
    time = {row.stage: row for row in published('table8_time_ms_b5_vspw_v100')}['total']
    assert time.key_ms is not None and time.nonkey_ms is not None
    for interval in (1, 2, 6):
        fps = 1000 / mean_frame_ms(time.key_ms, time.nonkey_ms, interval)
        # Times are printed to 0.1 ms; K=6 has 5 of the short ones in 6 frames.
        assert fps == pytest.approx(vspw(f'DCFM K={interval}', 'MiT-B5').fps, rel=0.003)


def test_parts_of_the_published_times_add_up() -> None:
    *parts, total = published('table8_time_ms_b5_vspw_v100')
    for column in ('segformer_ms', 'key_ms', 'nonkey_ms'):
        parts_ms = sum(getattr(row, column) or 0 for row in parts)
        assert parts_ms == pytest.approx(getattr(total, column))


def test_full_model_is_the_same_in_every_table() -> None:
    full = vspw('DCFM K=2', 'MiT-B2')
    assert published('table5_decomposition_b2')[-1].miou == full.miou
    # Tables VI and VII print keyframes' mIoU, 45.0, with the consistency of K=2.
    for row in (published('table6_losses_b2')[-1], published('table7_loss_types_b2')[-1]):
        assert (row.mvc8, row.mvc16) == (full.mvc8, full.mvc16)
        assert row.miou == published('table5_decomposition_b2')[-1].miou_key
    both = published('table9_modes_vspw_k2')[0]
    assert (both.mode, both.miou) == ('both', full.miou)
    assert both.frame_ms == pytest.approx(1000 / full.fps, abs=0.05)


def test_unknown_table_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"table2_vspw.*got 'table10'"):
        published('table10')
