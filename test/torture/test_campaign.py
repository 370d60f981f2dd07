"""Torture tests in pieces: kept, continued, bounded, judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
import resource

import pytest

from dcfm_ros.torture.campaign import Campaign, Piece, Torture, Verdict


class Sums(Torture):
    """Adds up; what may not happen happens in one piece."""

    unit = 'numbers'
    full = 25
    piece = 10
    fails_in = -1
    breaks_in = -1

    def run_piece(self, begin: int, count: int) -> Piece:
        if begin == self.breaks_in:
            raise KeyboardInterrupt
        return {'wrong': int(begin == self.fails_in), 'did': [begin, begin + count]}

    def verdicts(self, pieces: Sequence[Piece]) -> list[Verdict]:
        return [Verdict.zero('wrong', sum(piece['wrong'] for piece in pieces))]


def campaign(folder: Path, count: int = 25, seed: int = 0) -> Campaign:
    return Campaign('sums', Sums(seed, folder), count)


def test_the_last_piece_has_what_is_left(tmp_path: Path) -> None:
    pieces = list(campaign(tmp_path).run(None))
    assert [piece['count'] for piece in pieces] == [10, 10, 5]


def test_run_that_was_broken_off_goes_on(tmp_path: Path) -> None:
    broken = campaign(tmp_path)
    broken.torture.breaks_in = 10
    with pytest.raises(KeyboardInterrupt):
        list(broken.run(None))
    again = campaign(tmp_path)
    assert again.done == 10
    list(again.run(None))
    assert [p['number'] for p in again.pieces] == [0, 1, 2]
    assert [p['run'] for p in again.pieces] == [0, 1, 1]
    assert again.results()['complete']
    assert again.results()['holds']


def test_line_that_was_cut_is_done_again(tmp_path: Path) -> None:
    list(campaign(tmp_path).run(None))
    path = tmp_path / 'sums.jsonl'
    path.write_text(path.read_text()[:-20])
    again = campaign(tmp_path)
    assert again.done == 20
    assert [piece['number'] for piece in again.run(None)] == [2]
    assert campaign(tmp_path).done == 25


def test_full_disk_is_told_and_the_test_goes_on_later(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (10, 100):  # in the first line, and in a later one
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            with pytest.raises(OSError, match=r'sums\.jsonl'):
                list(campaign(tmp_path).run(None))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    again = campaign(tmp_path)
    assert again.done == 0
    list(again.run(None))
    assert campaign(tmp_path).results()['complete']


def test_no_piece_begins_when_the_time_is_over(tmp_path: Path) -> None:
    begun = campaign(tmp_path)
    begun.torture.begin = pytest.fail  # nor is anything started
    assert list(begun.run(0.0)) == []
    assert not begun.results()['complete']


def test_more_may_be_asked_for_later(tmp_path: Path) -> None:
    list(campaign(tmp_path, 10).run(None))
    assert [piece['number'] for piece in campaign(tmp_path, 30).run(None)] == [1, 2]


def test_nothing_is_left_out_after_a_short_piece(tmp_path: Path) -> None:
    list(campaign(tmp_path, 13).run(None))
    list(campaign(tmp_path, 30).run(None))
    did = [piece['did'] for piece in campaign(tmp_path, 30).pieces]
    assert did == [[0, 10], [10, 13], [13, 23], [23, 30]]


def test_what_went_wrong_in_one_piece_stays(tmp_path: Path) -> None:
    torn = campaign(tmp_path)
    torn.torture.fails_in = 10
    list(torn.run(None))
    results = campaign(tmp_path).results()
    assert not results['holds']
    assert results['verdicts'] == [{'what': 'wrong', 'figure': 1, 'allowed': '0', 'holds': False}]


def test_nothing_seen_holds_nothing(tmp_path: Path) -> None:
    assert not campaign(tmp_path).results()['holds']


def test_pieces_of_another_seed_are_refused(tmp_path: Path) -> None:
    list(campaign(tmp_path).run(None))
    with pytest.raises(ValueError, match=r"sums.jsonl is of .*'seed': 0.*, not of .*'seed': 1"):
        campaign(tmp_path, seed=1)


def test_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / 'sums.jsonl').write_text('hello\n')
    with pytest.raises(ValueError, match='keeps no torture test'):
        campaign(tmp_path)
