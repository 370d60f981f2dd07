from __future__ import annotations

from command import dcfm
import cv2
import numpy as np
import pytest
import yaml

from dcfm_ros.recordings.bag_writer import write_bag
from dcfm_ros.recordings.bags import BagReader
from dcfm_ros.recordings.sources import SourceFrame
from dcfm_ros.training.footage.datasets import find_clips
from dcfm_ros.training.footage.frame_check import check_frames
from dcfm_ros.training.footage.label_sets import CAMVID


def make_frames(count=5, size=(24, 32)):
    random = np.random.default_rng(0)
    for index in range(count):
        label = random.integers(0, 12, size, np.uint8)
        yield SourceFrame(
            image=random.integers(0, 256, (*size, 3), np.uint8),
            stamp_ns=1_000_000_000 + index * 50_000_000,
            label=label if index in (0, 2, 3) else None,
        )


@pytest.fixture
def bag(tmp_path):
    write_bag(tmp_path / 'run', make_frames())
    return tmp_path / 'run'


def test_synth_writes_frames_and_masks(tmp_path):
    run = dcfm('synth', '--output', tmp_path, '--frames', 3, '--seed', 3, '--size', '96x128')
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == f'3 frames and masks in {tmp_path}'
    for name in ('frames', 'masks'):
        files = sorted(path.name for path in (tmp_path / name).iterdir())
        assert files == ['000000.png', '000001.png', '000002.png']
    assert cv2.imread(str(tmp_path / 'frames/000000.png')).shape == (96, 128, 3)
    mask = cv2.imread(str(tmp_path / 'masks/000000.png'), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (96, 128)
    assert mask.max() <= 10


def test_synth_refuses_a_size_that_is_none(tmp_path):
    run = dcfm('synth', '--output', tmp_path / 'drive', '--size', '10')
    assert run.returncode == 1
    assert run.stderr.endswith("HEIGHTxWIDTH, for example 360x480, got '10'\n")


def test_extract_makes_a_dataset_of_a_bag(bag, tmp_path):
    own = tmp_path / 'own'
    topics = ('--topic', '/camera/image_raw', '--label-topic', '/camera/label')
    arguments = (bag, '--output', own, *topics, '--classes', 'camvid')
    run = dcfm('extract', *arguments, '--split', 'val')
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ['5', 'images', 'and', '3', 'masks', 'in', f'{own}/val/run']
    (clip,) = find_clips('folder', own, 'val')
    assert (len(clip.frames), clip.labels.class_names) == (5, CAMVID.class_names)
    assert not check_frames([clip]).problems
    again = dcfm('extract', *arguments, '--split', 'val')
    assert again.returncode == 1
    assert again.stderr.strip().endswith('own/val/run exists already')
    other = dcfm('extract', *arguments[:-1], 'vspw', '--name', 'more')
    assert 'classes.yaml exists and names other classes than vspw' in other.stderr
    assert not (own / 'train').exists()


@pytest.mark.parametrize('topic', ['/camera/image_raw', '/camera/label'])
def test_extract_of_a_damaged_bag_says_what_is_missing(bag, tmp_path, topic, caplog):
    metadata = bag / 'metadata.yaml'
    values = yaml.safe_load(metadata.read_text())
    for entry in values['rosbag2_bagfile_information']['topics_with_message_count']:
        if entry['topic_metadata']['name'] == topic:
            count, entry['message_count'] = entry['message_count'], 9
    metadata.write_text(yaml.safe_dump(values))
    topics = ('--topic', '/camera/image_raw', '--label-topic', '/camera/label')
    run = dcfm('extract', bag, '--output', tmp_path / 'own', *topics)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith('5 images and 3 masks in ')
    missing = f'{9 - count} of 9 messages on {topic} that metadata.yaml promises are missing'
    assert caplog.messages == [f'{bag}: {missing}']


def test_bag_and_extract_keep_every_size(tmp_path):
    (tmp_path / 'images').mkdir()
    pictures = [f.image for size in ((24, 32), (48, 64)) for f in make_frames(2, size)]
    for index, picture in enumerate(pictures):
        cv2.imwrite(str(tmp_path / f'images/{index}.png'), picture[..., ::-1])
    run = dcfm('bag', tmp_path / 'images', '--output', tmp_path / 'run', '--rate', 10)
    assert (run.returncode, run.stdout) == (0, f'4 images in {tmp_path / "run"}\n')
    for frame, picture in zip(BagReader(tmp_path / 'run').frames(), pictures, strict=True):
        np.testing.assert_array_equal(frame.image, picture)
    run = dcfm('extract', tmp_path / 'run', '--output', tmp_path / 'own')
    assert run.returncode == 0, run.stderr
    for index, picture in enumerate(pictures):
        written = cv2.imread(str(tmp_path / f'own/train/run/images/{index:06d}.png'))
        np.testing.assert_array_equal(written[..., ::-1], picture)


@pytest.mark.parametrize('verb', ['bag', 'extract'])
def test_verb_that_fails_in_the_middle_leaves_nothing(tmp_path, verb):
    (tmp_path / 'images').mkdir()
    for index, frame in enumerate(make_frames(3)):
        cv2.imwrite(str(tmp_path / f'images/{index}.png'), frame.image)
    broken = tmp_path / 'images/1.png'
    broken.write_bytes(broken.read_bytes()[:100])  # still begins as an image
    run = dcfm(verb, tmp_path / 'images', '--output', tmp_path / 'out')
    assert run.returncode == 1
    reason = '`data` must be a whole PNG image, got one cut off after 100 bytes'
    assert run.stderr == f'dcfm: {broken} cannot be decoded: {reason}\n'
    left = {path.name for path in tmp_path.rglob('*') if path.is_file()}
    assert left == {'0.png', '1.png', '2.png'}
