"""Things that stand or move along the synthetic street, ready to paint."""

from __future__ import annotations

from collections.abc import Callable
import math
from typing import NamedTuple

import numpy as np

from dcfm_ros.synthetic.camera import UP, Floats, unit_normal
from dcfm_ros.synthetic.canvas import Canvas, Capsules, Panel, Solid
from dcfm_ros.synthetic.facades import Facade
from dcfm_ros.synthetic.solids import (
    BUILDING,
    POLE,
    TREE,
    Vehicle,
    make_box,
    make_face,
)
from dcfm_ros.synthetic.textures import Texture


class Item(NamedTuple):
    """Something to paint."""

    far: float
    """Far end along the road, metres."""
    near: float
    """Near end along the road, metres."""
    layer: float
    """Metres beyond the pavement, 0 on road and pavement. An outer layer never hides an inner."""
    paint: Callable[[Canvas], None]


def make_panel(
    texture: Texture,
    origin: Floats,
    right: Floats,
    down: Floats,
    label: int,
    *,
    seen_from: Floats | None = None,
) -> Panel:
    """Build a panel from its top left corner and two edges.

    Args:
        texture: Its picture.
        origin: Top left corner, world metres.
        right: Upper edge, metres.
        down: Left edge, metres.
        label: Class id.
        seen_from: A point on its visible side; without it both sides are visible.
    """
    corners = np.array([origin, origin + right, origin + right + down, origin + down])
    normal = unit_normal(right, down)
    if seen_from is not None and normal @ (seen_from - origin) < 0:
        normal = -normal
    return Panel(corners, normal, texture, label, seen_from is None)


def make_house(
    rng: np.random.Generator,
    house: Facade,
    near: Floats,
    far: Floats,
    layer: float,
    *,
    side: float,
    exposed: bool,
) -> Item:
    """Build a house whose front stands between two points on the ground.

    Args:
        rng: Decides about the chimney.
        house: Its looks.
        near: Foot of the front's near end, world metres.
        far: Foot of the front's far end.
        layer: Metres beyond the pavement.
        side: -1 on the left of the road, 1 on the right.
        exposed: Whether its near wall may be seen beside the house before it.
    """
    deep, rise, along = np.array([side * 9.0, 0, 0]), UP * house.height, far - near
    ridge = deep / 2 + UP * house.rise
    street = near - deep
    panels = [make_panel(house.front, near + rise, along, -rise, BUILDING, seen_from=street)]
    if house.rise:
        roof = make_panel(
            house.roof, near + rise + ridge, along, -ridge, BUILDING, seen_from=street + UP * 30
        )
        panels.insert(0, roof)
    gable = None
    if exposed:
        before = near - along
        panels.insert(
            0, make_panel(house.wall, near + rise, deep, -rise, BUILDING, seen_from=before)
        )
        if house.rise:
            top = near + rise
            gable = make_face([top, top + ridge, top + deep], house.wall_colour, BUILDING, before)
    stack = make_box((1.0, 1.6, 0.8), np.array(house.wall_colour) * 0.9, BUILDING)
    foot = near + rise + ridge - UP * 0.4 + along * rng.uniform(0.1, 0.3)
    smokes = house.rise > 0 and rng.random() < 0.6

    def paint(canvas: Canvas) -> None:
        if gable is not None:
            canvas.solid(gable, np.zeros(3), 0.0)
        if smokes:
            canvas.solid(stack, foot, 0.0)
        for panel in panels:
            canvas.panel(panel)

    return Item(float(far[2]), float(near[2]), layer, paint)


def make_fence_item(
    texture: Texture, near: Floats, far: Floats, height: float, label: int, layer: float
) -> Item:
    """Build a fence between two points on the ground."""
    panel = make_panel(texture, near + UP * height, far - near, -UP * height, label)
    return Item(float(far[2]), float(near[2]), layer, lambda canvas: canvas.panel(panel))


def make_tree_item(
    texture: Texture, foot: Floats, height: float, shape: float, heading: float, layer: float
) -> Item:
    """Build a tree; its crown is a panel across the road, `shape` is width / height."""
    ends = np.array([[foot, foot + UP * height * 0.5]])
    bark = np.array([[62.0, 52.0, 44.0]])
    trunk = Capsules(ends, np.array([[0.18, 0.1]]) * height / 7, bark, TREE)
    right = np.array([math.cos(heading), 0, -math.sin(heading)]) * height * shape
    crown = make_panel(texture, foot + UP * height - right / 2, right, -UP * height * 0.85, TREE)

    def paint(canvas: Canvas) -> None:
        canvas.capsules(trunk)
        canvas.panel(crown)

    return Item(float(foot[2]), float(foot[2]), layer, paint)


def make_lamp(foot: Floats, reach: float, height: float, colour: Floats) -> Item:
    """Build a lamp post; `reach` is how far its arm goes to the right, metres."""
    aside = np.array([reach, 0, 0])
    top, head = foot + UP * height, foot + aside + UP * (height + 0.25)
    joints = [(foot, foot + UP * 1.2), (foot, top), (top, head), (head, head + aside * 0.3)]
    radii = np.array([[0.1, 0.09], [0.065, 0.045], [0.04, 0.04], [0.1, 0.08]])
    colours = np.array([colour, colour, colour, colour * 0.5 + 80])
    post = Capsules(np.array(joints), radii, colours, POLE)
    return Item(float(foot[2]), float(foot[2]), 0.0, lambda canvas: canvas.capsules(post))


def make_sign_item(sign: Solid | None, foot: Floats, height: float, colour: Floats) -> Item:
    """Build a sign on its post; without a sign the post is a bollard."""
    ends = np.array([[foot, foot + UP * height]])
    radius = 0.1 if sign is None else 0.045
    post = Capsules(ends, np.full((1, 2), radius), colour[None], POLE)

    def paint(canvas: Canvas) -> None:
        canvas.capsules(post)
        if sign is not None:
            canvas.solid(sign, foot + UP * height, 0.0)

    return Item(float(foot[2]), float(foot[2]), 0.0, paint)


def make_vehicle_item(vehicle: Vehicle, place: Floats, heading: float) -> Item:
    """Place a vehicle with its shadow; `heading` is in radians from z to x."""
    reach = vehicle.length / 2
    along = np.array([math.sin(heading), 0, math.cos(heading)]) * reach * 1.04
    across = np.array([math.cos(heading), 0, -math.sin(heading)]) * vehicle.width * 0.54
    shadow = place + np.array([along - across, along + across, across - along, -along - across])

    def paint(canvas: Canvas) -> None:
        canvas.shadow(shadow, 0.6)
        canvas.solid(vehicle.solid, place, heading)

    return Item(float(place[2]) + reach, float(place[2]) - reach, 0.0, paint)


def make_body_item(
    pose: Callable[[], Capsules], place: Floats, heading: float, reach: float
) -> Item:
    """Place a person with a shadow `reach` metres to both ends; posed only if it is painted."""
    along = np.array([math.sin(heading), 0, math.cos(heading)]) * reach
    across = np.array([math.cos(heading), 0, -math.sin(heading)]) * 0.25
    shadow = place + np.array([along, across, -along, -across])

    def paint(canvas: Canvas) -> None:
        canvas.shadow(shadow, 0.4)
        canvas.capsules(pose())

    return Item(float(place[2]), float(place[2]), 0.0, paint)
