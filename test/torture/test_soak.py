"""A short soak of a real node, and what its verdicts say of pieces that were changed."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy')

from domain import domain_of_its_own

from dcfm_ros.torture.campaign import Campaign, Piece
from dcfm_ros.torture.soak import Soak, Stream

pytestmark = pytest.mark.dds


class ShortSoak(Soak):
    piece = 60


class ShortStream(Stream):
    piece = 45
    size = 96, 128


@pytest.fixture(scope='module')
def soaked(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    with domain_of_its_own():
        campaign = Campaign('soak', ShortSoak(3, tmp_path_factory.mktemp('soak')), 600)
        list(campaign.run(None))
    return campaign


def test_every_image_is_answered_rightly_or_counted(soaked: Campaign) -> None:
    results = soaked.results()
    names = ['accounted' if 'counted' in v['what'] else v['what'] for v in results['verdicts']]
    assert len(names) == 9
    # The machine is busy: latencies may differ.
    wrong = [v for v in results['verdicts'] if not v['holds'] and 'latency' not in v['what']]
    assert wrong == []
    sent = sum(piece['sent'] for piece in soaked.pieces)
    assert sent == 600 == sum(p['answered'] + p['dropped'] for p in soaked.pieces)
    assert all(piece['keyframes'] == 18 for piece in soaked.pieces)


def grow(piece: Piece) -> None:
    piece['memory_mb'] += 2.0


def lose(piece: Piece) -> None:
    piece['unaccounted'] += 1


def miss_a_keyframe(piece: Piece) -> None:
    piece['keyframes'] -= 1


def slow_down(piece: Piece) -> None:
    piece['latencies'] = {'400': 100}


def keep_files(piece: Piece) -> None:
    piece['files'] += 1


@pytest.mark.parametrize(
    'change, what',
    [
        (grow, 'memory growth, MB'),
        (lose, 'images neither answered nor counted'),
        (miss_a_keyframe, 'keyframes more or fewer than due'),
        (slow_down, 'latency p99, last by second tenth'),
        (keep_files, 'more files'),
    ],
)
def test_verdict_names_what_went_wrong(
    soaked: Campaign, change: Callable[[Piece], None], what: str
) -> None:
    pieces = deepcopy(soaked.pieces)
    change(pieces[-1])
    broken = {v.what: v for v in soaked.torture.verdicts(pieces) if not v.holds}
    assert what in broken


def test_mask_of_another_image_is_seen(tmp_path: Path) -> None:
    with domain_of_its_own(), ShortSoak(3, tmp_path) as soak:
        soak._expected[5] ^= 1
        piece: dict[str, Any] = soak.run_piece(0, 60)
    assert piece['wrong_masks'] == 1


def test_images_at_a_rate(tmp_path: Path) -> None:
    with domain_of_its_own():
        campaign = Campaign('stream', ShortStream(0, tmp_path), 45)
        (piece,) = campaign.run(None)
    assert piece['seconds'] > 2.9  # 45 images at 15 Hz
    assert piece['sent'] == piece['answered'] + piece['dropped'] == 45
    assert piece['wrong_masks'] == piece['unaccounted'] == 0
