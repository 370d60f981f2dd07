"""One kill of a short training, one full disk and one evaluation; what its verdicts say."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest

from dcfm_ros.torture.campaign import Campaign, Piece
from dcfm_ros.torture.training import KilledTraining

pytestmark = pytest.mark.train


class ShortTraining(KilledTraining):
    piece = 1
    steps = 6


@pytest.fixture(scope='module')
def killed(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    campaign = Campaign('training', ShortTraining(1, tmp_path_factory.mktemp('killed')), 1)
    list(campaign.run(None))
    return campaign


def test_killed_training_ends_as_the_unbroken_one(killed: Campaign) -> None:
    results = killed.results()
    assert [verdict for verdict in results['verdicts'] if not verdict['holds']] == []
    (piece,) = killed.pieces
    assert piece['killed'] == piece['evaluations'] == 1
    assert piece['processes'] >= 2
    losses = killed.torture._losses
    assert list(losses) == [0, 1, 2, 3, 4, 5]
    assert len(set(losses.values())) == 6  # each step has one of its own


def resume_elsewhere(piece: Piece) -> None:
    piece['exact'] -= 1


def lose_a_step(piece: Piece) -> None:
    piece['steps_missing'] = 1


def change_a_weight(piece: Piece) -> None:
    piece['other_weights'] = 1


def lose_the_state(piece: Piece) -> None:
    piece['state_lost'] = 1


def change_the_json(piece: Piece) -> None:
    piece['other_json'] = 1


@pytest.mark.parametrize(
    'change', [resume_elsewhere, lose_a_step, change_a_weight, lose_the_state, change_the_json]
)
def test_verdict_falls(killed: Campaign, change: Callable[[Piece], None]) -> None:
    pieces = deepcopy(killed.pieces)
    change(pieces[0])
    assert sum(not verdict.holds for verdict in killed.torture.verdicts(pieces)) == 1


def test_another_loss_is_seen(killed: Campaign) -> None:
    torture = killed.torture
    training = torture._unbroken
    assert torture._is_exact(training, 0)
    torture._losses[3] += 1e-5
    assert not torture._is_exact(training, 0)
