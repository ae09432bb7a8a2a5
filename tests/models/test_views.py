"""Any of the rig's cameras can be made, each under its own number: rear is camera 3 also as the second of two."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.networks import caption, small_network

from cosmos_ray.clip.request import VIEWS, ClipRequest
from cosmos_ray.errors import RowError
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.models.generator import Generator
from cosmos_ray.models.load import load_generator
from cosmos_ray.models.network.dit import Grid
from cosmos_ray.models.noise import clip_noise
from cosmos_ray.models.parallel import ContextParallel
from cosmos_ray.models.sampler import denoise

#: The five cameras of Waymo's cars.
WAYMO = ("front_wide", "cross_right", "rear_right", "rear_left", "cross_left")


def request(*views: str, **changes) -> ClipRequest:
    plain = ClipRequest(
        id="clip",
        prompts=("A clear day on a city street.",),
        negative_prompt="blurry",
        n_views=len(views),
        num_conditional_frames=0,
        seed=1,
        guidance=3.0,
        num_steps=1,
        chosen_views=views,
    )
    return replace(plain, **changes)


@pytest.fixture(scope="module")
def tiny() -> Generator:
    return Generator.load(load_bundle("tiny").model_copy(update={"state_t": 2}))


def test_ids_are_the_rigs_and_default_to_the_first() -> None:
    assert request(*WAYMO).view_ids == (0, 1, 2, 4, 5)
    assert request("front_tele", "front_wide").view_ids == (6, 0)
    unnamed = request(*VIEWS[:3], chosen_views=())
    assert (unnamed.views, unnamed.view_ids) == (VIEWS[:3], (0, 1, 2))


@pytest.mark.parametrize("name", ["fake", "tiny"])
def test_frames_come_under_the_names_that_were_asked_for(name: str) -> None:
    generator = load_generator(load_bundle(name).model_copy(update={"state_t": 2}))
    assert tuple(generator.generate(request("rear_left", "front_wide"))) == ("rear_left", "front_wide")


def test_the_network_is_told_which_cameras_they_are() -> None:
    """Cameras 5 and 3 are what cameras 0 and 1 would be in a network whose table of cameras begins with those rows."""
    network, grid = small_network(), Grid(2, 2, 4, 4)
    settings = {
        "grid": grid,
        "condition_VlP": None,
        "num_condition_latents": 0,
        "positive_VMC": caption(grid, seed=1),
        "negative_VMC": caption(grid, seed=2),
        "guidance": 2.0,
        "num_steps": 2,
        "seed": 0,
        "model_fps": 30.0,
        "parallel": ContextParallel(),
    }
    first = denoise(network, **settings)
    chosen = denoise(network, **settings, view_ids=(5, 3))
    assert (chosen - first).abs().max() > 1e-3
    assert torch.equal(denoise(network, **settings, view_ids=(0, 1)), first)
    with torch.no_grad():
        table = network.view_embeddings.weight
        table.copy_(table[[5, 3, 2, 4, 0, 1, 6]])
    assert torch.equal(denoise(network, **settings), chosen)


def test_a_subset_in_rig_order_without_gaps_is_the_clip_of_so_many_views(tiny: Generator) -> None:
    named, counted = (tiny.generate(request(*VIEWS[:2], chosen_views=chosen)) for chosen in (VIEWS[:2], ()))
    assert all(np.array_equal(named[view], counted[view]) for view in VIEWS[:2])


@pytest.mark.parametrize(
    ("chosen", "n_views"),
    [
        (("rear", "rear"), 2),
        (("rear_right", "rear_right"), 2),
        (("front", "rear"), 2),
        (("rear",), 2),
        (("front_wide", "rear_right"), 1),
    ],
)
def test_cameras_that_the_rig_has_not_are_refused_by_name(chosen: tuple[str, ...], n_views: int) -> None:
    three = load_bundle("tiny").model_copy(update={"state_t": 2, "n_views": 3})
    generator = Generator.load(three)
    with pytest.raises(RowError, match=r"column `views`: .*expected \d views? of front_wide, cross_right, rear_right$"):
        generator.denoise(request(*chosen, n_views=n_views))


def test_the_order_of_cameras_does_not_matter_where_texts_and_numbers_go_along(tiny: Generator) -> None:
    """The post-training on Waymo had the front third (numbers 4, 5, 0, 1, 2); rows may name it first."""
    trained = (WAYMO[3], WAYMO[4], *WAYMO[:3])
    assert request(*trained).view_ids == (4, 5, 0, 1, 2)
    caption, order = "A clear day on a city street.", [trained.index(view) for view in WAYMO]
    noise = clip_noise(1, tiny.bundle, 5)
    third = request(*trained, prompts=("", "", caption, "", ""), negative_prompt="", noise=noise)
    first = request(*WAYMO, prompts=(caption,), negative_prompt="", noise=noise[:, order])
    expected, found = (tiny.denoise(asked) for asked in (third, first))
    torch.testing.assert_close(found, expected[order], rtol=0, atol=1e-4)
