"""Every command and code block of the documents runs as it is printed.

Blocks of one document run in order, in a folder of their own. What shortens them stands below, and
what is not run for real in `stand_ins`; a block in a language that is not handled is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
import json
from pathlib import Path
import re
import shutil
import subprocess
import sys

from command import Outcome, dcfm
import cv2
from documents import Block, Call, Stage, blocks_of, documents, short_dcfm
import numpy as np
from PIL import Image
import pytest
from repository import ROOT
from small_net import make_net
from source_networks import make_segformer, make_smp, make_torchvision, save_folder
import stand_ins
import torch
import typer
import yaml

from dcfm_ros.cli import main as cli
from dcfm_ros.models.checkpoint import save_checkpoint
from dcfm_ros.models.labels import CAMVID_NAMES

pytestmark = pytest.mark.slow

TUTORIAL = 'docs/own_footage.md'
"""Its blocks have names and a test of their own, `test_own_footage.py`."""
SIZE, FRAMES = '48x64', 8
SHORT = {
    'ablate': '--seeds 1 --jobs 1',
    'bench': '--size 48x64 --device cpu',
    'demo': '--rate 10 --frames 20',
    'evaluate': '--height 32',
    'pseudo-label': '--height 32',
    'replay --mode': '--seconds 0.3 --runs 1',
    'segment': '--height 32',
    'synth': f'--size {SIZE} --frames {FRAMES}',
    'torture': '--count 20',
    'torture faults': '--count 1 --seed 32',
    'torture files': '--count 60',
    'train': '--print_config',
}
"""Options added to a verb; they override those before them."""
SMALLER = {
    r'--frames \d+': '--frames 4',
    r'--(memory|ros) \d+': r'--\1 20',
    r'--transport \d+': '--transport 2',
    r'--model vspw_mit_b[25]': '--model vspw_mit_b0',
    r"'vspw_mit_b2', 'vspw_mit_b5'": "'vspw_mit_b0',",
    r'frames=300\)': 'frames=2, size=(48, 64))',
    r'--ray auto': '--ray local',
    r'gpu_check$': 'gpu_check --device cpu --quick --only masks',
    r'against e0cb67d$': 'against --help',  # see test_against.py
    r'torture training': 'torture training --help',  # see test_training.py
    r'<this repository>': 'repository',
    r'^\.venv/bin/': '',
}
"""What is smaller in every block than it is printed, as regular expressions."""
DOCUMENTS = [path for path in documents() if path.relative_to(ROOT).as_posix() != TUTORIAL]


@pytest.fixture(scope='module')
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The inputs that the documents name, small."""
    folder = tmp_path_factory.mktemp('recordings')

    def run(*words: object) -> None:
        done = dcfm(*words)
        assert done.returncode == 0, done.stderr

    drive = folder / 'drive'
    run('synth', '--output', drive, *SHORT['synth'].split(), '--seed', 7)
    shutil.copytree(drive / 'frames', folder / 'folder')
    for name in ('my_rosbag', 'bags/a', 'bags/b'):
        run('bag', drive / 'frames', '--output', folder / name)
    topics = ('--topic', '/front/image_raw', '--label-topic', '/front/label')
    run('bag', drive / 'frames', '--labels', drive / 'masks', *topics, '--output', folder / 'run')
    (mcap,) = (folder / 'my_rosbag').glob('*.mcap')
    shutil.copy(mcap, folder / 'run.mcap')
    run('segment', drive / 'frames', '--output', folder / 'drive.mp4', '--height', 32)
    return folder


