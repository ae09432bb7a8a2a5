"""Families: one recipe for all that kinds of models do in their own ways, and no other place that knows of them."""

from __future__ import annotations

import json

import pytest
import torch
from support.paths import ROOT

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.family import FAMILIES, PREDICT2, PREDICT25, TEXT2WORLD, VIDEO2WORLD
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


def test_chunks_of_a_longer_video_have_frames_in_common() -> None:
    """As many as it is conditioned on, or one; also where it begins with a picture and with no frame of a file."""
    assert [VIDEO2WORLD.overlap(given) for given in (1, 5)] == [1, 5]
    assert TEXT2WORLD.overlap(0) == 1
    assert [PREDICT25.overlap(given) for given in (0, 1, 5)] == [1, 1, 1]
    assert [VIDEO2WORLD.frames(93, chunks, overlap) for chunks, overlap in ((1, 5), (3, 1), (3, 5))] == [93, 277, 269]


def test_nobody_else_asks_which_family_it_is() -> None:
    """A name of a family in another module would be a second place to change."""
    told = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "cosmos_ray").rglob("*.py")
        if path.name != "family.py" and any(f'"{name}"' in path.read_text() for name in FAMILIES)
    ]
    assert told == []
