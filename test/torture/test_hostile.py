"""Hostile messages to real nodes, and what the verdicts say of pieces that were changed."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
import random
from typing import Any

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('nav_msgs')

from domain import domain_of_its_own

from dcfm_ros.torture import messages
from dcfm_ros.torture.campaign import Campaign
from dcfm_ros.torture.hostile import Hostile

pytestmark = pytest.mark.dds


class ShortHostile(Hostile):
    piece = 150


@pytest.fixture(scope='module')
def fired(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    with domain_of_its_own():
        campaign = Campaign('hostile', ShortHostile(1, tmp_path_factory.mktemp('fire')), 150)
        list(campaign.run(None))
    return campaign


def test_every_node_lives_answers_and_counts(fired: Campaign) -> None:
    assert [verdict for verdict in fired.results()['verdicts'] if not verdict['holds']] == []
    (piece,) = fired.pieces
    assert piece['right'] >= 150 // 5
    for name in ('raw', 'compressed', 'cloud', 'ground', 'runs'):
        assert piece[f'{name}_sent'] > 0
    assert sum(piece[f'{name}_refused'] for name in ('raw', 'compressed', 'cloud')) > 20


@pytest.mark.parametrize(
    ('name', 'value', 'what'),
    [
        ('crashes', 1, 'crashes'),
        ('wrong', 1, 'good messages with a wrong answer'),
        ('unanswered', 2, 'good messages without an answer'),
        ('unaccounted', 1, 'messages neither answered nor counted'),
        ('cloud_lines_per_s', 50.0, 'cloud: lines of the log per second'),
    ],
)
def test_verdict_names_what_went_wrong(
    fired: Campaign, name: str, value: float, what: str
) -> None:
    pieces = deepcopy(fired.pieces)
    pieces[0][name] = value
    assert [v.what for v in fired.torture.verdicts(pieces) if not v.holds] == [what]


def test_growth_is_seen_from_tenth_to_tenth(fired: Campaign) -> None:
    pieces: list[dict[str, Any]] = [deepcopy(fired.pieces[0]) for _ in range(10)]
    pieces[-1]['raw_memory_mb'] += 20
    broken = [v.what for v in fired.torture.verdicts(pieces) if not v.holds]
    assert broken == ['raw: memory growth, MB']


def test_node_that_has_died_is_seen_and_started_again(tmp_path: Path) -> None:
    with domain_of_its_own(), ShortHostile(2, tmp_path) as hostile:
        hostile._nodes['runs']._process.kill()
        hostile._nodes['runs']._process.wait()
        first = hostile.run_piece(0, 1)
        second = hostile.run_piece(1, 1)
    assert first['crashes'] == 1
    assert second['crashes'] == second['unanswered'] == second['unaccounted'] == 0
    assert len(list(tmp_path.glob('runs_*.log'))) == 2


@pytest.mark.parametrize(
    'draw',
    [
        messages.image,
        messages.depth,
        messages.mask,
        messages.compressed_image,
        messages.camera_info,
        messages.labels,
    ],
)
def test_same_seed_draws_the_same_messages(draw: Any) -> None:
    def drawn(seed: int) -> list[str]:
        rng = random.Random(seed)
        found = [draw(rng) for _ in range(40)]
        # Of broken ones the length: between fields, bytes hold whatever was in memory.
        return [str(len(m)) if isinstance(m, bytes) else repr(m) for m in found]

    assert drawn(5) == drawn(5)
    assert len(set(drawn(5))) > 20
    assert drawn(5) != drawn(6)
