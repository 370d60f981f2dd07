"""docs/own_footage.md to the letter: its commands, on two tiny drives and its four classes."""

from __future__ import annotations

import json
import os
from pathlib import Path
import re
import shlex
import shutil

from command import dcfm
import cv2
import numpy as np
import pytest
from repository import ROOT
import torch
import yaml

from dcfm_ros.backends.graphs import Graphs
from dcfm_ros.models.checkpoint_header import find_checkpoint, read_metadata
from dcfm_ros.models.labels import CAMVID_NAMES

pytestmark = [pytest.mark.train, pytest.mark.dds]

TUTORIAL = (ROOT / 'docs' / 'own_footage.md').read_text(encoding='utf-8')
BLOCKS = dict(re.findall(r'^```\w+ (\w+)\n(.*?)^```$', TUTORIAL, re.M | re.S))
"""Text of the fenced blocks that have a name behind their language."""

SMALL = {
    'synth': '--frames 16 --size 96x128',
    'train': '--data.augmentation.init_args.crop [96,128] --data.batch_size 4'
    ' --data.augmentation.init_args.scale [0.8,1.2] --data.pairs_per_epoch 16'
    ' --data.num_workers 0 --average.decay 0.8 --trainer.enable_progress_bar false'
    # So few steps must not all be warm-up: the head begins at random.
    ' --model.optimisation.warmup_steps 4 --model.optimisation.decoder_lr 1e-2',
    'demo': '--rate 5',
}
"""Options to add to a verb; they override those before them."""
STEPS = {
    'train': '--trainer.max_steps 64',
    'continue': '--trainer.max_steps 68',
    'self_training': '--trainer.max_steps 4',
}
OWN_IDS = {'road': 1, 'car': 2, 'sky': 3, 'building': 7}
"""Ids of the tutorial for some of the classes that a drive has; the others get 0, unlabelled."""


def run(block):
    """Output of the commands of a block, all of which must succeed."""
    outputs = []
    for line in BLOCKS[block].replace('\\\n', ' ').splitlines():
        program, verb, *options = shlex.split(line)
        assert program == 'dcfm'
        added = f'{SMALL.get(verb, "")} {STEPS.get(block, "")}'
        outcome = dcfm(verb, *options, *shlex.split(added))
        assert outcome.returncode == 0, outcome.stderr
        outputs.append(outcome.stdout)
    return ''.join(outputs)


