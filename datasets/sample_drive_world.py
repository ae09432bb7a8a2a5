"""The world of the sample drive: a straight street, a few cars, seven cameras. Geometry and looks, no pixels.

World frame, in metres: x along the street in driving direction, y to the left, z up; the origin is on the ground
under the cameras at time 0. "Relative" coordinates move with the ego car: x_relative = x_world - ego_speed * time.
The ego car keeps its lane (y = 0) and its heading, so only x changes.

Cameras: ideal pinholes, level, no roll, all at one point CAMERA_HEIGHT above the ground. One shared centre is what
makes seams exact: two cameras that see a point see it from the same place. Pixel (u, v), u to the right and v down
in pixels, looks along  forward + a * right + b * up,  with
    f = (width / 2) / tan(hfov / 2),   a = (u - width / 2) / f,   b = (HORIZON * height - v) / f.
A hit at parameter t is at depth t, at plan distance t * sqrt(1 + a^2), and at height CAMERA_HEIGHT + t * b. Since
the cameras are level, everything vertical depends on the column alone: that is what the renderer lives on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from cosmos_ray.clip.request import VIEWS

Colour = tuple[float, float, float]
PaletteName = Literal["day", "dusk", "rain"]
CarColour = Literal["red", "blue", "yellow", "white"]
Slot = Literal["ahead", "behind", "left", "right", "oncoming"]

CAR_COLOURS: tuple[CarColour, ...] = get_args(CarColour)
SLOTS: tuple[Slot, ...] = get_args(Slot)

CAMERA_HEIGHT = 2.2  # m
HORIZON = 0.45  # the horizon's row, as a fraction of the image height from the top
LANE_WIDTH = 3.6  # m; four lanes: right, ego, left (our direction), oncoming
#: Lane centre (y) of each slot.
LANE_Y: Mapping[Slot, float] = MappingProxyType(
    {"ahead": 0.0, "behind": 0.0, "left": LANE_WIDTH, "right": -LANE_WIDTH, "oncoming": 2 * LANE_WIDTH}
)
ROAD_Y = (-1.5 * LANE_WIDTH, 2.5 * LANE_WIDTH)  # right and left edge of the asphalt
SIDEWALK_WIDTH = 2.6
FACADE_Y = (ROAD_Y[0] - 5.0, ROAD_Y[1] + 5.0)  # planes of the house fronts, right and left
TRAFFIC_RANGE = 120.0  # m; traffic that leaves one end of this range enters at the other, deep in the haze

CAR_LENGTH, CAR_WIDTH = 4.6, 2.0  # m
BODY_TOP, CABIN_TOP = 1.05, 1.75
CABIN_X = (-1.7, 0.9)  # from the car's middle, towards its front
CABIN_WIDTH = 1.8


@dataclass(frozen=True)
class Camera:
    """yaw: degrees clockwise from the driving direction (seen from above); hfov: horizontal field of view, degrees."""

    yaw: float
    hfov: float

    @property
    def forward(self) -> tuple[float, float]:
        """Unit (x, y) of the optical axis."""
        angle = math.radians(self.yaw)
        return math.cos(angle), -math.sin(angle)

    @property
    def right(self) -> tuple[float, float]:
        """Unit (x, y) towards the image's right edge."""
        angle = math.radians(self.yaw)
        return -math.sin(angle), -math.cos(angle)

    def focal(self, width: int) -> float:
        """Focal length in pixels of an image `width` pixels wide."""
        return width / 2 / math.tan(math.radians(self.hfov) / 2)


#: Neighbours overlap by at least 15 degrees; front_tele looks into the middle of front_wide.
CAMERAS: Mapping[str, Camera] = MappingProxyType(
    dict(
        zip(
            VIEWS,
            (
                Camera(0, 120),  # front_wide     -60 ..  60
                Camera(105, 120),  # cross_right   45 .. 165
                Camera(150, 70),  # rear_right    115 .. 185
                Camera(180, 50),  # rear          155 .. 205
                Camera(210, 70),  # rear_left     175 .. 245
                Camera(255, 120),  # cross_left   195 .. 315
                Camera(0, 30),  # front_tele      -15 ..  15
            ),
            strict=True,
        )
    )
)


def project(view: str, point: tuple[float, float, float], height: int, width: int) -> tuple[float, float, float]:
    """Where a point in relative coordinates (m) falls: (u, v, depth), pixels and metres.

    The point is visible if depth > 0, 0 <= u < width and 0 <= v < height (and nothing stands before it).
    """
    camera = CAMERAS[view]
    x, y, z = point
    depth = x * camera.forward[0] + y * camera.forward[1]
    if depth == 0.0:
        return math.inf, math.inf, 0.0
    focal = camera.focal(width)
    u = width / 2 + focal * (x * camera.right[0] + y * camera.right[1]) / depth
    v = HORIZON * height - focal * (z - CAMERA_HEIGHT) / depth
    return u, v, depth


