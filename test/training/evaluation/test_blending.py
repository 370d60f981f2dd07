"""Class scores that are blended along a stream: in streams, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from settings import cpu_engine, setting
from small_net import make_net

from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.models.checkpoint import save_checkpoint
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.training.evaluation.averaged_views import FlippedEngine, MultiScaleEngine
from dcfm_ros.training.evaluation.evaluate import evaluate_clips
from dcfm_ros.training.evaluation.jobs import Options
from dcfm_ros.training.footage.clips import Clip, Frame
from dcfm_ros.training.footage.datasets import find_clips
from dcfm_ros.training.metrics import ConfusionMatrix
from dcfm_ros.training.teacher import Teacher

pytestmark = pytest.mark.train
FRAMES = 9
TORCH = Options(engine=EngineOptions(device='cpu', backend='torch'), streaming=False)


@pytest.fixture(scope='module')
def net() -> DCFM:
    """Its scores are blended unless somebody says no."""
    return make_net(motion='flow')


@pytest.fixture(scope='module')
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """A street that does not move, with noise; what it is called is drawn."""
    root, random = tmp_path_factory.mktemp('camvid'), np.random.default_rng(3)
    base = random.integers(40, 200, (64, 96, 3))
    for folder in ('val', 'valannot'):
        (root / folder).mkdir()
    for index in range(FRAMES):
        image = (base + random.integers(-6, 7, base.shape)).astype(np.uint8)
        label = random.integers(0, 11, (64, 96)).astype(np.uint8)
        name = f'0016E5_{2 * index:05d}'
        cv2.imwrite(str(root / 'val' / f'{name}.png'), image)
        cv2.imwrite(str(root / 'valannot' / f'{name}.png'), label)
    [found] = find_clips('camvid', root, 'val')
    return found


@pytest.fixture(scope='module')
def images(clip: Clip) -> list[np.ndarray]:
    return [cv2.imread(str(frame.image), cv2.IMREAD_COLOR_RGB) for frame in clip.frames]


def rows_of(net: DCFM, clip: Clip, *settings: Any, **options: Any) -> list[dict[str, Any]]:
    found = evaluate_clips(
        {'net': net}, [clip], settings, options=replace(TORCH, **options), floors=True
    )
    rows: Any = found['rows']
    return [row for row in rows if row['schedule'] != 'hold']


def miou_of(masks: Sequence[np.ndarray], clip: Clip, indices: Sequence[int]) -> Any:
    confusion = ConfusionMatrix(11)
    for mask, index in zip(masks, indices, strict=True):
        label = cv2.imread(str(clip.frames[index].label), cv2.IMREAD_UNCHANGED)
        confusion.update(mask, label)
    return pytest.approx(confusion.miou(), abs=1e-9)


def alone(net: DCFM, image: np.ndarray) -> Any:
    return cpu_engine(net, 1, backend='torch').step(image, 0)


def test_every_frame_by_itself_knows_nothing_of_the_others(
    net: DCFM, clip: Clip, images: list[np.ndarray]
) -> None:
    by_itself, stream = rows_of(net, clip, setting(interval=1))
    masks = [alone(net, image).mask for image in images]
    assert (by_itself['schedule'], stream['schedule']) == ('per_frame', 'fixed')
    assert by_itself['miou'] == miou_of(masks, clip, range(FRAMES))
    engine = cpu_engine(net, 1, backend='torch')
    masks = [engine.step(image, index).mask for index, image in enumerate(images)]
    assert stream['miou'] == miou_of(masks, clip, range(FRAMES))
    assert stream['miou'] != by_itself['miou']


def test_mode_both_at_interval_1_is_every_frame_by_itself(
    net: DCFM, clip: Clip, images: list[np.ndarray]
) -> None:
    by_itself, both = rows_of(net, clip, setting(interval=1, mode='both'))
    assert (both['mode'], both['miou']) == ('both', by_itself['miou'])
    results = cpu_engine(net, 1, backend='torch').segment_clip(images, 0, 'both')
    assert both['miou'] == miou_of([r.mask for r in results], clip, range(FRAMES))


@pytest.mark.parametrize('interval', [1, 3])
def test_mask_of_a_sparse_label_is_the_stream_s(
    net: DCFM, clip: Clip, images: list[np.ndarray], interval: int
) -> None:
    frames = tuple(f if i == 7 else Frame(f.image) for i, f in enumerate(clip.frames))
    _, row = rows_of(net, replace(clip, frames=frames), setting(interval=interval, phases='first'))
    engine = cpu_engine(net, interval, backend='torch')
    masks = [engine.step(image, index).mask for index, image in enumerate(images)]
    assert row['miou'] == miou_of(masks[7:8], clip, [7])
    later = cpu_engine(net, interval, backend='torch')
    begun = [later.step(image, index).mask for index, image in enumerate(images[6:8])][-1]
    assert not np.array_equal(begun, masks[7])


def test_mirrored_stream_is_the_mirror_of_the_stream(net: DCFM, images: list[np.ndarray]) -> None:
    plain, mirrored = (FlippedEngine(cpu_engine(net, 3, backend='torch')) for _ in range(2))
    once = cpu_engine(net, 3, backend='torch')
    for index, image in enumerate(images):
        one = plain.step(image, index)
        other = mirrored.step(np.ascontiguousarray(image[:, ::-1]), index)
        np.testing.assert_allclose(one.logits, other.logits[..., ::-1], atol=1e-4)
        assert one.is_keyframe == once.step(image, index).is_keyframe


def test_views_of_an_image_are_not_blended(net: DCFM, images: list[np.ndarray]) -> None:
    engine = MultiScaleEngine(cpu_engine(net, backend='torch'), (1.0,), flip=True)
    for image in images[:3]:
        mirrored = alone(net, np.ascontiguousarray(image[:, ::-1])).logits[..., ::-1]
        views = alone(net, image).logits, mirrored
        seen = engine.step(image, 0).logits
        expected = np.stack([cv2.resize(plane, (96, 64)) for plane in np.mean(views, axis=0)[0]])
        np.testing.assert_allclose(seen[0], expected, atol=1e-3)


def test_teacher_says_the_same_of_an_image_whatever_it_saw_before(
    net: DCFM, images: list[np.ndarray], tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / 'net.safetensors', net)
    teacher = Teacher(tmp_path / 'net.safetensors', [1.0], device='cpu')
    first = teacher(images[0])
    teacher(images[1])
    assert (teacher(images[0]) - first).abs().max() < 1e-6
