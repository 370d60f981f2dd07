"""`FrameTiming`: what `~/timing` says of a frame, for those who write it and those who read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
import math

from dcfm_ros.ros.health.status import Level, Status

INPUT_STAGES = ('convert', 'decode_image')
"""How a raw and a compressed image become RGB."""
ENGINE_STAGES = ('preprocess', 'independent', 'common', 'motion', 'decode', 'blend', 'mask')
_TIMES = ('feature_age_ms', 'wait_ms', 'latency_ms')


@dataclass(frozen=True, kw_only=True)
class FrameTiming:
    """The values of one frame; the only place that knows their keys.

    A stage that did not run has no key and counts as 0 ms.
    """

    is_keyframe: bool = False
    reason: str = ''
    """Why it is a keyframe; '' if it is none."""
    keyframe_age: int = 0
    """Frames since the keyframe whose common feature was used."""
    feature_age_ms: float = math.nan
    """The same between the header stamps."""
    change_score: float = math.nan
    stage_ms: Mapping[str, float] = field(default_factory=dict)
    """What the node spent on the frame: an input stage, the engine's stages and 'publish'."""
    wait_ms: float = 0.0
    """From the arrival of the image until the worker took it."""
    latency_ms: float = math.nan
    """From the arrival of the image to its published mask."""
    frames_dropped: int = 0
    """Frames without a mask since the start of the node."""

    @property
    def input_ms(self) -> float:
        """Spent on converting or decoding the image."""
        return self._sum_of(INPUT_STAGES)

    @property
    def share_ms(self) -> float:
        """The node's share of the latency: all but the engine."""
        return self.latency_ms - self._sum_of(ENGINE_STAGES)

    def to_values(self) -> dict[str, str]:
        """Key and text of each value, as in a DiagnosticStatus."""
        values = {
            'is_keyframe': str(self.is_keyframe).lower(),
            'reason': self.reason,
            'keyframe_age': str(self.keyframe_age),
            'feature_age_ms': f'{self.feature_age_ms:.3f}',
            'change_score': f'{self.change_score:.4f}',
        }
        values |= {f'{stage}_ms': f'{value:.3f}' for stage, value in self.stage_ms.items()}
        values['wait_ms'] = f'{self.wait_ms:.3f}'
        values['latency_ms'] = f'{self.latency_ms:.3f}'
        values['frames_dropped'] = str(self.frames_dropped)
        return values

    @classmethod
    def from_values(cls, values: Mapping[str, str]) -> FrameTiming:
        """Inverse of `to_values`; what is absent has its default.

        Raises:
            ValueError: If a number is none.
        """
        stage_ms = {
            key.removesuffix('_ms'): float(text)
            for key, text in values.items()
            if key.endswith('_ms') and key not in _TIMES
        }
        texts = {name: values[name] for name in (*_TIMES, 'change_score') if name in values}
        return cls(
            is_keyframe=values.get('is_keyframe') == 'true',
            reason=values.get('reason', ''),
            keyframe_age=int(values.get('keyframe_age', 0)),
            stage_ms=stage_ms,
            frames_dropped=int(values.get('frames_dropped', 0)),
            **{name: float(text) for name, text in texts.items()},
        )

    def status(self, task: str = 'frame') -> Status:
        """As a line of diagnostics."""
        message = f'keyframe ({self.reason})' if self.is_keyframe else 'non-key frame'
        return Status(task=task, level=Level.OK, message=message, values=self.to_values())

    def _sum_of(self, stages: tuple[str, ...]) -> float:
        return sum(self.stage_ms.get(stage, 0.0) for stage in stages)
