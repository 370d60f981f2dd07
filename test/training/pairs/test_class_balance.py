import cv2
import numpy as np
import pytest

from dcfm_ros.training.data import PairData
from dcfm_ros.training.footage.clips import Clip, Frame
from dcfm_ros.training.footage.label_sets import CAMVID
from dcfm_ros.training.pairs.augment import RoadSceneAugmentation
from dcfm_ros.training.pairs.class_balance import BalancedPairs
from dcfm_ros.training.pairs.gaps import NeighbourGaps
from dcfm_ros.training.pairs.pair_dataset import PairDataset
from dcfm_ros.training.pairs.pair_sources import DrivePairs, LabelledFrames, PairSource, VideoPairs
from dcfm_ros.training.pairs.paper_augment import (
    CamVidAugmentation,
    CityscapesAugmentation,
    VspwAugmentation,
)
from dcfm_ros.training.pairs.source_options import SourceOptions
from dcfm_ros.training.pairs.still_pairs import LayeredPairs, RoadScenePairs, StillPairs

COMMON, RARE, OTHER = 3, 9, 6


class Labels(PairSource):
    """A source that shows its labels, and counts how often each is read."""

    def __init__(self, *labels):
        self.labels = labels
        self.reads = [0] * len(labels)

    def __len__(self):
        return len(self.labels)

    def pair(self, index, rng, gap=None):
        image = np.full((*self.labels[index].shape, 3), index, np.uint8)
        return image, image, self.labels[index]

    def label(self, index):
        self.reads[index] += 1
        return self.labels[index]


def with_spots(*spots, height=100, width=100):
    """A label of COMMON with so many pixels of other classes in its upper left corner."""
    label = np.full((height, width), COMMON, np.uint8)
    start = 0
    for class_id, count in spots:
        label.ravel()[start : start + count] = class_id
        start += count
    return label


def test_classes_are_drawn_by_how_rare_they_are():
    source = Labels(with_spots((RARE, 100), (OTHER, 200)), with_spots())  # 0.5 % and 1 %
    rng = np.random.default_rng(0)
    balanced = BalancedPairs(source, 1.0)
    drawn = [balanced.draw(rng)[1] for _ in range(2000)]
    expected = 1 / (1 + np.exp(-0.5))
    assert abs(drawn.count(RARE) / 2000 - expected) < 0.03
    assert drawn.count(COMMON) == 0
    assert source.reads == [1, 1]


def test_ignored_pixels_are_not_counted():
    half = with_spots((255, 9700), (RARE, 100), (OTHER, 200))  # a third is COMMON
    drawn = BalancedPairs(Labels(half), 1.0)
    rng = np.random.default_rng(0)
    found = [drawn.draw(rng)[1] for _ in range(300)]
    assert found.count(RARE) > 290


def test_a_frame_holds_a_class_from_fifty_pixels_on():
    source = Labels(with_spots((RARE, 49)), with_spots((RARE, 50)), with_spots((RARE, 60)))
    balanced = BalancedPairs(source, 1.0)
    rng = np.random.default_rng(0)
    drawn = [balanced.draw(rng) for _ in range(100)]
    assert {focus for _, focus in drawn} == {RARE}
    assert {int(pair[0][0, 0, 0]) for pair, _ in drawn} == {1, 2}


def test_only_a_share_of_the_pairs_is_drawn_for_a_class():
    balanced = BalancedPairs(Labels(with_spots(), with_spots((RARE, 60))), 0.25)
    rng = np.random.default_rng(0)
    drawn = [balanced.draw(rng) for _ in range(1000)]
    assert 200 < sum(focus is not None for _, focus in drawn) < 300
    frames = [int(pair[0][0, 0, 0]) for pair, focus in drawn if focus is None]
    assert 0.4 < np.mean(frames) < 0.6


def test_labels_without_a_class_are_refused():
    source = Labels(with_spots((255, 9990)))
    with pytest.raises(ValueError, match='must hold a class on at least 50 pixels of a frame'):
        BalancedPairs(source, 0.5)


def test_no_pair_is_drawn_for_a_set_of_classes():
    car_or_bicyclist = 12  # of CamVid's 11 classes
    source = Labels(with_spots((car_or_bicyclist, 60), (RARE, 100)), with_spots((OTHER, 200)))
    rng = np.random.default_rng(0)
    balanced = BalancedPairs(source, 1.0, num_classes=11)
    assert {balanced.draw(rng)[1] for _ in range(200)} == {RARE, OTHER}
    with pytest.raises(ValueError, match='must hold a class on at least 50 pixels'):
        BalancedPairs(Labels(np.full((10, 10), car_or_bicyclist, np.uint8)), 1.0, num_classes=11)


@pytest.mark.parametrize('scale', [0.5, 1.0, 2.0])
def test_crop_shows_the_focus_wherever_it_lies(scale):
    augmentation = RoadSceneAugmentation((64, 96), (scale, scale), rotation_deg=20)
    for corner in ((0, 0), (0, 194), (70, 90), (144, 0), (144, 194)):
        label = np.full((150, 200), COMMON, np.uint8)
        label[corner[0] : corner[0] + 6, corner[1] : corner[1] + 6] = RARE
        image = np.zeros((150, 200, 3), np.uint8)
        for seed in range(20):
            _, _, seen = augmentation(image, image, label, np.random.default_rng(seed), focus=RARE)
            assert (seen == RARE).any()


