"""`NodeParameters`: the one table of the node's parameters.

Declaration, descriptors, checks, `config/segmentation.yaml` and the table in `docs/node.md` all
follow it; a test holds the last two to it. What is said of values here is applied by
`parameter_rules`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

LIVE = 'any time'
UNCONFIGURED = 'while unconfigured'
START = 'at start only'


@dataclass(frozen=True, kw_only=True)
class ParameterSpec:
    """What a parameter means and which values it takes."""

    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ''
    """Regular expression of further texts beside `choices`, and `pattern_text` in words."""
    pattern_text: str = ''
    unit: str = ''
    changeable: str = UNCONFIGURED
    """`LIVE`, `UNCONFIGURED` or `START`."""


def _parameter(default: Any, description: str, **spec: Any) -> Any:
    return field(
        default=default, metadata={'spec': ParameterSpec(description=description, **spec)}
    )


def _number(default: float, maximum: float, unit: str, description: str, **spec: Any) -> Any:
    """A number from 0, of the type of `default`."""
    limits = {'minimum': type(default)(0), 'maximum': type(default)(maximum)}
    return _parameter(default, description, unit=unit, **(limits | spec))


def _live(default: float, maximum: float, unit: str, description: str, **spec: Any) -> Any:
    return _number(default, maximum, unit, description, changeable=LIVE, **spec)


def _output(description: str) -> Any:
    return _parameter(True, description, changeable=LIVE)


@dataclass(frozen=True, kw_only=True)
class NodeParameters:
    """Values of all parameters; the defaults are the node's."""

    checkpoint: str = _parameter(
        '',
        'Weights file (safetensors), or default or accurate, which are packaged; empty: default.',
    )
    device: str = _parameter(
        'auto',
        'Where the network runs; auto takes CUDA where there is one.',
        choices=('auto', 'cpu', 'cuda'),
        pattern=r'cuda:\d{1,3}',
        pattern_text='cuda:N',
    )
    backend: str = _parameter(
        'auto',
        'What runs the network; auto takes OpenVINO on the CPU where it is installed, '
        'else PyTorch (torch).',
        choices=('auto', 'torch', 'openvino', 'onnxruntime'),
    )
    precision: str = _parameter(
        'auto',
        'What the network is computed in; less than fp32 with torch only. auto: that of the '
        'checkpoint, but bf16 with openvino where the CPU computes it in hardware.',
        choices=('auto', 'fp32', 'bf16', 'fp16'),
    )
    cameras: tuple[str, ...] = _parameter(
        (),
        "Names of several cameras, which go before every topic's: front/image, front/mask, ...; "
        "['']: one camera without a name.",
        pattern=r'[A-Za-z][A-Za-z0-9_]*',
        pattern_text='a letter, then letters, digits and _',
    )
    image_transport: str = _parameter(
        'raw',
        'Whether to take image, or image/compressed (JPEG, PNG).',
        choices=('raw', 'compressed'),
    )
    schedule: str = _parameter(
        'fixed',
        'When keyframes are due: every keyframe_interval frames (fixed), or when the image has '
        'changed by change_threshold (adaptive).',
        choices=('fixed', 'adaptive'),
        changeable=LIVE,
    )
    keyframe_interval: int = _live(
        3,
        1000,
        'frames',
        'A keyframe every so many frames, if fixed; 1 makes every frame a keyframe.',
        minimum=1,
    )
    keyframe_score: str = _parameter(
        'feature',
        'What change is measured on, if adaptive: the image, or the feature of the shallow '
        'encoder.',
        choices=('image', 'feature'),
        changeable=LIVE,
    )
    change_threshold: float = _live(
        0.036,
        100.0,
        '',
        'Change since the keyframe that makes the next one, if adaptive; on the scale of '
        'keyframe_score.',
    )
    min_keyframe_interval: int = _live(
        0, 1000, 'frames', 'From keyframe to keyframe at least, if adaptive; 0: no limit.'
    )
    max_keyframe_interval: int = _live(
        0, 1000, 'frames', 'From keyframe to keyframe at most; 0: no limit.'
    )
    min_keyframe_interval_s: float = _live(
        0.0,
        3600.0,
        's',
        'From keyframe to keyframe at least, between header stamps, if adaptive; 0: no limit.',
    )
    max_keyframe_interval_s: float = _live(
        0.0,
        3600.0,
        's',
        'From keyframe to keyframe at most, between header stamps; 0: no limit.',
    )
    confidence_drop: float = _live(
        0.0,
        1.0,
        '',
        "A keyframe when the mean confidence has fallen by so much since the last keyframe's, "
        'if adaptive; 0: never for that.',
    )
    max_feature_age: int = _live(
        0,
        1000,
        'frames',
        'Oldest feature that a mask may be made with; before it gets older, the frame waits for '
        'a new one. 0: no limit.',
    )
    max_feature_age_s: float = _live(
        0.0, 3600.0, 's', 'The same between header stamps. 0: no limit.'
    )
    max_time_gap_s: float = _live(
        1.0,
        3600.0,
        's',
        'Header stamps of two frames farther apart than this make a keyframe; 0: never.',
    )
    execution: str = _parameter(
        'sync',
        'When the deep encoder works: on the keyframe (sync), a slice per frame (amortised), or '
        'in a thread of its own (async, CPU only).',
        choices=('sync', 'amortised', 'async'),
    )
    execution_slices: int = _number(
        0,
        1000,
        'frames',
        'Frames that share the deep encoder of one keyframe, if amortised; '
        '0: as many as keyframe_interval says at configuration.',
    )
    motion: str = _parameter(
        'auto',
        'What is done about motion since a keyframe: its feature stays (none, as in the paper) or '
        'is moved along the optical flow (flow); auto: as the checkpoint says.',
        choices=('auto', 'none', 'flow'),
    )
    inference_height: int = _number(
        0,
        4320,
        'px',
        'Rows that the network works at, never more than the camera has; '
        '0: what the weights were trained for.',
    )
    cpu_threads: int = _number(
        0,
        1024,
        'threads',
        'Threads for network and image work, to leave cores to others; 0: the libraries decide.',
    )
    output_width: int = _live(
        0, 7680, 'px', "Columns of what is published, nearest neighbour; 0: the camera's."
    )
    output_height: int = _live(
        0, 4320, 'px', "Rows of what is published, nearest neighbour; 0: the camera's."
    )
    publish_confidence: bool = _output('Publish confidence while somebody listens.')
    publish_color_mask: bool = _output('Publish color_mask while somebody listens.')
    publish_overlay: bool = _output('Publish overlay while somebody listens.')
    publish_compressed_mask: bool = _output(
        'Publish mask/compressed (PNG) while somebody listens.'
    )
    publish_timing: bool = _output('Publish ~/timing.')
    publish_camera_info: bool = _parameter(
        False, 'Take camera_info and publish it as mask/camera_info, scaled to the mask.'
    )
    overlay_alpha: float = _live(0.5, 1.0, '', 'Weight of the class colours in the overlay.')
    deadline_ms: float = _live(
        0.0, 60000.0, 'ms', 'Diagnostics warn when the p95 latency is above this; 0: never.'
    )
    no_image_warning_s: float = _live(
        5.0, 3600.0, 's', 'Diagnostics warn when no image came for so long; 0: never.'
    )
    max_allowed_processing_time_ms: float = _live(
        0.0, 60000.0, 'ms', 'Diagnostics warn when the work on a frame takes longer; 0: never.'
    )
    max_acceptable_consecutive_delay_ms: float = _live(
        0.0,
        3600000.0,
        'ms',
        'Diagnostics report an error when frames in a row, each above '
        'max_allowed_processing_time_ms, have taken more than this together; 0: never.',
    )
    validation_callback_interval_ms: float = _live(
        100.0,
        10000.0,
        'ms',
        'How often processing times are checked and told, if max_allowed_processing_time_ms is '
        'not 0.',
        minimum=1.0,
    )
    autostart: bool = _parameter(
        True, 'Configure and activate without being asked to.', changeable=START
    )


def specs_of(table: Any) -> dict[str, ParameterSpec]:
    """What a table like `NodeParameters` says of its parameters, by name."""
    return {f.name: f.metadata['spec'] for f in fields(table)}


def types_of(table: Any) -> dict[str, type]:
    """The Python types of the parameters of a table, by name."""
    return {f.name: type(f.default) for f in fields(table)}


SPECS = specs_of(NodeParameters)
TYPES = types_of(NodeParameters)