@pytest.fixture
def stage(recordings: Path, tmp_path: Path) -> Iterator[Stage]:
    folder = tmp_path / 'stage'
    shutil.copytree(recordings, folder)
    for name in ('config', 'launch', 'constraints.txt'):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / 'docs', folder / 'docs')  # some blocks write there
    shutil.copytree(ROOT / 'models' / 'weights', folder / 'models' / 'weights')
    videos = tmp_path / 'shared' / 'data' / 'videos'
    videos.mkdir(parents=True)
    shutil.copy(recordings / 'drive.mp4', videos / 'highway_960x540_25fps.mp4')
    (folder / 'ws' / 'src').mkdir(parents=True)
    camvid(folder)
    for name in ('default_full_size', 'default', 'accurate_pairs', 'accurate_self'):
        (folder / 'out' / name).mkdir(parents=True)
        best = folder / 'out' / name / 'best.safetensors'
        shutil.copy(ROOT / 'models' / 'weights' / 'default.safetensors', best)
    vspw_and_cityscapes(folder)
    idd_lite(folder)
    foreign_networks(folder)
    (videos.parent / 'idd_lite').symlink_to(folder / 'data' / 'idd_lite')
    (videos.parent / 'camvid').mkdir()
    (videos.parent / 'camvid' / 'train').symlink_to(folder / 'folder')
    (videos.parent / 'teacher').mkdir()
    (videos.parent / 'teacher' / 'idd_lite_train').symlink_to(folder / 'data' / 'idd_teacher')
    programs = dict.fromkeys(stand_ins.FOREIGN, stand_ins.foreign)
    programs |= {
        name: getattr(stand_ins, name)
        for name in ('git', 'make', 'pip', 'ros2', 'segmentation_node', 'torchrun')
    }
    programs |= {'dcfm': run_dcfm, 'python3': stand_ins.python3}
    stage = Stage(folder, programs)
    yield stage
    stage.close()


def run_dcfm(call: Call) -> Outcome:
    """`dcfm`, shortened; what `ablate` would train is there."""
    if call.words[1:2] == ['ablate']:
        stand_ins.finished_trainings(call)
    return short_dcfm(SHORT)(call)


def camvid(folder: Path) -> None:
    """A dataset in the layout of CamVid: training frames a second apart, a dense val clip."""
    random = np.random.default_rng(0)
    for split in ('train', 'val'):
        for kind in (split, f'{split}annot'):
            (folder / 'data' / 'camvid' / kind).mkdir(parents=True)
        for index in range(6):
            name = f'0001TP_{6690 + (2 if split == "val" else 30) * index:06d}'
            home = folder / 'data' / 'camvid'
            image = random.integers(0, 256, (48, 64, 3), np.uint8)
            label = random.integers(0, len(CAMVID_NAMES), (48, 64), np.uint8)
            cv2.imwrite(str(home / split / f'{name}.jpg'), image)
            cv2.imwrite(str(home / f'{split}annot' / f'{name}.png'), label)


def vspw_and_cityscapes(folder: Path) -> None:
    """One clip of each of two datasets in their layouts, and a network of VSPW's classes."""
    image, label = np.zeros((48, 64, 3), np.uint8), np.ones((48, 64), np.uint8)
    (folder / 'data/VSPW_480p').mkdir()
    (folder / 'data/VSPW_480p/val.txt').write_text('clip')
    files = {f'VSPW_480p/data/clip/origin/{i}.jpg': image for i in range(3)}
    files |= {f'VSPW_480p/data/clip/mask/{i}.png': label for i in range(3)}
    for number in (18, 19, 20):
        name = f'leftImg8bit/val/city/city_000000_{number:06d}_leftImg8bit.png'
        files[f'cityscapes/{name}'] = image
    files['cityscapes/gtFine/val/city/city_000000_000019_gtFine_labelTrainIds.png'] = label
    for name, pixels in files.items():
        path = folder / 'data' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), pixels)
    (folder / 'out/vspw_mit_b2').mkdir()
    save_checkpoint(folder / 'out/vspw_mit_b2/best.safetensors', make_net(num_classes=124))


def idd_lite(folder: Path) -> None:
    """Ten stills in the layout of IDD-lite, and what another network says of them."""
    random = np.random.default_rng(0)
    for index in range(10):
        for kind, pixels in {
            'idd_lite/train': random.integers(0, 256, (24, 32, 3), np.uint8),
            'idd_lite/trainannot': random.integers(0, 7, (24, 32), np.uint8),
            'idd_teacher/labels': random.integers(0, 19, (24, 32), np.uint8),
            'idd_teacher/confidence': random.integers(0, 256, (24, 32), np.uint8),
        }.items():
            path = folder / 'data' / kind / f'{index}_0.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), pixels)


