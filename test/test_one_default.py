"""Every option of the engine has one default, wherever it can be set."""

from __future__ import annotations

from dataclasses import fields
import inspect
import re
from typing import Any

import pytest
from repository import ROOT
from small_net import make_net
import typer

from dcfm_ros.cli import main as cli
from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.ros.parameters.segmentation import NodeParameters

DEFAULTS = {f.name: f.default for table in (ScheduleOptions, EngineOptions) for f in fields(table)}
NAMES = ('keyframe_interval', 'keyframe_score', 'motion')


def options_of_verbs() -> list[tuple[str, Any]]:
    """Each verb with each of its options that is one of the engine's."""
    group: Any = typer.main.get_command(cli.app)
    return [
        (verb, option)
        for verb, command in group.commands.items()
        for option in command.params
        if option.name in DEFAULTS and option.name != 'checkpoint'
    ]


def test_known_defaults() -> None:
    assert [DEFAULTS[name] for name in NAMES] == [3, 'feature', 'auto']


@pytest.mark.parametrize('name', NAMES)
def test_default_of_the_node_is_that_of_the_engine(name: str) -> None:
    assert getattr(NodeParameters(), name) == DEFAULTS[name]


def test_engine_without_options_has_the_defaults() -> None:
    engine = SegmentationEngine(make_net())
    assert (engine.options, engine.schedule) == (EngineOptions(), ScheduleOptions())
    parameters = inspect.signature(SegmentationEngine).parameters
    assert not parameters.keys() & DEFAULTS.keys() - {'schedule', 'backend'}


@pytest.mark.parametrize('name', NAMES)
def test_manual_shows_the_default(name: str) -> None:
    text = (ROOT / 'docs' / 'node.md').read_text(encoding='utf-8')
    (row,) = re.findall(rf'^\| `{name}` \|.*', text, re.MULTILINE)
    assert row.split(' | ')[2] == f'`{DEFAULTS[name]}`'


def test_every_verb_shows_the_default() -> None:
    options = options_of_verbs()
    assert {option.name for _, option in options} >= set(NAMES)
    shown = {
        (verb, option.name): option.show_default if option.default is None else option.default
        for verb, option in options
        if option.show_default is not False
    }
    assert {key: str(value) for key, value in shown.items()} == {
        (verb, name): str(DEFAULTS[name]) for verb, name in shown
    }
