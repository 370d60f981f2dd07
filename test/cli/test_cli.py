from __future__ import annotations

import ast
import json
import re
import subprocess
import sys

from command import dcfm
import cv2
from lean import lean_environment
import pytest
from repository import CAMVID, ROOT
import torch

from dcfm_ros.cli.main import EXTRAS
from dcfm_ros.models.checkpoint import save_checkpoint
from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.models.labels import CAMVID_NAMES, CAMVID_PALETTE
from dcfm_ros.models.official import official_key


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    config = DCFMConfig(
        backbone='timm:mobilenetv4_conv_small',
        num_classes=11,
        fuse_channels=32,
        class_names=CAMVID_NAMES,
        palette=CAMVID_PALETTE,
    )
    path = tmp_path_factory.mktemp('weights') / 'tiny.safetensors'
    save_checkpoint(path, DCFM(config), {'image_height': 96})
    return path


@pytest.fixture(scope='module')
def drive(tmp_path_factory):
    folder = tmp_path_factory.mktemp('drive') / 'synth'
    run = dcfm('synth', '--output', folder, '--frames', 6, '--seed', 3, '--size', '96x128')
    assert run.returncode == 0, run.stderr
    return folder


def test_segment_leaves_video_report_summary_and_masks(drive, checkpoint, tmp_path):
    output = tmp_path / 'result' / 'seen.mp4'
    run = dcfm(
        *('segment', drive / 'frames', '--labels', drive / 'masks', '--output', output),
        *('--checkpoint', checkpoint, '--interval', 3, '--masks', tmp_path / 'masks'),
        *('--json', tmp_path / 'figures.json'),
    )
    assert run.returncode == 0, run.stderr
    summary = json.loads((output.parent / 'summary.json').read_text())
    assert summary == json.loads((tmp_path / 'figures.json').read_text())
    assert summary['frames_sent'] == summary['masks_received'] == 6
    assert summary['keyframe_share'] == pytest.approx(2 / 6)
    assert 0 <= summary['miou'] <= 1
    assert set(summary['stage_ms']) >= {'independent', 'common', 'decode', 'mask'}
    assert cv2.VideoCapture(str(output)).get(cv2.CAP_PROP_FRAME_COUNT) == 6
    assert len(list((tmp_path / 'masks').iterdir())) == 6
    page = (output.parent / 'report.html').read_text()
    assert 'src="seen.mp4"' in page
    assert page.count('<svg') == 10


def test_masks_of_a_longer_run_do_not_stay_among_the_new_ones(drive, checkpoint, tmp_path):
    masks = tmp_path / 'masks'
    masks.mkdir()
    own = {'6.png', '0000007.png', 'a.png', '000009.txt', '000009.jpg', '000008.png.bak'}
    for name in {*own, '000003.png', '000006.png', '000011.png', '1000000.png'}:
        (masks / name).write_text(name)
    run = dcfm(
        *('segment', drive / 'frames', '--checkpoint', checkpoint),
        *('--masks', masks, '--output', tmp_path / 'o.mp4'),
    )
    assert run.returncode == 0, run.stderr
    assert {path.name for path in masks.iterdir()} == own | {f'{i:06d}.png' for i in range(6)}
    assert all((masks / name).read_text() == name for name in own)
    assert f'3 masks of a former run removed from {masks}' in run.stdout


def test_segment_tells_the_age_of_the_feature(drive, checkpoint, tmp_path):
    run = dcfm(
        *('segment', drive / 'frames', '--checkpoint', checkpoint, '--interval', 3),
        *('--execution', 'amortised', '--slices', 2),
        *('--output', tmp_path / 'o.mp4', '--json', tmp_path / 'summary.json'),
    )
    assert run.returncode == 0, run.stderr
    summary = json.loads((tmp_path / 'summary.json').read_text())
    settings = [summary[name] for name in ('execution', 'execution_slices', 'keyframe_interval')]
    assert settings == ['amortised', 2, 3]
    ages = [0, 1, 2, 3, 1, 2]
    assert summary['keyframe_age']['mean'] == pytest.approx(sum(ages) / 6)
    assert summary['keyframe_age']['max'] == max(ages)
    page = (tmp_path / 'report.html').read_text()
    assert '<!-- with deep encoder -->' in page  # matplotlib's comment beside the drawn letters
    assert 'execution: amortised' in page