def foreign_networks(folder: Path) -> None:
    """What `docs/own_network.md` converts."""
    save_folder(make_segformer().float(), folder / 'my_segformer')
    save_folder(make_smp('FPN', 'tu-mobilenetv3_small_050').float(), folder / 'my_fpn')
    state = make_torchvision('lraspp_mobilenet_v3_large').float().state_dict()
    torch.save(state, folder / 'my_lraspp.pth')
    classes = ''.join(f'{index}: {{name: class {index}}}\n' for index in range(5))
    (folder / 'my_classes.yaml').write_text(classes)


def run_python(stage: Stage, block: Block) -> None:
    """Run a block of Python with what its text takes for granted; a node is tested elsewhere."""
    if 'rclpy.spin' in block.text:
        compile(block.text, str(block), 'exec')  # run by test_readme_client.py
        return
    images = [cv2.imread(str(path))[..., ::-1] for path in sorted(stage.folder.glob('folder/*'))]
    known = {'frames': [(i * 66_000_000, image.copy()) for i, image in enumerate(images)]}
    exec(compile(_PYTHON_BEFORE + block.text, str(block), 'exec'), known)


_PYTHON_BEFORE = """
from dcfm_ros.engine import SegmentationEngine, load_network
"""


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_blocks_run_as_printed(path: Path, stage: Stage) -> None:
    handlers = {
        'sh': stage.run,
        'python': partial(run_python, stage),
        'yaml': lambda block: yaml.safe_load(block.text),
        'json': lambda block: json.loads(block.text),
        '': lambda block: None,  # pictures and output, no commands
    }
    for block in blocks_of(path):
        assert block.language in handlers, f'{block}: what is {block.language!r}?'
        text = block.text
        for printed, smaller in SMALLER.items():
            text = re.sub(printed, smaller, text, flags=re.MULTILINE)
        handlers[block.language](replace(block, text=text))


def test_pictures_hold_no_commands() -> None:
    """A command in a block without language would escape the test above."""
    programs = re.compile(r'^\s*\$?\s*(dcfm|make|ros2|pip|python\S*|colcon) ', re.MULTILINE)
    bare = [block for path in documents() for block in blocks_of(path) if not block.language]
    assert not [str(block) for block in bare if programs.search(block.text)]


def test_verbs_and_options_in_the_prose_exist() -> None:
    verbs = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    wrong = []
    for path in documents():
        prose = re.sub(
            r'^```.*?^```$', '', path.read_text('utf-8'), flags=re.DOTALL | re.MULTILINE
        )
        for found in re.finditer(r'`dcfm ([a-z][a-z-]*)([^`]*)`', prose):
            verb, rest = found[1], found[2]
            known = {o for p in verbs[verb].params for o in p.opts} if verb in verbs else set()
            options = set(re.findall(r'(?<!\S)--[a-z-]+', rest)) - {'--help'}
            if verb not in verbs or (verb != 'train' and options - known):
                wrong.append(f'{path.name}: {found[0]}')
    assert not wrong


def test_links_lead_somewhere() -> None:
    broken = []
    for path in documents():
        for target in re.findall(r'\]\(([^)#\s]+)[^)]*\)', path.read_text('utf-8')):
            if '://' not in target and not (path.parent / target).exists():
                broken.append(f'{path.name}: {target}')
    assert not broken


def test_the_picture_of_the_readme_can_be_drawn(tmp_path: Path) -> None:
    picture = tmp_path / 'drive.webp'
    command = [sys.executable, ROOT / 'docs' / 'animation.py', picture, '--frames', '4']
    subprocess.run(command, check=True)
    with Image.open(picture) as drawn, Image.open(ROOT / 'docs' / 'drive.webp') as shown:
        assert drawn.n_frames == 4
        assert drawn.size == shown.size
