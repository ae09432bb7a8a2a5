"""What a clip's record and sidecar tell of it: everything that was made, and how; nothing is lost on the way.

The tables name every field there is: one that is added later has to be told, or said not to be.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.check_rules import CheckRules, Mark
from cosmos_ray.clip.checks import Scores
from cosmos_ray.clip.guardrail_rules import CheckFacts, Guardrails
from cosmos_ray.clip.refiner_rules import RefinerRules
from cosmos_ray.clip.request import VIEWS, ClipRequest
from cosmos_ray.clip.settings import Settings
from cosmos_ray.config import GangConfig, InputsConfig
from cosmos_ray.gang.commit import Made, record_of, sidecar_of
from cosmos_ray.gang.prepare import InputFile, Prepared
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.ledger.record import FileEntry, Record, Try
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import Bundle, load_bundle
from cosmos_ray.refine.asks import Refining
from cosmos_ray.refine.refiner import Words

SPEC = GangSpec(load_bundle("fake"), 2, "cpu", "reference", "/out", 1, GangConfig())
CLIP = Clip("a", "a", ("A street.",), n_views=2, num_steps=2, seed=4, row_hash="row")
REQUEST = ClipRequest("a", ("A street.",), "", 2, 0, seed=4, guidance=3.0, num_steps=2)
SCORES = Scores(0.1, 0.2, 0.3, 0.4, 0.5)


def entries(*views: str) -> tuple[FileEntry, ...]:
    return tuple(FileEntry(view, f"clips/a/1/{view}.mp4", 3, view) for view in views)


MADE = Made(CLIP, 1, Prepared(REQUEST, ()), "gang-1", "node", "2026-01-01", 5, {"denoise": 1.0}, entries(*VIEWS[:2]))
#: Of each field another value, and where it is told: in the record, the sidecar, or both.
OTHER_MADE: dict[str, tuple[Any, str]] = {
    "clip": (replace(CLIP, seed=5), "both"),
    "attempt": (2, "both"),
    "prepared": (Prepared(REQUEST, (InputFile("in.mp4", 3, "v"),)), "both"),
    "gang": ("gang-2", "both"),
    "node": ("another", "both"),
    "started": ("later", "record"),
    "peak_memory_bytes": (6, "sidecar"),
    "seconds": ({"denoise": 2.0}, "both"),
    "files": (entries(*VIEWS[:3]), "both"),
    "previews": (entries("preview"), "record"),
    "warnings": (("doubtful",), "both"),
    "first_step": (7, "sidecar"),
    "scores": ({"rear": SCORES}, "both"),
    "marks": ((Mark("black", "rear", 0.9, 0.5),), "both"),
    "tries": ((Try(3, ("black",), {"rear": SCORES}),), "both"),
    "blurred": ({"rear": 2}, "both"),
}
BLUR = CheckFacts("blur", "1", False, True, True)
LOOK = CheckFacts("look", "1", False, True)
OTHER_SPEC: dict[str, tuple[Any, str]] = {
    "bundle": (load_bundle("tiny"), "both"),
    "gang_size": (4, "sidecar"),
    "device": ("cuda", "sidecar"),
    "numerics": ("float32", "both"),
    "output": ("/other", "neither"),
    "epoch": (2, "record"),
    "settings": (GangConfig(max_attempts=1), "neither"),
    "approximations": (Approximations(guidance_interval=(0.0, 0.5)), "both"),
    "inputs": (InputsConfig(rate="as_is"), "sidecar"),
    "manifest": ("/m", "neither"),
    "home": ("/home", "neither"),
    "home_read": ("/home", "neither"),
    "patience_s": (1.0, "neither"),
    "checks": (CheckRules(max_black=0.1), "neither"),
    "refining": (Refining(RefinerRules(backend="local"), "m", "do it"), "both"),
    "words": ({"a": ("b",)}, "neither"),
    "guardrails": (Guardrails(checks=(LOOK, BLUR)), "both"),
    "rare_stores": (("s3://b",), "neither"),
    "preset": ("fast", "record"),
}


def told(spec: GangSpec, made: Made) -> tuple[Record, dict[str, Any]]:
    return record_of(spec, made), sidecar_of(spec, made)


def where(before: tuple[Any, Any], after: tuple[Any, Any]) -> str:
    return {(True, True): "both", (True, False): "record", (False, True): "sidecar", (False, False): "neither"}[
        before[0] != after[0], before[1] != after[1]
    ]


def test_everything_about_a_clip_is_told() -> None:
    assert OTHER_MADE.keys() == {field.name for field in fields(Made)}
    plain = told(SPEC, MADE)
    found = {name: where(plain, told(SPEC, replace(MADE, **{name: value}))) for name, (value, _) in OTHER_MADE.items()}
    assert found == {name: place for name, (_, place) in OTHER_MADE.items()}


def test_everything_about_its_gang_that_a_clip_depends_on_is_told() -> None:
    assert OTHER_SPEC.keys() == {field.name for field in fields(GangSpec)}
    plain = told(SPEC, MADE)
    found = {name: where(plain, told(replace(SPEC, **{name: value}), MADE)) for name, (value, _) in OTHER_SPEC.items()}
    assert found == {name: place for name, (_, place) in OTHER_SPEC.items()}


def test_a_record_says_each_thing_under_its_own_name() -> None:
    spec = replace(SPEC, guardrails=Guardrails(checks=(LOOK, BLUR)), epoch=9)
    made = replace(MADE, **{name: value for name, (value, _) in OTHER_MADE.items()})
    record = record_of(spec, replace(made, clip=replace(made.clip, generation=3), files=entries(*VIEWS[:2])))
    found = {
        name: getattr(record, name)
        for name in ("generation", "attempt", "row_hash", "epoch", "gang", "node", "started", "seed", "seconds")
    }
    assert found == {
        "generation": 3, "attempt": 2, "row_hash": "row", "epoch": 9, "gang": "gang-2", "node": "another",
        "started": "later", "seed": 5, "seconds": {"denoise": 2.0},
    }  # fmt: skip
    assert (record.status, record.failure_class, record.error, record.finished) == ("ok", None, None, None)
    assert (record.previews, record.warnings, record.scores) == (entries("preview"), ("doubtful",), {"rear": SCORES})
    assert record.marks == ("black: rear: 90 % (limit 50 %)",)
    assert (record.tries, record.blurred) == ((Try(3, ("black",), {"rear": SCORES}),), {"rear": 2})
    assert record.guardrails == ("look 1", "blur 1")
    assert record.request_hash == made.prepared.request_hash(made.clip, spec.fingerprint)


def prefixed(name: str) -> Bundle:
    return load_bundle(name).with_camera_prefix(True) if name == "tiny25" else load_bundle(name)


@pytest.mark.parametrize(
    ("name", "changes", "size", "frames"),
    [
        ("tiny25", {"views": ("rear", "front_wide"), "num_chunks": 3, "num_conditional_frames": 5},
         "112x64", 3 * 28 + 1),
        ("tiny-video2world", {"views": ("video",), "n_views": 1, "num_chunks": 2, "num_conditional_frames": 5},
         "112x64", 2 * 24 + 5),
        ("tiny-transfer25", {"num_chunks": 3, "chunk_overlap": 9}, "112x64", 3 * 20 + 9),
        ("tiny-text2image", {"views": ("picture",), "n_views": 1}, "128x64", 1),
        ("tiny-text2world", {"views": ("video",), "n_views": 1}, "112x64", 29),
    ],
)  # fmt: skip
def test_the_settings_in_a_record_are_those_that_the_clip_was_made_with(
    name: str, changes: dict[str, Any], size: str, frames: int
) -> None:
    """Each by its name: what a row or a job said, or the model where neither did."""
    approximations = Approximations(guidance_interval=(0.0, 0.5))
    spec = replace(SPEC, bundle=prefixed(name), numerics="float32", approximations=approximations, preset="fast")
    clip = replace(CLIP, guidance=2.5, num_steps=11, negative_prompt="ugly", fps=13, **changes)
    record = record_of(spec, replace(MADE, clip=clip, files=entries(*clip.cameras)))
    assert record.settings == Settings(
        model=name,
        guidance=2.5,
        num_steps=11,
        views=clip.cameras,
        negative_prompt="ugly",
        approximations=approximations.in_effect,
        size=size,
        frames=frames,
        fps=13,
        preset="fast",
        numerics="float32",
        camera_prefix=name == "tiny25",
        num_conditional_frames=clip.num_conditional_frames,
    )


@pytest.mark.parametrize("how", ["asked", "kept", "given", "own"])
def test_refined_words_are_told_with_how_they_were_come_by(how: str) -> None:
    words = Words(("Seen.",), how, "no answer" if how == "own" else "")
    made = replace(MADE, prepared=replace(MADE.prepared, words=words))
    spec = replace(SPEC, refining=Refining(RefinerRules(backend="local"), "m", "do it"))
    record, sidecar = told(spec, made)
    refined = () if how == "own" else ("Seen.",)
    assert (record.refined_prompts, sidecar["refined_prompts"]) == (refined, list(refined))
    assert sidecar["refiner"] == {**spec.refining.deciding, "how": how, "fault": words.fault}
