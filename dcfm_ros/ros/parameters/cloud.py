"""`CloudParameters`: the table of semantic_cloud_node's parameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dcfm_ros.ros.parameters.segmentation import LIVE, START, ParameterSpec


def _parameter(default: Any, description: str, changeable: str = LIVE, **spec: Any) -> Any:
    table_row = ParameterSpec(description=description, changeable=changeable, **spec)
    return field(default=default, metadata={'spec': table_row})


@dataclass(frozen=True, kw_only=True)
class CloudParameters:
    """Values of all parameters; the defaults are the node's."""

    max_time_difference_ms: float = _parameter(
        20.0,
        'Largest difference between the stamps of a depth image and of the mask that it gets; '
        '0: equal stamps only.',
        minimum=0.0,
        maximum=1000.0,
        unit='ms',
    )
    queue_size: int = _parameter(
        30,
        'How many depth images wait for their masks. Must span the latency of the masks.',
        changeable=START,
        minimum=1,
        maximum=1000,
        unit='messages',
    )
    use_confidence: bool = _parameter(
        True,
        'Take the confidence of each mask from confidence and wait for it; without, it is 1.0.',
        changeable=START,
    )
    color: str = _parameter(
        'class',
        'What rgb shows: the colour of the class (class), or the camera image (image), which the '
        'cloud then waits for.',
        changeable=START,
        choices=('class', 'image'),
    )
    stride: int = _parameter(
        1,
        'Take every so many rows and columns of the depth image only.',
        minimum=1,
        maximum=64,
        unit='px',
    )
    min_range: float = _parameter(
        0.0,
        'Nearer depths are invalid.',
        minimum=0.0,
        maximum=1000.0,
        unit='m',
    )
    max_range: float = _parameter(
        0.0,
        'Farther depths are invalid; 0: none are.',
        minimum=0.0,
        maximum=1000.0,
        unit='m',
    )
    keep_labels: tuple[str, ...] = _parameter(
        (),
        "Classes, by name or id, that points/filtered keeps; ['']: all that labels names.",
        pattern=r'.+',
        pattern_text='class names or ids',
    )
    min_confidence: float = _parameter(
        0.0,
        'Points of less confidence are not in points/filtered.',
        minimum=0.0,
        maximum=1.0,
    )
    no_image_warning_s: float = _parameter(
        5.0,
        'Diagnostics warn when no depth image came for so long, or no cloud; 0: never.',
        minimum=0.0,
        maximum=3600.0,
        unit='s',
    )