def test_focus_is_anywhere_in_the_crop():
    augmentation = RoadSceneAugmentation((64, 96), (1, 1), rotation_deg=0, stretch=0)
    label = np.full((300, 400), COMMON, np.uint8)
    label[148:152, 198:202] = RARE
    image = np.zeros((300, 400, 3), np.uint8)
    rng = np.random.default_rng(0)
    places = [
        np.argwhere(augmentation(image, image, label, rng, focus=RARE)[2] == RARE).mean(axis=0)
        for _ in range(200)
    ]
    assert (np.min(places, axis=0) < (6, 9)).all()
    assert (np.max(places, axis=0) > (57, 86)).all()
    assert np.allclose(np.mean(places, axis=0), (31.5, 47.5), atol=5)


@pytest.mark.parametrize(
    'augmentation',
    [VspwAugmentation((160, 160)), CityscapesAugmentation(64), CamVidAugmentation(64)],
    ids=lambda value: type(value).__name__,
)
def test_crop_of_the_papers_augmentation_shows_the_focus(augmentation):
    label = np.full((300, 400), COMMON, np.uint8)
    label[110:126, 70:86] = RARE
    image = np.zeros((300, 400, 3), np.uint8)
    shown = {}
    for focus in (RARE, None):
        cuts = [
            augmentation(image, image, label, np.random.default_rng(seed), focus=focus)[2]
            for seed in range(20)
        ]
        assert all(cut.shape == augmentation.size for cut in cuts)
        shown[focus] = sum(bool((cut == RARE).any()) for cut in cuts)
    assert shown[RARE] == 20
    assert shown[None] < 20


@pytest.mark.parametrize('augmentation', [RoadSceneAugmentation((64, 64)), CamVidAugmentation(64)])
def test_focus_that_is_not_there_changes_nothing(augmentation):
    label = with_spots((OTHER, 300))
    image = np.repeat(label[..., None], 3, axis=2)
    plain = augmentation(image, image, label, np.random.default_rng(1))
    focused = augmentation(image, image, label, np.random.default_rng(1), focus=RARE)
    assert np.array_equal(plain[2], focused[2])


@pytest.fixture
def clips(tmp_path):
    """Three stills; RARE is on the last."""
    found = []
    for index, label in enumerate((with_spots(), with_spots(), with_spots((RARE, 400)))):
        paths = tmp_path / f'{index}.png', tmp_path / f'{index}_label.png'
        cv2.imwrite(str(paths[0]), np.repeat(10 * label[..., None], 3, axis=2))
        cv2.imwrite(str(paths[1]), label)
        found.append(Clip(str(index), (Frame(*paths),), 15.0, CAMVID))
    return found


@pytest.mark.parametrize('kind', ['video', 'memory', 'layers', 'rest', 'street', 'drives'])
def test_every_source_tells_the_labels_of_its_pairs(clips, kind):
    gaps, rng = NeighbourGaps(), np.random.default_rng(0)
    labels = np.stack([with_spots(), with_spots((RARE, 400))])[None]
    images = np.zeros((*labels.shape, 3), np.uint8)
    source = {
        'video': lambda: VideoPairs(clips, gaps),
        'memory': lambda: VideoPairs(clips, gaps, in_memory=True),
        'layers': lambda: LayeredPairs(LabelledFrames(clips), gaps),
        'rest': lambda: StillPairs(LabelledFrames(clips)),
        'street': lambda: RoadScenePairs([(images[0, 0], one) for one in labels[0]], gaps),
        'drives': lambda: DrivePairs(images, labels, None),
    }[kind]()
    for index in range(len(source)):
        assert np.array_equal(source.label(index), source.pair(index, rng, 1)[2])
    assert (source.label(len(source) - 1) == RARE).sum() == 400


def test_balanced_pairs_follow_from_seed_and_index():
    source = BalancedPairs(Labels(with_spots((RARE, 60)), with_spots((OTHER, 60))), 0.5)
    first, same = (
        PairDataset([(source, 1)], RoadSceneAugmentation((64, 64)), 5) for _ in range(2)
    )
    for index in range(5):
        pairs = zip(first[index], same[index], strict=True)
        assert all((a == b).all() for a, b in pairs)


@pytest.mark.parametrize(('balance', 'least', 'most'), [(0.0, 0, 14), (1.0, 20, 20)])
def test_training_pairs_show_rare_classes(tmp_path, balance, least, most):
    (tmp_path / 'classes.yaml').write_text('3: {name: road}\n9: {name: pedestrian}\n')
    for kind in ('images', 'masks'):
        (tmp_path / 'train' / 'clip' / kind).mkdir(parents=True)
    for index in range(8):
        label = with_spots((RARE, 100 if index == 2 else 0))
        cv2.imwrite(str(tmp_path / f'train/clip/images/{index}.png'), label)
        cv2.imwrite(str(tmp_path / f'train/clip/masks/{index}.png'), label)
    source = SourceOptions(dataset='folder', root=tmp_path, balance=balance)
    augmentation = RoadSceneAugmentation((64, 64), (1, 1), occlusion=0)
    options = {'batch_size': 1, 'pairs_per_epoch': 20, 'num_workers': 0, 'seed': 1}
    pairs = PairData([source], augmentation=augmentation, cache_dir=tmp_path, **options)
    pairs.setup('fit')
    labels = [batch.label for batch in pairs.train_dataloader()]
    assert least <= sum(bool((label == RARE).any()) for label in labels) <= most


def test_share_of_balanced_pairs_is_checked():
    with pytest.raises(ValueError, match=r'`balance` must be in \[0, 1\], got -0.1'):
        SourceOptions(dataset='rendered', balance=-0.1)
