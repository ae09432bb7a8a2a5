"""Families: one recipe for all that kinds of models do in their own ways, and no other place that knows of them."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from support.paths import ROOT

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.family import FAMILIES, PREDICT2, PREDICT25, TEXT2WORLD, TRANSFER25, VIDEO2WORLD
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.bundle import load_bundle, parse_bundle
from cosmos_ray.models.sampler import solver_of

FINGERPRINTS = {
    "tiny": "2a69706d7f297e25",
    "fake": "82b3920a0c7f9a2a",
    "cosmos-predict2-2b-multiview": "adb4998897daadd4",
}
BUILT_IN = ROOT / "cosmos_ray" / "models" / "bundle" / "built_in"


def test_bundles_of_before_are_of_the_first_family_and_keep_their_fingerprints() -> None:
    """Outputs that were begun with them are gone on with."""
    for name in ("tiny", "fake", "cosmos-predict2-2b-multiview"):
        assert load_bundle(name).recipe is PREDICT2
    found = {name: load_bundle(name).fingerprint[:16] for name in ("tiny", "fake", "cosmos-predict2-2b-multiview")}
    assert found == FINGERPRINTS


def test_an_unknown_family_is_refused_by_name() -> None:
    facts = json.loads((BUILT_IN / "tiny" / "bundle.json").read_text()) | {"family": "predict3-multiview"}
    with pytest.raises(UsageError, match=r"family: .*'predict3-multiview', expected one of predict2-multiview"):
        parse_bundle(json.dumps(facts), "")


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_a_recipe_agrees_with_its_solver(family) -> None:  # type: ignore[no-untyped-def]
    """What clips cost and how far they are is asked of the recipe, what is computed of the solver."""
    solved = [family] if family.solver != "ab2" else [family, family.solved_by(Approximations(solver="unipc"))]
    for one in solved:
        for num_steps in (1, 4) if family.solver == "distilled" else (1, 4, 35):
            assert solver_of(one, num_steps, lambda _: torch.zeros(())).passes == one.passes(num_steps)


#: What each family does in another way than the first one, as its published pipeline has it.
RECIPES: dict[str, dict[str, object]] = {
    "predict2-multiview": {},
    "predict2-video2world": {
        "views": ("video",), "has_cameras": False, "latent_frames": {1: 1, 5: 2}, "noise_levels": (80.0, 0.002),
        "fps": 16, "network": {"rope_enable_fps_modulation": False}, "chunk_seed": "next", "overlaps": "given",
    },
    "predict2-text2image": {
        "views": ("picture",), "has_cameras": False, "latent_frames": {0: 0}, "noise_levels": (80.0, 0.002),
        "fps": 16, "network": {"rope_enable_fps_modulation": False}, "overlaps": "given",
        "zeros_without_negative": True,
    },
    "predict2-text2image-distilled": {
        "views": ("picture",), "has_cameras": False, "latent_frames": {0: 0}, "noise_levels": (80.0, 0.002),
        "fps": 16, "network": {"rope_enable_fps_modulation": False}, "overlaps": "given",
        "zeros_without_negative": True, "solver": "distilled", "state": ("sample",),
    },
    "predict2-text2world": {
        "views": ("video",), "has_cameras": False, "latent_frames": {0: 0}, "noise_levels": (80.0, 0.002),
        "fps": 16, "network": {"rope_enable_fps_modulation": False}, "chunk_seed": "next", "overlaps": "given",
        "makes_picture": True,
    },
    "predict2.5-multiview": {
        "text_encoder": "reason1", "empty_text": " ", "negative_everywhere": True, "solver": "unipc",
        "guidance": "from_other", "state": ("sample", "corrected", "previous_x0", "earlier_x0"), "takes": "first",
        "fit": "stretch", "fps": 30, "truncates": True, "chunk_seed": "same",
        "network": {"rope_enable_fps_modulation": False, "use_wan_fp32_strategy": True},
    },
}  # fmt: skip
_NEXT = {key: value for key, value in RECIPES["predict2.5-multiview"].items() if key != "guidance"}
RECIPES["predict2.5-multiview-2025-10"] = _NEXT | {"no_negative": True, "as_is": (3, 3)}
RECIPES["transfer2.5-multiview"] = _NEXT | {"has_control": True, "chunk_seed": "next", "overlaps": "asked"}
del RECIPES["transfer2.5-multiview"]["fps"]
FIRST = {
    "latent_frames": {0: 0, 1: 1, 5: 2}, "noise_levels": (200.0, 0.01), "exponent": 7.0, "fps": 10, "solver": "ab2",
    "guidance": "beyond_caption", "state": ("sample", "previous_x0"), "takes": "last", "fit": "crop", "as_is": None,
    "text_encoder": "t5", "empty_text": None,
}  # fmt: skip


def test_recipes_are_those_of_the_published_pipelines() -> None:
    assert set(FAMILIES) == set(RECIPES)
    assert {name: getattr(PREDICT2, name) for name in FIRST} == FIRST
    for name, expected in RECIPES.items():
        facts = {field.name: getattr(FAMILIES[name], field.name) for field in dataclasses.fields(PREDICT2)}
        other = {key: value for key, value in facts.items() if value != getattr(PREDICT2, key)}
        assert other == expected | ({} if name == PREDICT2.name else {"name": name})


@pytest.mark.parametrize(
    ("family", "steps", "passes", "guided", "files"),
    [
        ("predict2-multiview", None, 36, (False, True), VIEWS),
        ("predict2-video2world", None, 36, (False, True), ("video",)),
        ("predict2-text2image", None, 36, (True, True), ("picture",)),
        ("predict2-text2image-distilled", 4, 35, (False, False), ("picture",)),
        ("predict2-text2world", None, 36, (False, True), ("video", "picture")),
        ("predict2.5-multiview", None, 35, (False, True), VIEWS),
        ("predict2.5-multiview-2025-10", None, 35, (True, True), VIEWS),
        ("transfer2.5-multiview", None, 35, (False, True), VIEWS),
    ],
)
def test_what_a_clip_of_each_family_is(
    family: str, steps: int | None, passes: int, guided: tuple[bool, bool], files: tuple[str, ...]
) -> None:
    """Steps at most, evaluations of 35 steps, whether it is guided without and with a negative prompt, its files."""
    of = FAMILIES[family]
    assert (of.max_steps, of.passes(35), of.files) == (steps, passes, files)
    assert (of.is_guided(""), of.is_guided("rain")) == guided
    assert of.has_condition_mask is ("text2image" not in family)


def test_another_solver_or_schedule_is_a_recipe_of_its_own() -> None:
    plain = Approximations()
    assert PREDICT2.solved_by(plain) is PREDICT2
    assert PREDICT25.solved_by(plain) is PREDICT25
    for schedule, exponent in (("published", 7.0), ("karras9", 9.0), ("karras12", 12.0)):
        of = PREDICT2.solved_by(Approximations(solver="unipc", schedule=schedule))
        state = ("sample", "corrected", "previous_x0", "earlier_x0")
        assert (of.solver, of.exponent, of.state, of.passes(9)) == ("unipc-noise", exponent, state, 9)
    of = PREDICT2.solved_by(Approximations(schedule="karras9"))
    assert (of.solver, of.exponent, of.state, of.passes(9)) == ("ab2", 9.0, PREDICT2.state, 10)
    chosen: list[tuple[dict[str, str], str]] = [
        ({"schedule": "karras9"}, "sampling.schedule: found `karras9`"),
        ({"solver": "unipc", "schedule": "karras9"}, "sampling.solver: found `unipc`"),
    ]
    for said, expected in chosen:
        with pytest.raises(UsageError, match=rf"^{expected}; models of the family predict2\.5-multiview have one"):
            PREDICT25.solved_by(Approximations.model_validate(said))


def test_chunks_of_a_longer_video_have_frames_in_common() -> None:
    """As many as it is conditioned on, or one; also where it begins with a picture and with no frame of a file."""
    assert [VIDEO2WORLD.overlap(given) for given in (1, 5)] == [1, 5]
    assert TEXT2WORLD.overlap(0) == 1
    assert [PREDICT25.overlap(given) for given in (0, 1, 5)] == [1, 1, 1]
    assert [TRANSFER25.overlap(5, asked) for asked in (None, 1, 9)] == [1, 1, 9], "as many as a row asks for"
    assert [TRANSFER25.frames(29, chunks, overlap) for chunks, overlap in ((2, 5), (4, 28))] == [53, 32]
    assert [VIDEO2WORLD.frames(93, chunks, overlap) for chunks, overlap in ((1, 5), (3, 1), (3, 5))] == [93, 277, 269]


def test_nobody_else_asks_which_family_it_is() -> None:
    """A name of a family in another module would be a second place to change."""
    told = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "cosmos_ray").rglob("*.py")
        if path.name != "family.py" and any(f'"{name}"' in path.read_text() for name in FAMILIES)
    ]
    assert told == []