@dataclass(frozen=True)
class Car:
    """One car. x: relative position of its middle at time 0 (m); speed: relative to the ego car (m/s); sway: how far
    (m) it swings to and fro while it keeps its distance."""

    colour: CarColour
    slot: Slot
    x: float
    speed: float = 0.0
    sway: float = 0.0

    @property
    def y(self) -> float:
        return LANE_Y[self.slot]

    @property
    def heading(self) -> int:
        """1 with us, -1 towards us."""
        return -1 if self.slot == "oncoming" else 1

    def position(self, time: float) -> float:
        """Relative x (m) at `time` (s), any time."""
        x = self.x + self.speed * time + self.sway * math.sin(0.8 * time)
        return (x + TRAFFIC_RANGE) % (2 * TRAFFIC_RANGE) - TRAFFIC_RANGE


@dataclass(frozen=True)
class Scene:
    """Everything that decides a drive's pixels besides the size and the times.

    buildings: seed of the street's houses; ego_speed: m/s; streaks: rain streaks a camera (0 for none).
    """

    palette: PaletteName
    cars: tuple[Car, ...]
    ego_speed: float
    buildings: int
    streaks: int = 0


@dataclass(frozen=True)
class Palette:
    """Looks of a time of day and its weather; colours are sRGB in 0..1.

    light: multiplies every lit surface. haze: distance (m) at which a surface is 63 % haze (the horizon's colour).
    sun: unit direction (x, y, z); glow: brightness and 1 - cos(angle) width of the light round it; wet: how much
    of the sky the road mirrors; lit: share of lit windows.
    """

    horizon: Colour
    zenith: Colour
    light: Colour
    haze: float
    sun: tuple[float, float, float]
    sun_colour: Colour
    glow: tuple[float, float]
    road: Colour
    grass: Colour
    skyline: Colour
    glass: Colour
    wet: float
    lit: float


LIT_WINDOW: Colour = (1.0, 0.84, 0.42)
CAR_RGB: Mapping[CarColour, Colour] = MappingProxyType(
    {"red": (0.88, 0.06, 0.06), "blue": (0.08, 0.22, 0.92), "yellow": (0.98, 0.80, 0.05), "white": (0.96, 0.96, 0.96)}
)
FACADE_RGB: tuple[Colour, ...] = (
    (0.72, 0.53, 0.42),
    (0.80, 0.74, 0.60),
    (0.62, 0.62, 0.66),
    (0.55, 0.40, 0.36),
    (0.68, 0.70, 0.62),
    (0.78, 0.66, 0.52),
)

PALETTES: Mapping[PaletteName, Palette] = MappingProxyType(
    {
        "day": Palette(
            horizon=(0.80, 0.90, 0.99),
            zenith=(0.16, 0.42, 0.86),
            light=(1.0, 1.0, 1.0),
            haze=260.0,
            sun=(0.6, -0.64, 0.48),
            sun_colour=(1.0, 0.98, 0.85),
            glow=(0.55, 0.03),
            road=(0.42, 0.42, 0.44),
            grass=(0.28, 0.52, 0.22),
            skyline=(0.55, 0.68, 0.80),
            glass=(0.20, 0.30, 0.42),
            wet=0.0,
            lit=0.0,
        ),
        "dusk": Palette(
            horizon=(0.98, 0.52, 0.20),
            zenith=(0.20, 0.12, 0.38),
            light=(0.62, 0.42, 0.42),
            haze=170.0,
            sun=(0.96, 0.26, 0.10),
            sun_colour=(1.0, 0.80, 0.40),
            glow=(0.75, 0.06),
            road=(0.42, 0.42, 0.46),
            grass=(0.30, 0.42, 0.20),
            skyline=(0.46, 0.22, 0.26),
            glass=(0.16, 0.14, 0.22),
            wet=0.06,
            lit=0.6,
        ),
        "rain": Palette(
            horizon=(0.66, 0.69, 0.72),
            zenith=(0.46, 0.49, 0.53),
            light=(0.62, 0.66, 0.70),
            haze=75.0,
            sun=(0.0, 0.0, 1.0),
            sun_colour=(0.70, 0.72, 0.74),
            glow=(0.0, 0.1),
            road=(0.36, 0.38, 0.42),
            grass=(0.28, 0.42, 0.28),
            skyline=(0.56, 0.60, 0.63),
            glass=(0.24, 0.32, 0.40),
            wet=0.55,
            lit=0.06,
        ),
    }
)
