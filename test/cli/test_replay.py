from __future__ import annotations

from command import dcfm
import pytest


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['x', '--force'], '--force (True) needs --compare'),
        ([], 'give at least one recording'),
        (['x', '--slices', 2], '--slices (2) needs'),
        (['x', '--compare', '.', '.'], '--compare takes two reports and no recordings'),
        (['x', '--execution', 'async'], "must be one of sync, amortised, got 'async'"),
        (['x', 'y', '--online'], '--online takes one recording, got 2'),
        (['x'], 'no such file or folder: x'),
        (['x', '--online'], 'no such file or folder: x'),
    ],
)
def test_wrong_arguments_are_errors(arguments, message):
    outcome = dcfm('replay', *arguments)
    assert outcome.returncode == 1
    assert message in outcome.stderr
    assert 'Traceback' not in outcome.stderr
