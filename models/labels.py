"""Class names and colours of the datasets that the presets are made for; plain facts, no code."""

from __future__ import annotations

import colorsys

UNLABELLED = 255
"""Mask value of a pixel that has no class (the vision_msgs rule for uint8 masks)."""

CAMVID_NAMES = (
    'sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car', 'pedestrian',
    'bicyclist',
)  # fmt: skip
CAMVID_PALETTE = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (0, 0, 192), (128, 128, 0),
    (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
)  # fmt: skip

CITYSCAPES_NAMES = (
    'road', 'sidewalk', 'building', 'wall', 'fence', 'pole', 'traffic light', 'traffic sign',
    'vegetation', 'terrain', 'sky', 'person', 'rider', 'car', 'truck', 'bus', 'train',
    'motorcycle', 'bicycle',
)  # fmt: skip
CITYSCAPES_PALETTE = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153),
    (153, 153, 153), (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152),
    (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100),
    (0, 80, 100), (0, 0, 230), (119, 11, 32),
)  # fmt: skip

VSPW_NAMES = tuple(
    """
    wall ceiling door stair ladder escalator Playground_slide handrail_or_fence window rail
    goal pillar pole floor ground grass sand athletic_field road path crosswalk building house
    bridge tower windmill well_or_well_lid other_construction sky mountain stone wood ice
    snowfield grandstand sea river lake waterfall water billboard_or_Bulletin_Board sculpture
    pipeline flag parasol_or_umbrella cushion_or_carpet tent roadblock car bus truck bicycle
    motorcycle wheeled_machine ship_or_boat raft airplane tyre traffic_light lamp person cat
    dog horse cattle other_animal tree flower other_plant toy ball_net backboard skateboard bat
    ball cupboard_or_showcase_or_storage_rack box traveling_case_or_trolley_case basket
    bag_or_package trash_can cage plate tub_or_bowl_or_pot bottle_or_cup barrel fishbowl bed
    pillow table_or_desk chair_or_seat bench sofa shelf bathtub gun commode roaster
    other_machine refrigerator washing_machine Microwave_oven fan curtain textiles clothes
    painting_or_poster mirror flower_pot_or_vase clock book tool blackboard tissue
    screen_or_television computer printer Mobile_phone keyboard other_electronic_product fruit
    food instrument train
    """.split()  # noqa: SIM905 - a list of 124 quoted strings is harder to read
)


def generic_names(num_classes: int) -> tuple[str, ...]:
    """Names for a network that was given none: 'class 0', 'class 1', ..."""
    return tuple(f'class {index}' for index in range(num_classes))


def generic_palette(num_classes: int) -> tuple[tuple[int, int, int], ...]:
    """Clearly different RGB colours for `num_classes` classes (golden-angle hues)."""
    palette = []
    for index in range(num_classes):
        hue = index * 0.61803398875 % 1.0
        value = (0.95, 0.7, 0.85)[index % 3]
        red, green, blue = colorsys.hsv_to_rgb(hue, (0.65, 0.9)[index % 2], value)
        palette.append((round(255 * red), round(255 * green), round(255 * blue)))
    return tuple(palette)
