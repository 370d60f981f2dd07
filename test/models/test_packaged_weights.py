"""The weights that are shipped: their size, their card, and that they are as good as they say."""

from __future__ import annotations

from pathlib import Path
import re

import pytest
from repository import CAMVID

from dcfm_ros.models.checkpoint import load_checkpoint
from dcfm_ros.models.checkpoint_header import packaged_checkpoints, read_metadata
from dcfm_ros.training.evaluation.clip_choice import ClipChoice
from dcfm_ros.training.evaluation.evaluate import evaluate_dataset
from dcfm_ros.training.evaluation.setting import PER_FRAME

_PACKAGED = packaged_checkpoints()
each_tier = pytest.mark.parametrize('path', _PACKAGED.values(), ids=_PACKAGED.keys())


def test_default_is_packaged() -> None:
    assert 'default' in _PACKAGED


@each_tier
def test_file_is_at_most_20_megabytes(path: Path) -> None:
    assert path.stat().st_size <= 20e6


@each_tier
def test_card_tells_backbone_licence_and_parameters(path: Path) -> None:
    card = path.with_suffix('.md').read_text()
    net = load_checkpoint(path)
    assert f'`{net.config.backbone}`' in card
    assert 'CC BY-NC 4.0' in card
    assert f'{sum(p.numel() for p in net.parameters()) / 1e6:.2f} M parameters' in card


@each_tier
def test_card_links_to_files_that_are_there(path: Path) -> None:
    links = re.findall(r'\]\(([^)#]+)\)', path.with_suffix('.md').read_text())
    assert links
    assert [link for link in links if not (path.parent / link).exists()] == []


@each_tier
def test_record_tells_how_it_was_trained(path: Path) -> None:
    record = read_metadata(path).training
    for key in ('command', 'dataset', 'steps', 'hours', 'hardware', 'seed'):
        assert record[key], key


@pytest.mark.slow
@each_tier
@pytest.mark.skipif(not CAMVID.is_dir(), reason='needs ../shared/data/camvid')
def test_engine_reaches_what_the_training_saw_on_its_fold(path: Path) -> None:
    record = read_metadata(path).training
    choice = ClipChoice(dataset='camvid', root=CAMVID, split='train', hold_out_share=0.1)
    fold = evaluate_dataset(path, choice, [PER_FRAME], floors=False)
    rows = fold['rows']
    assert isinstance(rows, list)
    [miou] = [row['miou'] for row in rows if row['schedule'] == 'fixed']
    # Backends round differently; a preprocessing that differed would cost far more.
    assert miou == pytest.approx(record['metrics']['val_miou_key'], abs=0.003)