def own_ids(day):
    """The exact masks of a drive, in the ids of the tutorial."""
    to_own = np.zeros(256, np.uint8)
    to_own[[CAMVID_NAMES.index(name) for name in OWN_IDS]] = list(OWN_IDS.values())
    paths = sorted(Path('out', day, 'masks').iterdir())
    return [to_own[cv2.imread(str(path), cv2.IMREAD_UNCHANGED)] for path in paths]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """The working folder, into which the repository is linked."""
    path = tmp_path_factory.mktemp('tutorial')
    for name in ('config', 'models'):
        (path / name).symlink_to(ROOT / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setenv('PYTHONPATH', str(ROOT), prepend=os.pathsep)  # for the node's own process
        yield path


@pytest.fixture(scope='module')
def footage(folder):
    """What `dcfm extract` said; every fifth frame has got a mask since."""
    torch.set_num_threads(1)
    run('synthetic')
    said = run('extract')
    (folder / 'footage' / 'classes.yaml').write_text(BLOCKS['classes'])
    for clip in (Path('train/monday'), Path('val/tuesday')):
        for index, mask in enumerate(own_ids(clip.name)):
            if index % 5 == 0:
                cv2.imwrite(str(folder / 'footage' / clip / f'masks/{index:06d}.png'), mask)
    return said


@pytest.fixture(scope='module')
def trained(folder, footage):
    run('train')
    first = read_metadata(folder / 'out/footage/last.safetensors').training
    run('continue')
    return first, read_metadata(folder / 'out/footage/last.safetensors')


def test_all_frames_are_extracted(footage):
    assert footage.splitlines() == [
        '16 images and 0 masks in footage/train/monday',
        '16 images and 0 masks in footage/val/tuesday',
    ]


def test_training_starts_from_the_packaged_features_and_goes_on_after_a_break(folder, trained):
    first, last = trained
    assert first['initial_weights'].endswith('random: head')
    assert (first['steps'], last.training['steps']) == (64, 68)
    entries = yaml.safe_load(BLOCKS['classes']).values()
    assert list(last.config.class_names) == [e['name'] for e in entries if e['name']]
    assert last.config.motion == read_metadata(find_checkpoint()).config.motion == 'flow'
    command = 'python -m dcfm_ros.training.train fit --config config/train/own_footage.yaml'
    assert last.training['command'].startswith(command)
    (log,) = re.findall(r'^tensorboard --logdir (\S+)$', TUTORIAL, re.M)
    assert list((folder / log).rglob('events.out.*'))


def test_evaluation_sets_the_schedule_beside_hold_and_every_frame(folder, trained):
    printed = run('evaluate')
    rows = json.loads((folder / 'out/footage/val.json').read_text())['rows']
    by_kind = {(row['schedule'], row['interval']): row for row in rows}
    assert by_kind.keys() == {('per_frame', 1), ('fixed', 1), ('fixed', 4), ('hold', 4)}
    assert all(schedule in printed for schedule, _ in by_kind)
    assert by_kind['fixed', 1]['miou'] > 0.5 < by_kind['per_frame', 1]['miou']
    assert by_kind['fixed', 4]['miou'] > 0.5


def test_recording_is_segmented_without_ros(folder, trained):
    run('segment')
    capture = cv2.VideoCapture(str(folder / 'out/footage/segment/overlay.mp4'))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 16


def test_graphs_are_written_beside_the_weights(folder, trained):
    pytest.importorskip('openvino')
    assert 'out/footage/best.graphs: ' in run('prepare')
    graphs = Graphs.load(folder / 'out/footage/best.graphs')
    packaged = find_checkpoint().with_suffix('.graphs')
    assert graphs.belongs_to == Graphs.load(packaged).belongs_to  # as the tutorial says
    (folder / 'out/footage/best.graphs').unlink()


def test_recording_without_labels_is_trained_on(folder, trained):
    run('unlabelled')
    said = run('pseudo_label')
    assert '16 images and 4 masks in pseudo/wednesday, ' in said
    (folder / 'self_training.yaml').write_text(BLOCKS['mixture'])
    run('self_training')
    metadata = read_metadata(folder / 'out/self_training/last.safetensors')
    assert metadata.training['steps'] == 4
    assert metadata.training['dataset'].startswith('folder train (0.5), folder train (0.5);')
    assert re.search(r': (\d+) of \1 tensors$', metadata.training['initial_weights'])


def test_node_publishes_masks_of_the_own_classes(folder, trained):
    pytest.importorskip('rclpy', reason='the node needs ROS')
    from peer import LATCHED, running_peer
    from sensor_msgs.msg import Image
    from std_msgs.msg import String

    names, masks = [], []
    with running_peer() as peer:
        peer.create_subscription(String, '/segmentation/labels', names.append, LATCHED)
        peer.create_subscription(Image, '/segmentation/mask', masks.append, 100)
        run('demo')
    labels = json.loads(names[0].data)
    assert labels == json.loads(BLOCKS['labels'])
    # Frame i of a synthetic drive is stamped (i + 1) / 15 s.
    stamps = [mask.header.stamp.sec + mask.header.stamp.nanosec * 1e-9 for mask in masks]
    truth = np.array(own_ids('tuesday'))[[round(stamp * 15) - 1 for stamp in stamps]]
    seen = np.array([np.frombuffer(mask.data, np.uint8).reshape(96, 128) for mask in masks])
    for name in ('road', 'sky', 'building'):
        published = next(int(key) for key, entry in labels.items() if entry['name'] == name)
        assert np.mean(seen[truth == OWN_IDS[name]] == published) > 0.7, name


def test_messages_are_those_that_the_tutorial_explains(folder, footage, tmp_path, monkeypatch):
    shutil.copytree(folder / 'footage', tmp_path / 'footage')
    for name in ('config', 'models', 'out'):
        (tmp_path / name).symlink_to(folder / name)
    monkeypatch.chdir(tmp_path)
    bag = 'bag out/monday/frames --labels out/monday/masks --output monday'
    assert dcfm(*shlex.split(bag)).returncode == 0
    train = shlex.split(BLOCKS['train'])[1:]
    extract = shlex.split(BLOCKS['extract'].splitlines()[0])[1:]
    without_topic = [*extract[: extract.index('--topic')], '--name', 'new']
    evaluate = shlex.split('evaluate --dataset folder --root footage --split val')
    weights = '--model.initial_weights=models/weights/default.safetensors'
    masks = Path('footage/train/monday/masks')
    said = [dcfm(*words) for words in (extract, without_topic, evaluate, [*train, weights])]
    shutil.copy(masks / '000000.png', masks / '000099.png')
    said.append(dcfm(*train))
    (masks / '000099.png').unlink()
    spoil(masks)
    said.append(dcfm(*train))
    Path('footage/classes.yaml').unlink()
    said.append(dcfm(*train))
    assert all(outcome.returncode != 0 for outcome in said)
    told = '\n'.join(outcome.stderr for outcome in said)
    rows = re.findall(r'^\| (`+.+?`+) \|', TUTORIAL, re.M)
    assert len(rows) == 10
    for row in rows:
        message = re.escape(row.strip('`').strip()).replace(re.escape('...'), '.+')
        assert re.search(message, told), f'{row}\n{told}'


def spoil(masks):
    """Four masks, each wrong in a way of its own."""
    mask = cv2.imread(str(masks / '000000.png'), cv2.IMREAD_UNCHANGED)
    mask[:8, :8] = 9
    cv2.imwrite(str(masks / '000000.png'), mask)
    painted = np.zeros((*mask.shape, 3), np.uint8)
    painted[:8, :8] = (30, 20, 10)  # BGR
    cv2.imwrite(str(masks / '000005.png'), painted)
    cv2.imwrite(str(masks / '000010.png'), np.zeros((48, 64), np.uint8))
    (masks / '000015.png').write_bytes(b'damaged')
