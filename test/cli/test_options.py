"""The options that verbs take from the dataclasses of options."""

from __future__ import annotations

from typing import Annotated

from command import dcfm
import pytest
import typer
from typer.testing import CliRunner

from dcfm_ros.cli.options import takes_options
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.replay.online.options import OnlineOptions


def run(*arguments, fields=()):
    """What a verb with the shared options gets; the error if it gets nothing."""
    got = {}

    @takes_options(*fields)
    def verb(
        source: Annotated[str, typer.Argument()] = 'a',
        *,
        engine: EngineOptions,
        schedule: ScheduleOptions,
        playing: OnlineOptions,
    ) -> None:
        got.update(source=source, engine=engine, schedule=schedule, playing=playing)

    app = typer.Typer()
    app.command()(verb)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return got, str(result.exception or '') + result.output


def test_verb_without_options_has_the_defaults():
    got, _ = run('b')
    assert got['source'] == 'b'
    assert (got['engine'], got['schedule']) == (EngineOptions(), ScheduleOptions())
    assert got['playing'] == OnlineOptions()


def test_options_fill_the_fields():
    got, _ = run(
        *('--interval', 5, '--height', 64, '--motion', 'flow', '--max-time-gap', 0),
        *('--rates', '5,7.5', '--peak-limits', '1,2'),
    )
    assert got['engine'] == EngineOptions(inference_height=64, motion='flow')
    assert got['schedule'] == ScheduleOptions(keyframe_interval=5, max_time_gap_s=0.0)
    assert got['playing'] == OnlineOptions(rates=(5.0, 7.5), peak_limits_hz=(1.0, 2.0))


def test_adaptive_is_a_schedule():
    got, _ = run('--adaptive', 0.2, '--score', 'image', '--max-interval', 9)
    assert got['schedule'] == ScheduleOptions(
        schedule='adaptive', change_threshold=0.2, keyframe_score='image', max_keyframe_interval=9
    )


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--score', 'image'], '--score (image) needs --adaptive'),
        (['--max-interval', 3], '--max-interval (3) needs --adaptive'),
        (['--adaptive', 0.1, '--interval', 2], 'give one of --interval (2) and --adaptive (0.1)'),
        (['--slices', 2], '--slices (2) needs --execution amortised'),
        (['--execution', 'both'], '`execution` must be one of sync, amortised, got'),
        (['--interval', 0], '--interval'),
        (['--device', 'gpu'], '`device` must be one of auto, cpu, cuda, cuda:N'),
        (['--rates', '1,a'], '`rates` must be numbers with commas between'),
    ],
)
def test_values_that_do_not_fit_are_errors(arguments, message):
    got, error = run(*arguments)
    assert not got
    assert message in error


def test_verb_may_offer_some_fields_only():
    got, _ = run('--device', 'cpu', fields=('device', 'backend'))
    assert got['engine'] == EngineOptions(device='cpu')
    got, error = run('--interval', 2, fields=('device',))
    assert not got
    assert 'No such option' in error


@pytest.mark.parametrize('verb', ['segment', 'demo', 'replay'])
def test_help_has_the_text_of_the_specs(verb):
    text = ' '.join(dcfm(verb, '--help').stdout.replace('│', ' ').split())
    assert '--interval' in text
    assert 'Frames from keyframe' in text
    assert '(3)' in text  # the default
