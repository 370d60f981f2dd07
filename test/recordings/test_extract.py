from __future__ import annotations

import cv2
import numpy as np
import pytest
import yaml

from dcfm_ros.recordings.extract import ExtractOptions, extract_frames
from dcfm_ros.recordings.sources import SourceError, SourceFrame, open_source
from dcfm_ros.training.footage.datasets import find_clips
from dcfm_ros.training.footage.decoding import read_frame
from dcfm_ros.training.footage.label_sets import CAMVID

STAMPS = [1_000_000_000 + index * 50_000_000 for index in range(5)]


def make_frames():
    random = np.random.default_rng(0)
    for index, stamp_ns in enumerate(STAMPS):
        label = random.integers(0, 12, (24, 32), np.uint8)
        yield SourceFrame(
            image=random.integers(0, 256, (24, 32, 3), np.uint8),
            stamp_ns=stamp_ns,
            label=label if index in (0, 2, 3) else None,
        )


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_every_pixel_and_stamp_is_kept(tmp_path):
    assert extract_frames(make_frames(), tmp_path / 'clip') == (5, 3)
    (clip,) = find_clips('folder', tmp_path, 'all', labels=CAMVID)
    assert (clip.labelled, clip.rate_hz) == ([0, 2, 3], 20)
    for frame, made in zip(clip.frames, make_frames(), strict=True):
        image, label = read_frame(frame, CAMVID)
        np.testing.assert_array_equal(image, made.image)
        if label is not None:
            np.testing.assert_array_equal(label, CAMVID.to_class[made.label])
    assert yaml.safe_load((tmp_path / 'clip/clip.yaml').read_text())['stamps_ns'] == STAMPS


def test_every_nth_frame_keeps_its_number(tmp_path):
    options = ExtractOptions(every=2)
    assert extract_frames(make_frames(), tmp_path / 'clip', options) == (3, 2)
    assert names(tmp_path / 'clip/images') == ['000000.png', '000002.png', '000004.png']
    assert names(tmp_path / 'clip/masks') == ['000000.png', '000002.png']
    assert yaml.safe_load((tmp_path / 'clip/clip.yaml').read_text())['rate_hz'] == 10


def test_jpeg_images_still_have_lossless_masks(tmp_path):
    extract_frames(make_frames(), tmp_path / 'clip', ExtractOptions(jpeg=True))
    assert names(tmp_path / 'clip/images')[0] == '000000.jpg'
    label = cv2.imread(str(tmp_path / 'clip/masks/000000.png'), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(label, next(make_frames()).label)


def test_clip_is_whole_or_absent(tmp_path):
    def breaks_off():
        yield next(make_frames())
        raise SourceError('cable pulled')

    with pytest.raises(SourceError, match='cable pulled'):
        extract_frames(breaks_off(), tmp_path / 'clip')
    assert not list(tmp_path.iterdir())


def test_clip_is_never_overwritten(tmp_path):
    extract_frames(make_frames(), tmp_path / 'clip')
    with pytest.raises(FileExistsError, match='clip exists already'):
        extract_frames(make_frames(), tmp_path / 'clip')


def test_recording_without_frames_is_an_error(tmp_path):
    with pytest.raises(SourceError, match='no frames'):
        extract_frames([], tmp_path / 'clip')


@pytest.mark.parametrize('every', [0, 1.5])
def test_every_is_a_whole_number_above_0(every):
    with pytest.raises(ValueError, match=f'at least 1, got {every}'):
        ExtractOptions(every=every)


def test_extracted_images_can_be_segmented_like_any_folder(tmp_path):
    extract_frames(make_frames(), tmp_path / 'clip')
    read = list(open_source(str(tmp_path / 'clip/images')))
    assert len(read) == 5
    np.testing.assert_array_equal(read[0].image, next(make_frames()).image)
