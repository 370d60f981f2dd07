import cv2
import numpy as np
import pytest

from dcfm_ros.training.footage.clips import Clip, Frame
from dcfm_ros.training.footage.label_sets import CAMVID
from dcfm_ros.training.pairs.augment import RoadSceneAugmentation
from dcfm_ros.training.pairs.gaps import AgeMatchedGaps, Gaps
from dcfm_ros.training.pairs.pair_dataset import FixedPairDataset, PairDataset, RunningSampler
from dcfm_ros.training.pairs.pair_sources import DrivePairs, LabelledFrames, PairSource, VideoPairs
from dcfm_ros.training.pairs.still_pairs import LayeredPairs, RoadScenePairs, StillPairs

STILL_LIGHT = {'jitter': 0.0, 'pair_jitter': 0.0, 'noise': 0.0, 'blur': 0.0, 'occlusion': 0.0}


class Always(Gaps):
    """The same gap every time, and the rates that were asked for."""

    def __init__(self, gap):
        self.gap = gap
        self.rates = set()

    def draw(self, rng, rate_hz):
        self.rates.add(rate_hz)
        return self.gap

    def farthest(self, rate_hz):
        return abs(self.gap)


def street(height=120, width=160):
    """A labelled still: sky above road, one sign."""
    label = np.full((height, width), 3, np.uint8)
    label[: height // 2] = 0
    label[height // 2 : height * 3 // 4, width // 4 : width * 2 // 5] = 6
    rng = np.random.default_rng(0)
    image = (label[..., None] * 20 + rng.integers(0, 20, (height, width, 3))).astype(np.uint8)
    return image, label


@pytest.fixture
def clip(tmp_path):
    """Ten frames of brightness 20 i at 30 Hz; frames 0, 4 and 9 are labelled, with class i."""
    frames = []
    for index in range(10):
        image, label = tmp_path / f'{index}.png', tmp_path / f'{index}_label.png'
        cv2.imwrite(str(image), np.full((40, 48, 3), 20 * index, np.uint8))
        cv2.imwrite(str(label), np.full((40, 48), index, np.uint8))
        frames.append(Frame(image, label if index in (0, 4, 9) else None))
    return Clip('clip', tuple(frames), 30.0, CAMVID)


def numbers(pair):
    """Frame numbers of reference and labelled frame, and the label's class."""
    reference, labelled, label = pair
    return int(reference[0, 0, 0]) // 20, int(labelled[0, 0, 0]) // 20, int(label[0, 0])


@pytest.mark.parametrize('in_memory', [False, True])
def test_video_pairs_are_real_neighbours_of_labelled_frames(clip, in_memory):
    source = VideoPairs([clip], Always(2), in_memory)
    rng = np.random.default_rng(0)
    assert len(source) == 3
    assert numbers(source.pair(1, rng)) == (2, 4, 4)
    assert numbers(source.pair(1, rng, -3)) == (7, 4, 4)


def test_video_gap_is_asked_for_at_the_rate_of_the_clip(clip):
    gaps = Always(1)
    VideoPairs([clip], gaps).pair(0, np.random.default_rng(0))
    assert gaps.rates == {30.0}


def test_at_the_ends_of_a_clip_the_other_side_is_taken(clip):
    source = VideoPairs([clip], Always(1))
    rng = np.random.default_rng(0)
    assert numbers(source.pair(0, rng, 3)) == (3, 0, 0)
    assert numbers(source.pair(2, rng, -3)) == (6, 9, 9)
    assert numbers(source.pair(1, rng, 20)) == (9, 4, 4)
    assert numbers(source.pair(2, rng, 20)) == (0, 9, 9)


def test_clips_without_a_label_are_refused(clip):
    bare = Clip('bare', tuple(Frame(frame.image) for frame in clip.frames), 15.0, CAMVID)
    for read in (LabelledFrames, lambda clips: VideoPairs(clips, Always(1))):
        with pytest.raises(ValueError, match='`clips` must hold at least one labelled frame'):
            read([bare])


@pytest.mark.parametrize('read', [LabelledFrames, lambda clips: list(LabelledFrames(clips))])
def test_still_pairs_are_labelled_frames_twice(clip, read):
    source = StillPairs(read([clip]))
    rng = np.random.default_rng(0)
    found = [source.pair(index, rng, gap) for index in range(3) for gap in (None, 4)]
    assert [numbers(pair) for pair in found] == [(n, n, n) for n in (0, 4, 9) for _ in range(2)]
    assert all(reference is labelled for reference, labelled, _ in found)


def test_still_pairs_get_extra_objects_in_image_and_label(tmp_path):
    image, label = street()
    kept = np.where(label == 6, 255, label).astype(np.uint8)
    for name, one in (('bare', kept), ('full', label)):
        cv2.imwrite(str(tmp_path / f'{name}.png'), image[..., ::-1] // (1 + (name == 'bare')))
        cv2.imwrite(str(tmp_path / f'{name}_label.png'), one)
    files = [(tmp_path / f'{n}.png', tmp_path / f'{n}_label.png') for n in ('bare', 'full')]
    clips = [Clip('', (Frame(*paths),), 15.0, CAMVID) for paths in files]
    source = StillPairs(list(LabelledFrames(clips)), paste_share=1.0)
    drawn = [source.pair(0, np.random.default_rng(seed)) for seed in range(10)]
    pasted = [(labelled, found) for _, labelled, found in drawn if (found == 6).any()]
    assert 0 < len(pasted) < 10
    assert all((labelled[label == 6] == image[label == 6]).all() for labelled, _ in pasted)
    with_gap = source.pair(0, np.random.default_rng(0), 4)
    assert np.array_equal(with_gap[2], kept)  # validation shows what was labelled


def test_layered_pairs_move_the_labelled_frame(tmp_path):
    image, label = street()
    cv2.imwrite(str(tmp_path / 'a.png'), image[..., ::-1])
    cv2.imwrite(str(tmp_path / 'b.png'), label)
    clip = Clip('still', (Frame(tmp_path / 'a.png', tmp_path / 'b.png'),), 15.0, CAMVID)
    source = LayeredPairs(LabelledFrames([clip]), Always(3))
    reference, labelled, read = source.pair(0, np.random.default_rng(0))
    assert np.array_equal(labelled, image)
    assert np.array_equal(read, label)
    assert reference.shape == image.shape
    assert (reference != image).any()


def test_street_pairs_get_extra_objects_in_image_and_label():
    source = RoadScenePairs([street()] * 2, Always(2), paste_share=1.0)
    empty = RoadScenePairs([street()] * 2, Always(2), paste_share=0.0)
    rng = np.random.default_rng(0)
    plain = empty.pair(0, rng)
    assert np.array_equal(plain[1], street()[0])
    with_gap = source.pair(0, rng, 2)  # validation shows what was labelled
    assert np.array_equal(with_gap[1], street()[0])
    image, label = street()
    label[:] = 3
    bare_and_full = RoadScenePairs([(image, label), street()], Always(2), paste_share=1.0)
    drawn = [bare_and_full.pair(0, np.random.default_rng(i)) for i in range(10)]
    assert any((found == 6).any() for _, _, found in drawn)
    assert (label == 3).all()


def test_pairs_follow_from_seed_and_index():
    source = RoadScenePairs([street()] * 3, AgeMatchedGaps((4,)), paste_share=1.0)
    augmentation = RoadSceneAugmentation(crop=(64, 64))
    pairs = [PairDataset([(source, 1)], augmentation, seed) for seed in (5, 5, 6)]
    first, same, other = (dataset[7] for dataset in pairs)
    assert all((a == b).all() for a, b in zip(first, same, strict=True))
    assert not all((a == b).all() for a, b in zip(first, other, strict=True))
    assert first.reference.shape == (3, 64, 64)
    assert first.label.shape == (64, 64)


@pytest.mark.parametrize('gap', [1, 2, -1, -2])
def test_drive_pairs_are_a_gap_apart(gap):
    frames = np.arange(5, dtype=np.uint8)[None, :, None, None]
    labels = np.broadcast_to(frames, (1, 5, 2, 2))
    images = np.broadcast_to(frames[..., None], (1, 5, 2, 2, 3))
    source = DrivePairs(images, labels, Always(gap))
    assert len(source) == 5
    for index in range(5):
        reference, labelled, label = source.pair(index, np.random.default_rng(0))
        assert labelled[0, 0, 0] == label[0, 0]
        assert int(labelled[0, 0, 0]) - int(reference[0, 0, 0]) == gap


def test_drives_at_rest_are_their_own_reference():
    frames = np.arange(5, dtype=np.uint8)[None, :, None, None]
    images = np.broadcast_to(frames[..., None], (1, 5, 2, 2, 3))
    source = DrivePairs(images, np.broadcast_to(frames, (1, 5, 2, 2)), None)
    for index in range(5):
        reference, labelled, label = source.pair(index, np.random.default_rng(0), 2)
        assert reference is labelled
        assert labelled[0, 0, 0] == label[0, 0] == index


def test_sources_are_mixed_by_share():
    class Constant(PairSource):
        def __init__(self, value):
            self.frame = np.full((64, 64, 3), value, np.uint8)

        def __len__(self):
            return 1

        def pair(self, index, rng, gap=None):
            return self.frame, self.frame, self.label(index)

        def label(self, index):
            return np.zeros((64, 64), np.uint8)

    options = {'crop': (32, 32), 'scale': (1, 1), 'rotation_deg': 0, 'stretch': 0}
    augmentation = RoadSceneAugmentation(**options, **STILL_LIGHT)
    dataset = PairDataset([(Constant(10), 3), (Constant(200), 1)], augmentation)
    bright = sum(int(dataset[i].labelled.max()) > 100 for i in range(200))
    assert 30 < bright < 70


def test_epochs_go_on_numbering():
    start = 0
    sampler = RunningSampler(5, 2, lambda: start)
    first = list(sampler)
    start = 6
    assert first == [0, 1, 2, 3]  # whole batches only
    assert list(sampler) == [6, 7, 8, 9]
    assert len(sampler) == 4


def test_processes_share_every_batch():
    ranks = [list(RunningSampler(8, 4, lambda: 100, rank, 2)) for rank in (0, 1)]
    assert ranks == [[100, 101, 104, 105], [102, 103, 106, 107]]


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ((8, 3, lambda: 0, 0, 2), '`batch_size` must be a multiple of the 2 processes, got 3'),
        ((2, 4, lambda: 0), r'`pairs_per_epoch` must be at least one batch \(4\), got 2'),
    ],
)
def test_batches_that_cannot_be_made_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        RunningSampler(*values)


def test_validation_pairs_are_the_same_every_time():
    dataset = FixedPairDataset(RoadScenePairs([street()], Always(1)), age=4)
    assert (dataset[0].reference == dataset[0].reference).all()
    assert (dataset[0].reference != dataset[0].labelled).any()
    assert len(dataset) == 1


def test_validation_images_are_shrunk_and_labels_are_not():
    pair = FixedPairDataset(RoadScenePairs([street()], Always(1)), age=4, height=60)[0]
    assert pair.reference.shape == pair.labelled.shape == (3, 60, 80)
    assert pair.label.shape == (120, 160)


def test_seed_below_0_is_refused():
    with pytest.raises(ValueError, match='`seed` must be at least 0, got -1'):
        PairDataset([(StillPairs([street()]), 1)], RoadSceneAugmentation(), -1)
