"""The jobs of an evaluation, each a pass over one clip, and rows of figures from their counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from dcfm_ros.backends.choice import Network
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.masks.groups import ClassGroups
from dcfm_ros.training.ablated_network import make_engine
from dcfm_ros.training.evaluation.averaged_views import Engine, FlippedEngine, MultiScaleEngine
from dcfm_ros.training.evaluation.clip_passes import score_label_hold, score_pass
from dcfm_ros.training.evaluation.frame_times import FrameTimes, MeasuredTimes
from dcfm_ros.training.evaluation.group_scores import group_figures
from dcfm_ros.training.evaluation.scores import LabelHold, PassScores, or_none
from dcfm_ros.training.evaluation.setting import ALL_KEYFRAMES, PER_FRAME, Setting
from dcfm_ros.training.evaluation.streaming import StreamScores, score_stream
from dcfm_ros.training.footage.clips import Clip
from dcfm_ros.training.footage.decoding import read_frame


@dataclass(frozen=True, kw_only=True)
class Options:
    """How networks are run; the same for all rows."""

    engine: EngineOptions = field(default_factory=EngineOptions)
    """Of each worker; `execution` is that of the row. `inference_height` 0: the rows that each
    network was trained at, or, where these are not known, those of the images."""
    flip: bool = False
    """Average the logits with those of the mirrored image."""
    scales: tuple[float, ...] = ()
    """Average the logits over sizes of the image, as factors; for images only, not video."""
    streaming: bool = True
    """Measure streaming accuracy too, in mode 'past'."""
    frame_times: FrameTimes | None = None
    """What frames take in the streaming accuracy; None: what the engine took."""
    rate_hz: float | None = None
    """Of the camera in the streaming accuracy, frames per second; None: that of each clip."""

    def heights(self, names: Iterable[str], trained: Mapping[str, int]) -> dict[str, int]:
        """Rows that each network works at, from those of its training; 0: those of the images."""
        return {name: self.engine.inference_height or trained.get(name, 0) for name in names}

    def as_run(self, net: Network, settings: Iterable[Setting]) -> list[Setting]:
        """The settings of a network: no stream where nothing is blended."""
        is_blended = self.engine.blending_of(net.config) and not self.scales
        return [one if is_blended else replace(one, is_stream=False) for one in settings]

    def make_engine(self, net: Network, height: int = 0, setting: Setting = PER_FRAME) -> Engine:
        """The engine that these options and a setting ask for, for a network at some rows."""
        rows = 0 if self.scales else height
        options = replace(setting.of_engine(self.engine), inference_height=rows)
        engine = make_engine(net, options, setting.keyframes)
        if self.scales:
            return MultiScaleEngine(engine, self.scales, height, flip=self.flip)
        return FlippedEngine(engine) if self.flip else engine


@dataclass(frozen=True)
class Plan:
    """Which network runs how."""

    network: str
    setting: Setting

    def __post_init__(self) -> None:
        if not self.setting.is_adaptive and self.setting.interval == 1:
            # With keyframes only, neither phase nor mode makes a difference.
            only = ALL_KEYFRAMES if self.setting.is_stream else PER_FRAME
            object.__setattr__(self, 'setting', only)

    @property
    def is_video(self) -> bool:
        """False if every frame is a keyframe."""
        return self.setting not in (ALL_KEYFRAMES, PER_FRAME)

    def jobs(self, clips: Sequence[Clip], *, streaming: bool) -> Iterator[Job]:
        """All jobs of this plan."""
        for index, clip in enumerate(clips):
            for start in self.setting.starts(len(clip.frames), index):
                yield Job(index, self, start)
        if streaming and self.setting.mode == 'past':
            yield from (Job(i, self) for i, clip in enumerate(clips) if len(clip.frames) > 1)


@dataclass(frozen=True)
class Job:
    """A pass over a clip, or a live run over it (no `start`), or its label hold (no `plan`)."""

    clip: int
    plan: Plan | None = None
    start: int | None = None


class ClipWork:
    """Does jobs; every worker process builds the engines that it needs, once.

    Live runs of a plan come after its passes: where no times are assumed, a frame takes what
    frames like it took there, so that a hiccup of the machine drops no frame.
    """

    def __init__(
        self,
        nets: Mapping[str, Network],
        clips: Sequence[Clip],
        options: Options,
        heights: Mapping[str, int],
    ) -> None:
        """Nothing is built yet; `heights` are each network's rows, 0: those of the images."""
        self._nets = dict(nets)
        self._clips = clips
        self._options = options
        self._heights = dict(heights)
        self._engines: dict[tuple[str, str, int, bool], Engine] = {}
        self._times: defaultdict[Plan, MeasuredTimes] = defaultdict(MeasuredTimes)

    def __call__(self, job: Job) -> PassScores | StreamScores | LabelHold:
        """Counts of one job."""
        clip = self._clips[job.clip]
        if job.plan is None:
            return score_label_hold(clip)
        setting, engine = job.plan.setting, self._engine(job.plan, clip)
        if job.start is not None:
            height = self._heights[job.plan.network]
            scores = score_pass(engine, clip, setting, job.start, height)
            # One that has failed is PyTorch by now.
            scores.computed_by.add((engine.backend.name, engine.backend.precision))
            self._times[job.plan].merge(scores.times)
            return scores
        engine.schedule = setting.keyframes
        frame_ms = self._times[job.plan].of
        if assumed := self._options.frame_times:
            frame_ms = partial(assumed.of, num_slices=setting.num_slices)
        return score_stream(engine, clip, frame_ms, self._options.rate_hz)

    def _engine(self, plan: Plan, clip: Clip) -> Engine:
        name, setting = plan.network, plan.setting
        key = (name, setting.execution, setting.num_slices, setting.is_stream)
        if key not in self._engines:
            net, height = self._nets[name], self._heights[name]
            engine = self._engines[key] = self._options.make_engine(net, height, setting)
            image, _ = read_frame(clip.frames[0], clip.labels)
            for stamp_ns in (0, 1):  # warm-up, lest the first frames measured be the slowest
                engine.step(image, stamp_ns)
        return self._engines[key]


def row_of(
    passes: PassScores,
    stream: StreamScores,
    class_names: Sequence[str],
    setting: Setting,
    schedule: str,
    groups: ClassGroups | None = None,
) -> dict[str, object]:
    """Figures of a row of the JSON.

    Args:
        passes: Counts of all passes of its plan.
        stream: Counts of all its live runs.
        class_names: Of the labels.
        setting: As it was asked for.
        schedule: 'fixed', 'adaptive', 'per_frame', or 'hold' for the keyframes' masks.
        groups: Of the classes.
    """
    is_hold = schedule == 'hold'
    scores = passes.hold if is_hold else passes.engine
    values = scores.values(class_names)
    if groups is not None:
        values |= group_figures(scores.pooled(), groups)
    if setting.is_adaptive or setting.delay:
        # Of all frames, for few may have a label, and none may have a feature of its own.
        values['keyframe_share'] = passes.keyframe_share()
    row = {
        **setting.values(),
        'schedule': schedule,
        'average_interval': passes.average_interval(),
        **values,
    }
    if not is_hold:
        row['ece'] = or_none(passes.reliability.error())
        for name, held in (('hold', passes.hold), ('label_hold', passes.label_hold)):
            figures = held.values(class_names)
            row |= {f'{name}_{key}': figures[key] for key in ('miou', 'miou_nonkey')}
        row |= passes.timed(passes.engine.by_age()) | stream.values()
    return row
