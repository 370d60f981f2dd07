from __future__ import annotations

import pytest

from dcfm_ros.option_spec import allowed_values
from dcfm_ros.ros.parameters.cloud import CloudParameters
from dcfm_ros.ros.parameters.launch_arguments import launch_argument, value_type
from dcfm_ros.ros.parameters.segmentation import NodeParameters


@pytest.mark.parametrize(
    ('name', 'choices'),
    [
        ('execution', ['', 'sync', 'amortised']),
        ('autostart', ['', 'true', 'false']),
        ('device', None),  # cuda:N is no choice
        ('keyframe_interval', None),
    ],
)
def test_choices_are_those_of_the_parameter(name: str, choices: list[str] | None) -> None:
    argument = launch_argument(name, NodeParameters)
    assert argument.get('choices') == choices
    assert argument['default_value'] == ''
    for choice in choices or ():
        assert choice in ['', 'true', 'false'] or choice in allowed_values(name, NodeParameters)


def test_description_is_that_of_the_parameter() -> None:
    assert launch_argument('max_range', CloudParameters)['description'] == (
        'Largest valid depth; 0: no limit. Unit: m. Empty: as in params_file.'
    )


def test_texts_stay_texts_and_yaml_decides_on_the_rest() -> None:
    kinds = {n: value_type(n, NodeParameters) for n in ('device', 'autostart', 'use_sim_time')}
    assert kinds == {'device': str, 'autostart': None, 'use_sim_time': None}
