"""`NodeParameters`: the table of segmentation_node's parameters."""

from __future__ import annotations

from dataclasses import dataclass, fields

from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.option_spec import option
from dcfm_ros.ros.parameters.spec import LIVE, START

REMOVED = {
    'confidence_drop': 'there is no replacement',
    'deadline_ms': 'use `max_allowed_processing_time_ms`',
    'max_feature_age': 'use `max_feature_age_s`, in seconds',
    'max_keyframe_interval_s': 'use `max_keyframe_interval`, in frames, or `max_feature_age_s`',
    'min_keyframe_interval_s': 'use `min_keyframe_interval`, in frames',
}
"""Parameters of former versions, and what to use instead."""


@dataclass(frozen=True, kw_only=True)
class NodeParameters(EngineOptions, ScheduleOptions):
    """The options of the engine, under their own names, and those of the node itself.

    Raises:
        ValueError: If a value is not allowed, on its own or beside the others.
    """

    checkpoint: str = option(
        '',
        'Weights file (safetensors), or the name of packaged weights. Empty: default.',
    )
    cameras: tuple[str, ...] = option(
        (),
        'Names of several cameras, each a prefix of its topics: front/image, front/mask, ... '
        "['']: one camera without a name.",
        pattern=r'[A-Za-z][A-Za-z0-9_]*',
        pattern_text='a letter, then letters, digits and _',
    )
    image_transport: str = option(
        'raw',
        'Subscribe to image, or to image/compressed (JPEG, PNG).',
        choices=('raw', 'compressed'),
    )
    cpu_threads: int = option(
        0,
        'Threads for network and image processing, to leave cores to other processes; 0: the '
        'libraries decide.',
        maximum=1024,
        unit='threads',
    )
    output_width: int = option(
        0,
        "Columns of the published images, nearest neighbour; 0: the camera's.",
        changeable=LIVE,
        maximum=7680,
        unit='px',
    )
    output_height: int = option(
        0,
        "Rows of the published images, nearest neighbour; 0: the camera's.",
        changeable=LIVE,
        maximum=4320,
        unit='px',
    )
    groups_file: str = option(
        '',
        'File of groups of classes, {group: [class, ...]} in YAML, published as groups/mask and '
        'as masks/<group>. Empty: no groups.',
    )
    palette_file: str = option(
        '',
        'File of colours of the classes, {id: {name, rgb}} in YAML or JSON; classes are found by '
        "name. Empty: the checkpoint's.",
    )
    publish_confidence: bool = option(
        True, 'Publish confidence while it has subscribers.', changeable=LIVE
    )
    publish_color_mask: bool = option(
        True, 'Publish color_mask while it has subscribers.', changeable=LIVE
    )
    publish_overlay: bool = option(
        True, 'Publish overlay while it has subscribers.', changeable=LIVE
    )
    publish_compressed_mask: bool = option(
        True, 'Publish mask/compressed (PNG) while it has subscribers.', changeable=LIVE
    )
    publish_timing: bool = option(True, 'Publish ~/timing.', changeable=LIVE)
    publish_camera_info: bool = option(
        False, 'Subscribe to camera_info and publish mask/camera_info, scaled to the mask.'
    )
    overlay_alpha: float = option(
        0.5, 'Opacity of the class colours in the overlay.', changeable=LIVE, maximum=1.0
    )
    no_image_warning_s: float = option(
        5.0,
        'Time without an image before diagnostics warn; 0: never.',
        changeable=LIVE,
        maximum=3600.0,
        unit='s',
    )
    max_allowed_processing_time_ms: float = option(
        0.0,
        'Longest time that a frame may take, from the worker taking it to its last output; '
        'diagnostics warn of a longer one. 0: no limit.',
        changeable=LIVE,
        maximum=60000.0,
        unit='ms',
    )
    max_acceptable_consecutive_delay_ms: float = option(
        0.0,
        'Longest time that late frames in a row may take together; diagnostics report an error '
        'above it. 0: no limit.',
        changeable=LIVE,
        maximum=3600000.0,
        unit='ms',
    )
    validation_callback_interval_ms: float = option(
        100.0,
        'Interval of the check of processing times, if max_allowed_processing_time_ms is set.',
        changeable=LIVE,
        minimum=1.0,
        maximum=10000.0,
        unit='ms',
    )
    autostart: bool = option(True, 'Configure and activate the node at start.', changeable=START)

    @property
    def engine_options(self) -> EngineOptions:
        """How the network is run."""
        return EngineOptions(**{f.name: getattr(self, f.name) for f in fields(EngineOptions)})

    @property
    def schedule_options(self) -> ScheduleOptions:
        """When keyframes are due."""
        return ScheduleOptions(**{f.name: getattr(self, f.name) for f in fields(ScheduleOptions)})

    def __post_init__(self) -> None:
        ScheduleOptions.__post_init__(self)  # all values, then the limits of the interval
