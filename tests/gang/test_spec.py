"""The fingerprint of a gang: all that, with a request, fixes the latents, and nothing else."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.config import GangConfig
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.models.bundle.bundle import load_bundle

SPEC = GangSpec(
    bundle=load_bundle("fake"),
    gang_size=2,
    device="cpu",
    numerics="reference",
    output="/out",
    epoch=1,
    settings=GangConfig(),
)


def test_fingerprints_are_those_of_release_0_1() -> None:
    """They are in every request's hash."""
    facts = f"{SPEC.bundle.fingerprint}:reference"
    assert SPEC.fingerprint == hashlib.sha256(facts.encode()).hexdigest()
    approximate = replace(SPEC, approximations=Approximations(guidance_interval=(0.0, 0.5)))
    facts += ':{"guidance_interval": [0.0, 0.5]}'
    assert approximate.fingerprint == hashlib.sha256(facts.encode()).hexdigest()


def test_what_fixes_the_latents_changes_the_fingerprint_and_where_they_are_made_does_not() -> None:
    others = [
        SPEC,
        replace(SPEC, numerics="float32"),
        replace(SPEC, bundle=load_bundle("tiny")),
        replace(SPEC, approximations=Approximations(attention="fp8")),
        replace(SPEC, approximations=Approximations(attention="fp8", fp8_exact_blocks=(0,))),
    ]
    assert len({one.fingerprint for one in others}) == len(others)
    elsewhere = replace(
        SPEC, gang_size=4, device="cuda", output="s3://b", epoch=7, settings=GangConfig(step_checkpoint=5)
    )
    assert elsewhere.fingerprint == SPEC.fingerprint
