"""`CloudParameters`: the table of semantic_cloud_node's parameters."""

from __future__ import annotations

from dataclasses import dataclass

from dcfm_ros.option_spec import check_options, option
from dcfm_ros.ros.parameters.spec import LIVE, START

FIELDS = ('x', 'y', 'z', 'rgb', 'label', 'confidence')
"""Of every point of a cloud, whatever the parameters are."""


@dataclass(frozen=True, kw_only=True)
class CloudParameters:
    """Values of all parameters.

    Raises:
        ValueError: If a value is not allowed.
    """

    max_time_difference_ms: float = option(
        20.0,
        'Largest difference between the stamps of a depth image and its mask; 0: equal stamps '
        'only.',
        changeable=LIVE,
        maximum=1000.0,
        unit='ms',
    )
    queue_size: int = option(
        30,
        'Depth images that may wait for their masks; must span the latency of the masks.',
        changeable=START,
        minimum=1,
        maximum=1000,
        unit='messages',
    )
    use_confidence: bool = option(
        True,
        'Subscribe to confidence and wait for that of each mask; otherwise it is 1.0.',
        changeable=START,
    )
    color: str = option(
        'class',
        'Colour of the points: that of the class (class), or of the camera image (image), which '
        'the cloud then waits for.',
        changeable=START,
        choices=('class', 'image'),
    )
    stride: int = option(
        1,
        'Step between the rows and columns of the depth image that become points.',
        changeable=LIVE,
        minimum=1,
        maximum=64,
        unit='px',
    )
    min_range: float = option(
        0.0, 'Smallest valid depth.', changeable=LIVE, maximum=1000.0, unit='m'
    )
    max_range: float = option(
        0.0, 'Largest valid depth; 0: no limit.', changeable=LIVE, maximum=1000.0, unit='m'
    )
    min_confidence: float = option(
        0.0,
        'Lowest confidence of a point; without a point x, y and z are NaN and confidence is 0.',
        changeable=LIVE,
        maximum=1.0,
    )
    drop_unlabelled: bool = option(
        True,
        'No points where the class is 255 (unlabelled) or, once labels have come, an id without '
        'a name.',
        changeable=LIVE,
    )
    drop_labels: tuple[str, ...] = option(
        (),
        "Classes, by name or id, that make no points; ['']: none.",
        changeable=LIVE,
        pattern=r'.+',
        pattern_text='class names or ids',
    )
    keep_labels: tuple[str, ...] = option(
        (),
        "Classes, by name or id, that points/filtered keeps; ['']: all that have a name.",
        changeable=LIVE,
        pattern=r'.+',
        pattern_text='class names or ids',
    )
    channels: tuple[str, ...] = option(
        (),
        "Classes, by name, that get a field of their own in the clouds (float32): the point's "
        "confidence if it is of the class, 0 otherwise; ['']: none.",
        changeable=LIVE,
        pattern=r'.+',
        pattern_text='class names',
    )
    no_image_warning_s: float = option(
        5.0,
        'Time without a depth image, or without a cloud, before diagnostics warn; 0: never.',
        changeable=LIVE,
        maximum=3600.0,
        unit='s',
    )

    def __post_init__(self) -> None:
        check_options(self)
        if taken := [name for name in self.channels if name in FIELDS]:
            raise ValueError(
                f'`channels` must have other names than the fields {", ".join(FIELDS)}, got '
                f'{", ".join(taken)}'
            )