@pytest.mark.slow
def test_bag_is_segmented_like_its_folder(drive, checkpoint, tmp_path):
    labels = ('--labels', drive / 'masks')
    assert dcfm('bag', drive / 'frames', *labels, '--output', tmp_path / 'bag').returncode == 0
    figures = []
    for name, options in (
        ('folder', (drive / 'frames', *labels)),
        ('bag', (tmp_path / 'bag', '--label-topic', '/camera/label')),
    ):
        path = tmp_path / f'{name}.json'
        weights = ('--checkpoint', checkpoint, '--json', path)
        run = dcfm('segment', *options, *weights, '--output', tmp_path / name / 'o.mp4')
        assert run.returncode == 0, run.stderr
        figures.append(json.loads(path.read_text())['miou'])
    assert figures[0] == figures[1]


@pytest.mark.slow
def test_convert_makes_a_checkpoint_that_segments(drive, tmp_path):
    config = DCFMConfig.preset('vspw_mit_b0')
    states = {'encoder': {}, 'decoder': {}}
    for key, value in DCFM(config).state_dict().items():
        part, name = official_key(key, config)
        linear = '.linear_c' in name and value.ndim == 4
        states[part][f'module.{name}'] = value.flatten(1) if linear else value
    for part, state in states.items():
        torch.save(state, tmp_path / f'{part}.pth')
    files = ('--encoder', tmp_path / 'encoder.pth', '--decoder', tmp_path / 'decoder.pth')
    output = tmp_path / 'vspw.safetensors'
    run = dcfm('convert', *files, '--preset', 'vspw_mit_b0', '--output', output)
    assert run.returncode == 0, run.stderr
    run = dcfm('segment', drive / 'frames', '--checkpoint', output, '--output', tmp_path / 'o.mp4')
    assert run.returncode == 0, run.stderr


@pytest.mark.slow
def test_packaged_weights_are_known_by_name(drive, tmp_path):
    frames = drive / 'frames'
    paths = {tmp_path / f'{name}.json': name for name in ('default', '')}
    for path, name in paths.items():
        given = ('--checkpoint', name) if name else ()
        output = ('--output', tmp_path / 'o.mp4', '--json', path)
        assert dcfm('segment', frames, *given, *output).returncode == 0
    told, bare = (json.loads(path.read_text())['checkpoint'] for path in paths)
    assert told == bare
    assert told.endswith('/weights/default.safetensors')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('segment', '.', '--checkpoint', 'best'), 'file: best; packaged are '),
        (('demo', '--checkpoint', 'best'), 'file: best; packaged are '),
        (('bench', '--model', 'best'), 'file: best; packaged are '),
        (('evaluate', '--root', '.', '--checkpoint', 'best'), 'file: best; packaged are '),
        (('evaluate', '--root', '.', '--baseline', 'best'), 'file: best; packaged are '),
        (('segment', 'nowhere.mp4'), 'no such file or folder: nowhere.mp4'),
        (('segment', '.', '--slices', '2'), '--slices (2) needs --execution amortised'),
        (
            ('segment', '.', '--execution', 'parallel'),
            "`execution` must be one of sync, amortised, got 'parallel'",
        ),
        (('segment', '.', '--checkpoint', 'nothing.safetensors'), 'no such checkpoint file'),
        (('demo', '--video', 'a', '--bag', 'b'), 'give one of --video, --bag and --images'),
        (('demo', '--slices', '2'), '--slices (2) needs --execution amortised'),
        (
            ('demo', '--frames', '1', '--execution', 'parallel'),
            "`execution` must be one of sync, amortised, got 'parallel'",
        ),
    ],
)
def test_errors_are_one_clear_line(arguments, message):
    run = dcfm(*arguments)
    assert run.returncode != 0
    assert message in run.stderr
    assert 'Traceback' not in run.stderr


