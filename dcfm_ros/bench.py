"""`dcfm bench`: times side by side in one run, and the node's memory over many frames.

Rows are measured frame by frame in turn, so that a change of the machine's speed meets all alike;
ratios are medians of the frame-by-frame ratios. Frames are a drive in order, never one repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
import os
from pathlib import Path
import platform
import tempfile
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.mask import class_mask
from dcfm_ros.models.backbone import Independent
from dcfm_ros.models.checkpoint import find_checkpoint, load_checkpoint
from dcfm_ros.models.config import PRESETS, DCFMConfig
from dcfm_ros.models.dcfm import DCFM, normalise
from dcfm_ros.synthetic_drive import DriveConfig, render_drive

_WARM_UP = 3
_MEGABYTE = 1 << 20


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    facts: dict[str, object] = {
        'processor': platform.processor() or platform.machine(),
        'cores': len(os.sched_getaffinity(0)),
        'threads': torch.get_num_threads(),
        'python': platform.python_version(),
        'gpu': torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
    }
    for package in ('dcfm_ros', 'torch', 'timm', 'numpy', 'opencv-python-headless'):
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = None
    return facts


def bench_engine(
    model: str | None,
    size: tuple[int, int],
    frames: int,
    intervals: Sequence[int],
    device: str = 'auto',
) -> dict[str, Any]:
    """Time the engine beside the plain order of operations and the per-frame network.

    Args:
        model: Preset (random weights) or checkpoint, as in `find_checkpoint`.
        size: (H, W) of the frames.
        frames: How many frames to measure.
        intervals: Keyframe intervals of the `sync_k<n>` rows.
        device: As in `SegmentationEngine`.

    Returns:
        {'rows': [...], 'ratios': {...}}. `paper_*` is the plain order: concatenate, fuse, logits
        at full size, argmax. `image_baseline` is the same backbone per frame without fusion.
        `sync_k<n>` is put together from the key and non-key times of the same frames.
    """
    net = _network(model)
    engine = SegmentationEngine(net, device=device, schedule=1)
    drive = DriveConfig(height=size[0], width=size[1], num_frames=frames + _WARM_UP, seed=1)
    images = [image for image, _ in render_drive(drive)]
    times: dict[str, list[float]] = {}
    rivals = dict(_rivals(engine))
    for index, image in enumerate(images):
        for name, run in rivals.items():
            start = time.perf_counter()
            run(image)
            if index >= _WARM_UP:
                times.setdefault(name, []).append((time.perf_counter() - start) * 1e3)
    for interval in intervals:
        key, nonkey = np.array(times['key']), np.array(times['nonkey_past'])
        is_key = np.arange(len(key)) % interval == 0
        times[f'sync_k{interval}'] = list(np.where(is_key, key, nonkey))
    common = {
        'model': model or 'default',
        'backend': engine.backend,
        'precision': 'fp32',
        'size': f'{size[0]}x{size[1]}',
    }
    return {
        'rows': [
            {**common, 'what': name, **_statistics(values)} for name, values in times.items()
        ],
        'ratios': _ratios(times, intervals),
        'parameters_m': sum(p.numel() for p in net.parameters()) / 1e6,
    }


def bench_node_memory(frames: int, size: tuple[int, int]) -> dict[str, Any]:
    """Play frames to a node of its own and watch its resident memory.

    Args:
        frames: How many, each sent when the last is answered.
        size: (H, W) of the frames.

    Returns:
        {'frames', 'answered', 'rss_mb': [ten samples], 'growth_mb'}: growth is the mean of the
        last fifth of the samples minus that of the second fifth (the first one warms up).
    """
    from dcfm_ros.demo import node_process
    from dcfm_ros.player import PlayedFrame, play

    drive = DriveConfig(height=size[0], width=size[1], num_frames=60, seed=1)
    images = [image for image, _ in render_drive(drive)]
    samples: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        node_process({'keyframe_interval': 6}, Path(folder) / 'node.log') as process,
    ):

        def sample(index: int, mask: NDArray[np.uint8]) -> None:
            samples.append(_resident_mb(process.pid))

        played = (
            PlayedFrame(image=images[i % len(images)], stamp_ns=(i + 1) * 33_000_000)
            for i in range(frames)
        )
        report = play(played, rate_hz=None, on_mask=sample, wait_s=120.0)
    fifth = max(1, len(samples) // 5)
    growth = np.mean(samples[-fifth:]) - np.mean(samples[fifth : 2 * fifth])
    return {
        'frames': frames,
        'answered': report.answered,
        'rss_mb': [round(float(np.mean(part)), 1) for part in np.array_split(samples, 10)],
        'growth_mb': round(float(growth), 2),
    }


def _network(model: str | None) -> DCFM:
    if model in PRESETS:
        assert model is not None
        torch.manual_seed(0)
        return DCFM(DCFMConfig.preset(model)).eval()
    return load_checkpoint(find_checkpoint(model))


def _rivals(
    engine: SegmentationEngine,
) -> Iterator[tuple[str, Callable[[NDArray[np.uint8]], object]]]:
    """What is timed, by name; each takes a camera image to a class mask."""
    backend, net = engine._backend, engine._backend.net
    cache: dict[str, Tensor] = {}

    @torch.inference_mode()
    def image_baseline(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        independent = net.encode_independent(backend.to_input(image))
        deep = net.common_projection(net.encoder.deep(independent.state))
        return class_mask(net.classify(normalise(deep)), (image.shape[0], image.shape[1]))

    @torch.inference_mode()
    def plain(common: Tensor, independent: Independent, image: NDArray[np.uint8]) -> Tensor:
        size = (image.shape[0], image.shape[1])
        logits = net.decode(net.fuse(common, independent), size)
        return logits.argmax(1)[0].to(torch.uint8).cpu()

    @torch.inference_mode()
    def paper_key(image: NDArray[np.uint8]) -> Tensor:
        independent = net.encode_independent(backend.to_input(image))
        cache['plain'] = net.encode_common(independent)
        return plain(cache['plain'], independent, image)

    @torch.inference_mode()
    def paper_nonkey(image: NDArray[np.uint8]) -> Tensor:
        return plain(cache['plain'], net.encode_independent(backend.to_input(image)), image)

    @torch.inference_mode()
    def key(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        independent = backend.encode_independent(backend.to_input(image))
        cache['own'] = backend.encode_common(independent)
        logits = backend.decode([cache['own']], independent, is_keyframe=True)
        return class_mask(logits, (image.shape[0], image.shape[1]))

    @torch.inference_mode()
    def nonkey_past(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        independent = backend.encode_independent(backend.to_input(image))
        logits = backend.decode([cache['own']], independent, is_keyframe=False)
        return class_mask(logits, (image.shape[0], image.shape[1]))

    yield 'image_baseline', image_baseline
    yield 'paper_key', paper_key
    yield 'paper_nonkey_past', paper_nonkey
    yield 'key', key
    yield 'nonkey_past', nonkey_past


def _statistics(values: Sequence[float]) -> dict[str, float]:
    percentiles = {f'ms_p{q}': float(np.percentile(values, q)) for q in (50, 95, 99)}
    return {**percentiles, 'ms_mean': float(np.mean(values))}


def _ratios(times: dict[str, list[float]], intervals: Sequence[int]) -> dict[str, float]:
    def ratio(above: str, below: str) -> float:
        return float(np.median(np.array(times[above]) / np.array(times[below])))

    ratios = {
        'nonkey_past/key': ratio('nonkey_past', 'key'),
        'paper_key/key': ratio('paper_key', 'key'),
        'paper_nonkey_past/nonkey_past': ratio('paper_nonkey_past', 'nonkey_past'),
    }
    for interval in intervals:
        mean = np.mean(times[f'sync_k{interval}'])
        ratios[f'image_baseline/sync_k{interval}'] = float(np.mean(times['image_baseline']) / mean)
    return ratios


def _resident_mb(pid: int) -> float:
    pages = int(Path(f'/proc/{pid}/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / _MEGABYTE
