"""The sample drive: a small seeded world seen by seven cameras, for demos, tests and the training of tiny models.

    scene = scene_from_seed(7)
    frames = render(scene, height=64, width=112)        # {view: uint8 [29, 64, 112, 3]}
    caption(scene)                                      # "A clear day on a city street. One car: one red ahead."

Needs numpy alone. `sample_drive_world` holds geometry and looks, `sample_drive_render` and its painters the ray caster.
"""

from __future__ import annotations

import math

import numpy as np
from sample_drive_render import render
from sample_drive_world import (
    CABIN_TOP,
    CAMERAS,
    CAR_COLOURS,
    CAR_LENGTH,
    CAR_WIDTH,
    PALETTES,
    SLOTS,
    Camera,
    Car,
    CarColour,
    Palette,
    PaletteName,
    Scene,
    Slot,
    project,
)

from cosmos_ray.clip.request import VIEWS

__all__ = [
    "CAMERAS",
    "PALETTES",
    "VIEWS",
    "Camera",
    "Car",
    "Palette",
    "Scene",
    "caption",
    "project",
    "render",
    "scene_from_seed",
    "view_captions",
    "visible_cars",
]

CLIP_SECONDS = 2.8  # first to last frame of 29 at 10 fps
_SEEN_RANGE = 60.0  # m; beyond it a car is too small to speak of

_SETTINGS: dict[PaletteName, str] = {
    "day": "A clear day on a city street, blue sky.",
    "dusk": "Dusk on a city street, orange sunset sky.",
    "rain": "Rain on a city street, grey sky, wet road.",
}
_WHERE: dict[Slot, str] = {
    "ahead": "ahead",
    "behind": "behind",
    "left": "passing left",
    "right": "passing right",
    "oncoming": "oncoming",
}
_COUNTS = ("No cars", "One car", "Two cars", "Three cars")
_LOOKS = {
    "front_wide": "Front view.",
    "cross_right": "Right view.",
    "rear_right": "Rear right view.",
    "rear": "Rear view.",
    "rear_left": "Rear left view.",
    "cross_left": "Left view.",
    "front_tele": "Front tele view.",
}


def scene_from_seed(seed: int) -> Scene:
    """The scene of a seed (any integer >= 0): palette, zero to three cars of different colours and places, houses."""
    rng = np.random.default_rng(seed)
    palette = tuple(PALETTES)[rng.integers(len(PALETTES))]
    count = int(rng.choice(4, p=(0.1, 0.3, 0.35, 0.25)))
    colours = rng.permutation(len(CAR_COLOURS))[:count]
    slots = np.sort(rng.permutation(len(SLOTS))[:count])
    cars = tuple(_car_in(SLOTS[slot], CAR_COLOURS[colour], rng) for slot, colour in zip(slots, colours, strict=True))
    return Scene(palette, cars, ego_speed=float(rng.uniform(6, 10)), buildings=int(rng.integers(2**31)))


def _car_in(slot: Slot, colour: CarColour, rng: np.random.Generator) -> Car:
    """A car that does within a clip what its slot's caption says."""
    if slot in ("ahead", "behind"):
        x = rng.uniform(10, 13.5) if slot == "ahead" else -rng.uniform(8.5, 12)
        return Car(colour, slot, x=float(x), sway=float(rng.uniform(-2.5, 2.5)))
    if slot == "oncoming":
        return Car(colour, slot, x=float(rng.uniform(20, 32)), speed=-float(rng.uniform(13, 17)))
    # Passing: from behind to before us, or the other way round.
    direction = 1 if rng.random() < 0.5 else -1
    return Car(colour, slot, x=-direction * float(rng.uniform(5, 9)), speed=direction * float(rng.uniform(4, 7)))


def caption(scene: Scene) -> str:
    """What there is: weather and time of day, then every car with colour and place."""
    return f"{_SETTINGS[scene.palette]} {_cars_text(scene.cars)}"


def view_captions(scene: Scene, seconds: float = CLIP_SECONDS) -> list[str]:
    """One caption a view, in view order: the setting, the view, and the cars which that camera sees in `seconds`."""
    return [
        f"{_LOOKS[view]} {_SETTINGS[scene.palette]} {_cars_text(visible_cars(scene, view, seconds))}" for view in VIEWS
    ]


def visible_cars(scene: Scene, view: str, seconds: float = CLIP_SECONDS) -> tuple[Car, ...]:
    """The cars that a view's horizontal field takes in, within 60 m, at some time from 0 to `seconds`."""
    times = np.linspace(0.0, seconds, 1 + math.ceil(seconds * 10))
    return tuple(car for car in scene.cars if any(_in_view(car, view, float(time)) for time in times))


def _in_view(car: Car, view: str, time: float) -> bool:
    middle = car.position(time)
    if abs(middle) > _SEEN_RANGE:
        return False
    for along in (-0.4, 0.0, 0.4):
        for across in (-0.4, 0.0, 0.4):
            point = (middle + along * CAR_LENGTH, car.y + across * CAR_WIDTH, CABIN_TOP / 2)
            u, _, depth = project(view, point, 1, 1)
            if depth > 0 and 0 <= u < 1:
                return True
    return False


def _cars_text(cars: tuple[Car, ...]) -> str:
    if not cars:
        return f"{_COUNTS[0]}."
    count = _COUNTS[len(cars)] if len(cars) < len(_COUNTS) else f"{len(cars)} cars"
    return f"{count}: {', '.join(f'one {car.colour} {_WHERE[car.slot]}' for car in cars)}."
