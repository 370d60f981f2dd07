"""`NodeParameters`: the one table of the node's parameters.

Declaration, descriptors, checks, `config/segmentation.yaml` and the table in `docs/node.md` all
follow it; a test holds the last two to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from difflib import get_close_matches
import math
import re
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

LIVE = 'any time'
UNCONFIGURED = 'while unconfigured'
START = 'at start only'
_BUILT_IN = ('use_sim_time', 'start_type_description_service')
_TYPE_NAMES = {bool: 'bool', int: 'int', float: 'double', str: 'string'}


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
    keyframe_interval: int = _parameter(
        4,
        'A keyframe every so many frames; 1 makes every frame a keyframe.',
        minimum=1,
        maximum=1000,
        unit='frames',
    )
    execution: str = _parameter(
        'sync',
        'When the deep encoder works: on the keyframe (sync), a slice per frame (amortised), or '
        'in a thread of its own (async, CPU only).',
        choices=('sync', 'amortised', 'async'),
    )
    execution_slices: int = _parameter(
        0,
        'Frames that share the deep encoder of one keyframe, if amortised; '
        '0: as many as the keyframe interval has.',
        minimum=0,
        maximum=1000,
        unit='frames',
    )
    max_feature_age: int = _parameter(
        0,
        'Oldest feature that a mask may be made with; before it gets older, the frame waits for '
        'a new one. 0: no limit.',
        minimum=0,
        maximum=1000,
        unit='frames',
    )
    inference_height: int = _parameter(
        0,
        'Rows that the network works at, never more than the camera has; '
        '0: what the weights were trained for.',
        minimum=0,
        maximum=4320,
        unit='px',
    )
    cpu_threads: int = _parameter(
        0,
        'Threads for network and image work, to leave cores to others; 0: the libraries decide.',
        minimum=0,
        maximum=1024,
        unit='threads',
    )
    overlay_alpha: float = _parameter(
        0.5,
        'Weight of the class colours in the overlay.',
        minimum=0.0,
        maximum=1.0,
        changeable=LIVE,
    )
    deadline_ms: float = _parameter(
        0.0,
        'Diagnostics warn when the p95 latency is above this; 0: never.',
        minimum=0.0,
        maximum=60000.0,
        unit='ms',
        changeable=LIVE,
    )
    no_image_warning_s: float = _parameter(
        5.0,
        'Diagnostics warn when no image came for so long; 0: never.',
        minimum=0.0,
        maximum=3600.0,
        unit='s',
        changeable=LIVE,
    )
    autostart: bool = _parameter(
        True, 'Configure and activate without being asked to.', changeable=START
    )


SPECS: dict[str, ParameterSpec] = {f.name: f.metadata['spec'] for f in fields(NodeParameters)}
TYPES: dict[str, type] = {f.name: type(f.default) for f in fields(NodeParameters)}


def allowed_values(name: str) -> str:
    """The values that a parameter takes, in words."""
    spec, kind = SPECS[name], TYPES[name]
    if kind is bool:
        return 'true or false'
    if kind is str:
        options = [*spec.choices, *([spec.pattern_text] if spec.pattern_text else [])]
        return f'one of {", ".join(options)}' if options else 'a text'
    noun = 'a whole number' if kind is int else 'a number'
    return f'{noun} from {spec.minimum} to {spec.maximum}'


def type_name(name: str) -> str:
    """The ROS type of a parameter: 'bool', 'int', 'double' or 'string'."""
    return _TYPE_NAMES[TYPES[name]]


def problem(name: str, value: object) -> str:
    """What is wrong with a value, naming what is allowed; '' if nothing is."""
    if _is_allowed(name, value):
        return ''
    return f'`{name}` must be {allowed_values(name)}, got {value!r}'


def declare(node: Node) -> list[str]:
    """Declare all parameters with the values given at start.

    The node must have been made with `automatically_declare_parameters_from_overrides`: only so
    all values given at start can be seen, also those with a name that nobody knows.

    Returns:
        One warning for each value given for a parameter that does not exist.

    Raises:
        ValueError: If values are not allowed; one line for each of them.
    """
    entries: dict[str, Any] = node.get_parameters_by_prefix('')
    given = {name: entry.value for name, entry in entries.items()}
    values = {f.name: given.get(f.name, f.default) for f in fields(NodeParameters)}
    for name, value in values.items():
        if TYPES[name] is float and type(value) is int:
            values[name] = float(value)  # `overlay_alpha:=1` is no mistake
    if problems := [text for name, value in values.items() if (text := problem(name, value))]:
        raise ValueError('\n'.join(problems))
    for name, value in values.items():
        if name in given:
            node.undeclare_parameter(name)
        node.declare_parameter(name, value, _descriptor(name), ignore_override=True)
    unknown = [name for name in given if name not in SPECS and name not in _BUILT_IN]
    return [_unknown_text(name) for name in unknown]


def read(node: Node) -> NodeParameters:
    """The values of now."""
    return NodeParameters(**{name: node.get_parameter(name).value for name in SPECS})


def refusal(name: str, value: object, state: str) -> str:
    """Why a parameter may not be set to a value in a lifecycle state; '' if it may.

    A parameter that is used at configuration only is refused in other states, since it would read
    as set without being in effect.
    """
    if name not in SPECS:
        return ''
    if text := problem(name, value):
        return text
    if SPECS[name].changeable == UNCONFIGURED and state != 'unconfigured':
        how = 'deactivate and clean up the node first'
        return f'`{name}` can be changed {UNCONFIGURED} only, and the node is {state}: {how}'
    return ''


def _is_allowed(name: str, value: object) -> bool:
    spec, kind = SPECS[name], TYPES[name]
    if type(value) is not kind:
        return False
    if isinstance(value, str):
        is_free = not spec.choices and not spec.pattern
        return is_free or value in spec.choices or bool(re.fullmatch(spec.pattern, value))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return True
    low = -math.inf if spec.minimum is None else spec.minimum
    high = math.inf if spec.maximum is None else spec.maximum
    return low <= value <= high


def _descriptor(name: str) -> ParameterDescriptor:
    spec, kind = SPECS[name], TYPES[name]
    unit = f' Unit: {spec.unit}.' if spec.unit else ''
    descriptor = ParameterDescriptor(
        name=name,
        description=f'{spec.description}{unit} Can be changed {spec.changeable}.',
        additional_constraints=f'Must be {allowed_values(name)}.',
        read_only=spec.changeable == START,
    )
    if kind is int:
        limits = IntegerRange(from_value=spec.minimum, to_value=spec.maximum, step=1)
        descriptor.integer_range = [limits]
    elif kind is float:
        # step 0: any value between; with a step, sliders and sums of it are refused.
        limits = FloatingPointRange(from_value=spec.minimum, to_value=spec.maximum, step=0.0)
        descriptor.floating_point_range = [limits]
    return descriptor


def _unknown_text(name: str) -> str:
    close = get_close_matches(name, SPECS, n=1)
    hint = f'; did you mean `{close[0]}`?' if close else ''
    return f'`{name}` is not a parameter of this node and is ignored{hint}'
