"""What Nav2's semantic layer sees of our clouds: no wanted class is lost to a doubtful pixel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
import pytest

pytest.importorskip('sensor_msgs')

from labelled_clouds import Clouds, picture
from repository import CAMVID, ROOT
from semantic_layer import SemanticLayer
from sensor_msgs.msg import CameraInfo, Image
import yaml

from dcfm_ros.masks.class_labels import ClassLabels

NAMES = (
    'sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car', 'pedestrian',
    'bicyclist',
)  # fmt: skip
LABELS = ClassLabels(dict(enumerate(NAMES)), {index: (index, 0, 0) for index in range(11)})
IDS = {name: index for index, name in enumerate(NAMES)} | {'void': 255, 'other': 42}
SOURCE = yaml.safe_load((ROOT / 'config' / 'nav2_semantic_layer.yaml').read_text(encoding='utf-8'))
SOURCE = SOURCE['costmap']['ros__parameters']['semantic_layer']['camera']
RESOLUTION_M = 0.05
HEIGHT_M = 0.4
ON = {'min_confidence': 0.4, 'drop_labels': ('sky',)}
"""As in nav2_example.launch.py; drop_unlabelled is the default."""
OFF = {'min_confidence': 0.0, 'drop_labels': (), 'drop_unlabelled': False}
UNSURE, SURE, CERTAIN = 70, 220, 255


@dataclass(frozen=True)
class Scene:
    """Columns of an image, each of which lies above one tile: pixels from top to bottom.

    A pixel is the name of a class; `?` means unsure, `+` certain, `-` without depth, `!` far off.
    """

    name: str
    columns: tuple[str, ...]
    expected: tuple[str, ...]
    """Class of each tile, '' if it must get none."""
    fails_without: bool
    """Whether the layer shows something else without our parameters."""
    by_cost: bool = True
    stride: int = 1
    scale: int = 1
    """Mask and confidence are this much larger than the depth image."""
    has_confidence: bool = True
    is_metric: bool = False
    parameters: tuple[tuple[str, Any], ...] = ()

    def images(self) -> tuple[Image, Image, Image | None, CameraInfo]:
        texts = [column.split() for column in self.columns]
        pixels = [
            [texts[column][row] for column in range(len(texts))] for row in range(len(texts[0]))
        ]
        mask = np.array([[IDS[pixel.rstrip('?+-!')] for pixel in row] for row in pixels], np.uint8)
        sureness = {'?': UNSURE, '+': CERTAIN}
        confidence = np.array(
            [[sureness.get(pixel[-1], SURE) for pixel in row] for row in pixels], np.uint8
        )
        metres = np.array(
            [[{'-': 0.0, '!': 20.0}.get(pixel[-1], 2.0) for pixel in row] for row in pixels]
        )
        if self.is_metric:
            metres[metres == 0.0] = np.inf
            depth = picture(metres.astype(np.float32), '32FC1')
        else:
            depth = picture((metres * 1000).astype(np.uint16), '16UC1')
        mask, confidence = (
            image.repeat(self.scale, 0).repeat(self.scale, 1) for image in (mask, confidence)
        )
        rows, columns = metres.shape
        # 2 m away, neighbouring columns are 0.2 m apart, 4 tiles, and their middle is in a tile's.
        k = [10.0, 0.0, -0.125, 0.0, 100.0, rows / 2, 0.0, 0.0, 1.0]
        return (
            depth,
            picture(mask, 'mono8'),
            picture(confidence, 'mono8') if self.has_confidence else None,
            CameraInfo(width=columns, height=rows, k=k),
        )

    def shown(self, **parameters: Any) -> tuple[str, ...]:
        """The class that the layer shows in each tile."""
        given = parameters | (dict(self.parameters) if parameters == ON else {})
        clouds = Clouds(LABELS, stride=self.stride, **given).make(*self.images())
        source = SOURCE | {'use_cost_selection': self.by_cost}
        layer = SemanticLayer(source, LABELS.names, resolution_m=RESOLUTION_M, height_m=HEIGHT_M)
        tiles = layer.tiles(*clouds)
        steps = range(0, len(self.columns), self.stride)
        places = [(40, -1 - 4 * column) for column in steps]
        assert tiles.keys() <= set(places)
        return tuple(NAMES[tiles[place].label] if place in tiles else '' for place in places)


SCENES = (
    Scene('all of one class', ('road road road', 'car car car'), ('road', 'car'), False),
    Scene(
        'unlabelled first', ('void road road', 'void void pavement'), ('road', 'pavement'), True
    ),
    Scene(
        'unlabelled between and last',
        ('road void road', 'pavement road void'),
        ('road', 'pavement'),
        False,
    ),
    Scene(
        'unlabelled before an obstacle', ('void car car', 'tree void void'), ('car', 'tree'), False
    ),
    Scene('nothing but unlabelled', ('void void', 'road road'), ('', 'road'), False),
    Scene(
        'unsure border of an obstacle',
        ('car? road road', 'road pedestrian? road'),
        ('road', 'road'),
        True,
    ),
    Scene(
        'unsure ground before an obstacle',
        ('road? car car', 'car road? road?'),
        ('car', 'car'),
        False,
    ),
    Scene(
        'unsure obstacle of less cost',
        ('pavement tree? pavement', 'sign? road road'),
        ('pavement', 'road'),
        True,
    ),
    Scene(
        'lethal unsure, avoided sure',
        ('building? tree tree', 'tree fence? tree'),
        ('tree', 'tree'),
        True,
    ),
    Scene('nothing sure', ('car? road? road?', 'road road road'), ('', 'road'), True),
    Scene(
        'two classes of different cost',
        ('road car road', 'sign building sign'),
        ('car', 'building'),
        False,
    ),
    Scene(
        'two classes of one cost', ('pavement road', 'road pavement'), ('pavement', 'road'), False
    ),
    Scene(
        'sky at the edge of something',
        ('sky road road', 'sky sky pavement'),
        ('road', 'pavement'),
        True,
    ),
    Scene('sky alone', ('sky sky', 'sky road'), ('', 'road'), True),
    Scene(
        'sky before an obstacle', ('sky building', 'building sky'), ('building', 'building'), False
    ),
    Scene('id without a name', ('other road road', 'other other other'), ('road', ''), True),
    Scene('holes of depth', ('car- road road', 'road- road- road-'), ('road', ''), False),
    Scene(
        'unlabelled above a hole of depth',
        ('void road- road', 'road void- void'),
        ('road', 'road'),
        True,
    ),
    Scene(
        'depth in metres, with infinity',
        ('void car- road', 'car- road void'),
        ('road', 'road'),
        True,
        is_metric=True,
    ),
    Scene('beyond the range of the layer', ('car! road', 'road car!'), ('road', 'road'), False),
    Scene('unlabelled too far', ('void! road void', 'void road void!'), ('road', 'road'), True),
    Scene(
        'by confidence: unlabelled and sure',
        ('road void+ road', 'void+ car? void+'),
        ('road', ''),
        True,
        by_cost=False,
    ),
    Scene(
        'by confidence: sky and road',
        ('road sky+', 'sky+ pavement'),
        ('road', 'pavement'),
        True,
        by_cost=False,
    ),
    Scene(
        'mask twice as large', ('void road', 'car? pavement'), ('road', 'pavement'), True, scale=2
    ),
    Scene(
        'every second pixel',
        ('void car road car', 'car car car car', 'car? car pavement car'),
        ('road', 'pavement'),
        True,
        stride=2,
    ),
    Scene(
        'no confidence', ('void road', 'road void'), ('road', 'road'), True, has_confidence=False
    ),
    Scene(
        'unwanted by id',
        ('pole road', 'bicyclist road'),
        ('road', 'bicyclist'),
        True,
        parameters=(('drop_labels', ('2', 'sky')),),
    ),
)


@pytest.mark.parametrize('scene', SCENES, ids=lambda scene: scene.name)
def test_layer_shows_the_classes_that_are_wanted_and_sure(scene: Scene) -> None:
    assert scene.shown(**ON) == scene.expected


def test_without_the_parameters_tiles_are_lost() -> None:
    wrong = {scene.name for scene in SCENES if scene.shown(**OFF) != scene.expected}
    assert wrong == {scene.name for scene in SCENES if scene.fails_without}
    assert len(SCENES) >= 20
    assert len(wrong) >= 5


class Drive:
    """Frames of CamVid as a robot's segmentation would see them, with a made-up depth camera.

    Classes and confidences are those of the packaged network, 255 where people could not tell. The
    ground is a plane, whatever stands on it is as far as its foot, and stereo makes it too thick.
    """

    EVERY = 13  # of 101 frames
    HEIGHT_M, FOCAL_PX, HORIZON = 1.5, 400.0, 150

    def __init__(self) -> None:
        from engines import make_engine

        from dcfm_ros.models.checkpoint import load_checkpoint
        from dcfm_ros.models.checkpoint_header import find_checkpoint

        self._engine = make_engine(load_checkpoint(find_checkpoint()), precision='fp32')
        self._paths = sorted((CAMVID / 'val').glob('*.jpg'))[:: self.EVERY]

    def __iter__(self) -> Iterator[tuple[Image, Image, Image, CameraInfo]]:
        for index, path in enumerate(self._paths):
            label_path = CAMVID / 'valannot' / f'{path.stem}.png'
            truth = np.asarray(cv2.imread(str(label_path), cv2.IMREAD_UNCHANGED))
            image = cv2.cvtColor(np.asarray(cv2.imread(str(path))), cv2.COLOR_BGR2RGB)
            result = self._engine.step(np.asarray(image, np.uint8), (index + 1) * 66_666_667)
            mask = np.where(truth == 11, np.uint8(255), result.mask)
            confidence = np.rint(result.confidence * 255).astype(np.uint8)
            height, width = truth.shape
            k = [self.FOCAL_PX, 0.0, width / 2, 0.0, self.FOCAL_PX, self.HORIZON, 0.0, 0.0, 1.0]
            yield (
                picture(self._depth(truth), '32FC1'),
                picture(mask, 'mono8'),
                picture(confidence, 'mono8'),
                CameraInfo(width=width, height=height, k=k),
            )

    def _depth(self, truth: NDArray[np.uint8]) -> NDArray[np.float32]:
        below = np.arange(len(truth))[:, None] - self.HORIZON
        plane = np.where(below > 0, self.HEIGHT_M * self.FOCAL_PX / np.maximum(below, 1), np.inf)
        on_ground = np.isin(truth, (IDS['road'], IDS['pavement']))
        foot = np.where(on_ground, np.arange(len(truth))[:, None], len(truth) - 1)
        foot = np.minimum.accumulate(foot[::-1])[::-1]  # the next row of ground below
        depth = np.where(truth == IDS['sky'], np.inf, plane[foot, 0]).astype(np.float32)
        return np.asarray(cv2.erode(depth, np.ones((7, 7), np.uint8)), np.float32)


@pytest.mark.slow
def test_drive_loses_no_tile_of_a_wanted_class() -> None:
    if not CAMVID.is_dir():
        pytest.skip(f'no {CAMVID}')
    pytest.importorskip('torch')
    source = SOURCE | {'max_obstacle_distance': 20.0}
    layer = SemanticLayer(source, LABELS.names, resolution_m=0.1, height_m=Drive.HEIGHT_M)
    clouds, all_clouds = Clouds(LABELS, stride=2, **ON), Clouds(LABELS, stride=2, **OFF)
    num_tiles = num_lost = num_false = 0
    for images in Drive():
        everything = all_clouds.make(*images)
        mask, confidence = (np.frombuffer(image.data, np.uint8) for image in everything[1:])
        is_believed = np.isin(mask, range(1, 11)) & (confidence >= 102)
        candidates: dict[tuple[int, int], list[int]] = {}
        for pixel, x, y in layer.compete(everything[0]).tolist():
            if is_believed[pixel]:
                candidates.setdefault((x, y), []).append(mask[pixel])
        expected = {tile: max(found, key=layer.max_cost) for tile, found in candidates.items()}
        shown = {tile: label for tile, (label, _) in layer.tiles(*clouds.make(*images)).items()}
        assert shown == expected
        without = {tile: label for tile, (label, _) in layer.tiles(*everything).items()}
        num_tiles += len(expected)
        num_lost += sum(without.get(tile) != label for tile, label in expected.items())
        num_false += len(without.keys() - expected.keys())
    assert num_tiles > 1000
    assert num_lost > 0
    assert num_false > 0
    print(f'{num_tiles} tiles; without the parameters {num_lost} lost, {num_false} false')
