"""What elevation_mapping_cupy makes of the channels of our clouds."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('sensor_msgs')

from elevation_layers import ElevationLayers
from labelled_clouds import Clouds, picture
from sensor_msgs.msg import CameraInfo, PointCloud2

from dcfm_ros.cloud.points import point_type
from dcfm_ros.masks.class_labels import ClassLabels

LABELS = ClassLabels({0: 'road', 1: 'car'}, {0: (1, 2, 3), 1: (4, 5, 6)})
CHANNELS = ('road', 'car')
IDS = {'road': 0, 'car': 1, 'void': 255}
SURE, UNSURE = 204, 102  # .8 and .4


def see(
    *columns: str, has_confidence: bool = True, **parameters: object
) -> tuple[PointCloud2, PointCloud2]:
    """`points` and `points/filtered` of an image whose columns each lie above one cell.

    A pixel is the name of a class; `?` means unsure, `-` without depth.
    """
    rows = list(zip(*(column.split() for column in columns), strict=True))
    mask = np.array([[IDS[pixel.rstrip('?-')] for pixel in row] for row in rows], np.uint8)
    sureness = [[UNSURE if '?' in pixel else SURE for pixel in row] for row in rows]
    depth = np.array([[0 if '-' in pixel else 2000 for pixel in row] for row in rows], np.uint16)
    # 2 m away, neighbouring columns are .2 m apart.
    k = [10.0, 0.0, -0.5, 0.0, 100.0, len(rows) / 2, 0.0, 0.0, 1.0]
    made = Clouds(LABELS, channels=CHANNELS, **parameters)
    cloud, *_ = made.make(
        picture(depth, '16UC1'),
        picture(mask, 'mono8'),
        picture(np.array(sureness, np.uint8), 'mono8') if has_confidence else None,
        CameraInfo(width=len(columns), height=len(rows), k=k),
    )
    return cloud, made.filtered


def layers_of(*clouds: PointCloud2, fusion: str = 'class_average') -> list[list[float]]:
    """Layers road and car of the cells, from left to right."""
    layers = ElevationLayers(CHANNELS, resolution_m=0.2, fusion=fusion)
    for cloud in clouds:
        layers.fuse(cloud)
    return [layers.layers[cell].tolist() for cell in sorted(layers.layers, reverse=True)]


def test_a_layer_is_the_mean_confidence_of_its_class() -> None:
    _, filtered = see('road road road road', 'car car road road?', 'car? car? car? road')
    assert layers_of(filtered) == pytest.approx(
        np.array([[0.8, 0.0], [0.3, 0.4], [0.2, 0.3]]), abs=1e-6
    )


def test_without_confidence_it_is_the_share_of_the_points() -> None:
    _, filtered = see('road road car car?', 'car? car road car?', has_confidence=False)
    assert layers_of(filtered) == [[0.5, 0.5], [0.25, 0.75]]


@pytest.mark.parametrize('border', ['car?', 'void', 'car? void', 'void-'])
def test_doubtful_pixels_do_not_decide_on_a_cell(border: str) -> None:
    _, filtered = see(f'{border} road road', min_confidence=0.5)
    ((road, car),) = layers_of(filtered)
    assert (road, car) == (pytest.approx(0.8), 0.0)


def test_every_value_is_a_number_even_without_a_place() -> None:
    cloud, _ = see('void car? road-', min_confidence=0.5)
    points = np.frombuffer(cloud.data, point_type(CHANNELS))
    assert np.isnan(points['x']).all()
    assert [points[name].tolist() for name in CHANNELS] == [
        pytest.approx([0.0, 0.0, 0.8]),
        [0.0, 0.0, 0.0],
    ]


def test_a_class_that_has_gone_fades_by_half_with_each_cloud() -> None:
    clouds = [see(f'{name} {name}')[1] for name in ('car', 'road', 'road')]
    assert layers_of(*clouds[:1]) == pytest.approx(np.array([[0.0, 0.8]]))
    assert layers_of(*clouds[:2]) == pytest.approx(np.array([[0.8, 0.4]]))
    assert layers_of(*clouds) == pytest.approx(np.array([[0.8, 0.2]]))


def test_only_the_filtered_cloud_can_be_read_where_points_have_no_place() -> None:
    cloud, filtered = see('void road road', 'road- car car')
    with pytest.raises(ValueError, match='4 places and 6 values'):
        layers_of(cloud)
    assert len(layers_of(filtered)) == 2
    whole, filtered = see('road road', 'car car')
    assert layers_of(whole) == layers_of(filtered)


def test_class_bayesian_sees_the_upper_rows_alone() -> None:
    _, filtered = see('car car road road road road', 'car road road road road road')
    assert [road > car for road, car in layers_of(filtered)] == [True, True]
    by_rows = layers_of(filtered, fusion='class_bayesian')
    assert by_rows == pytest.approx(np.array([[1 / 3, 2 / 3], [2 / 3, 1 / 3]]), abs=1e-6)


def test_a_channel_that_the_cloud_lacks_is_missed() -> None:
    _, filtered = see('road car')
    layers = ElevationLayers(('road', 'lawn'), resolution_m=0.2)
    with pytest.raises(ValueError, match='missing configured channel lawn'):
        layers.fuse(filtered)