@pytest.mark.dds
def test_demo_shows_the_node_as_it_is_asked_for(tmp_path):
    how = ('--interval', 3, '--execution', 'amortised', '--slices', 2, '--backend', 'torch')
    run = dcfm('demo', '--frames', 12, '--device', 'cpu', *how, '--output', tmp_path)
    assert run.returncode == 0, run.stderr + (tmp_path / 'node.log').read_text()
    summary = json.loads((tmp_path / 'summary.json').read_text())
    assert summary['execution'] == 'amortised'
    assert summary['backend'] == 'torch'
    assert summary['keyframe_interval'] == 3
    assert summary['masks_received'] + summary['frames_dropped'] == summary['frames_sent'] == 12
    if summary['masks_received'] == 12:
        assert summary['keyframe_age']['max'] == 3  # its interval - 1, and a slice later


@pytest.mark.slow
@pytest.mark.skipif(not CAMVID.exists(), reason=f'CamVid absent: {CAMVID}')
def test_main_job_on_a_bag_of_real_frames(tmp_path):
    """A bag of camvid/val at 15 Hz over DDS into the node, with the packaged weights."""
    images, labels = CAMVID / 'val', CAMVID / 'valannot'
    bag = tmp_path / 'bag'
    assert dcfm('bag', images, '--labels', labels, '--output', bag).returncode == 0
    output = tmp_path / 'demo'
    topics = ('--label-topic', '/camera/label')
    run = dcfm('demo', '--bag', bag, *topics, '--output', output)
    assert run.returncode == 0, run.stderr + (output / 'node.log').read_text()
    print(run.stdout)
    summary = json.loads((output / 'summary.json').read_text())
    assert summary['frames_sent'] == 101
    # The player counts a frame as answered only for a mask with exactly its header.
    assert summary['unexpected_masks'] == 0
    assert summary['backend'] == ('openvino' if summary['device'] == 'cpu' else 'torch')
    assert summary['device'] in ('cpu', 'cuda:0')  # what the node says, not what was asked for
    assert summary['masks_received'] + summary['frames_dropped'] == 101
    assert summary['masks_received'] > 50
    assert summary['miou'] > summary['mask_hold_miou']
    assert summary['miou'] > 0.45
    assert {'overlay.mp4', 'report.html', 'summary.json'} <= {p.name for p in output.iterdir()}


def test_verbs_name_the_extra_that_is_missing(tmp_path):
    """On a lean installation, where a newcomer is after `make demo`."""
    wanted = ('typer', 'numpy', 'opencv-python-headless', 'openvino', 'safetensors', 'rich')
    environment = lean_environment(tmp_path, *wanted)
    words = ('convert', 'my_segformer', '--from', 'segformer', '--output', 'net.safetensors')
    run = subprocess.run(
        [sys.executable, '-m', 'dcfm_ros.cli.main', *words],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        check=False,
    )
    assert run.returncode == 1
    assert run.stderr.strip() == ("dcfm: No module named 'torch': pip install 'dcfm_ros[torch]'")


def test_extras_that_errors_name_bring_these_modules():
    text = (ROOT / 'setup.py').read_text(encoding='utf-8')
    extras = ast.literal_eval(re.search(r'extras_require=(\{.*?\n    \})', text, re.DOTALL)[1])

    def packages(extra):
        for requirement in extras[extra]:
            name = re.split(r'[=<>[]', requirement)[0]
            inner = re.search(r'dcfm_ros\[(\w+)\]', requirement)
            yield from packages(inner[1]) if inner else (name.replace('-', '_'),)

    for module, extra in EXTRAS.items():
        assert module in packages(extra), module
