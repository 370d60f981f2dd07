"""Options of an online replay that do not go together."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip('rclpy')

from command import dcfm


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--mode', 'peak'], '--mode (peak) needs --online'),
        (['--online', '--jobs', '2'], '--jobs (2) does not go with --online'),
        (['--online', '--mode', 'fast'], '`mode` must be one of timeline, rate, peak'),
        (['--online', '--peak-limits', '10'], '`peak_limits_hz` must be two rising numbers'),
        (['--online', '--peak-limits', '20,10'], '`peak_limits_hz` must be two rising numbers'),
        (['--online', '--peak-limits', '10,inf'], '`peak_limits_hz` must be two rising numbers'),
        (
            ['--online', '--mode', 'rate', '--rates', '10,nan'],
            '`rates` must be one or more finite',
        ),
        (['--online', '--mode', 'rate', '--rates', 'inf'], '`rates` must be one or more finite'),
        (['--online', '--pid', '1'], '`pid` needs `namespace`, got 1'),
        (['--online', '--namespace', 'a', '--interval', '2'], '--interval (2) is set in that'),
        (['--online', '--namespace', 'a', '--max-time-gap', '0'], '--max-time-gap (0.0) is set'),
        (['--online', '--score', 'feature'], '--score (feature) needs --adaptive'),
        (['--online', '--fastdds-profile', '/no.xml'], 'no such Fast DDS profile: /no.xml'),
    ],
)
def test_wrong_options_are_errors(drive_bag: Path, arguments: list[str], message: str) -> None:
    outcome = dcfm('replay', drive_bag, '--topic', '/camera/image_raw', *arguments)
    assert outcome.returncode == 1
    assert message in outcome.stderr
