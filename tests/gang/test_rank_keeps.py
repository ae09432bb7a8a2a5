"""What a rank keeps from clip to clip, and from job to job: the model, and nothing of either. No Ray, no model."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cosmos_ray.clip.guardrail_rules import NO_GUARDRAILS, CheckFacts, GuardrailRules, Guardrails
from cosmos_ray.clip.request import VIEWS, ClipRequest
from cosmos_ray.config import GangConfig
from cosmos_ray.errors import RowError
from cosmos_ray.gang import rank as rank_module
from cosmos_ray.gang.rank import Published, Rank
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.gang.step_checkpoint import checkpoint_of
from cosmos_ray.models.bundle.bundle import load_bundle

RULES = GuardrailRules(enabled=True)
GUARDED = {
    "nothing": NO_GUARDRAILS,
    "blur": Guardrails(RULES, (CheckFacts("blur", "1", False, True, True),)),
    "blur of another version": Guardrails(RULES, (CheckFacts("blur", "2", False, True, True),)),
}


def spec_of(output: Path, **changes: Any) -> GangSpec:
    return GangSpec(load_bundle("fake"), 1, "cpu", "float32", str(output), 1, GangConfig(), **changes)


def request(clip_id: str, prompt: str = "a street") -> ClipRequest:
    return ClipRequest(clip_id, (prompt,), "", len(VIEWS), 0, seed=0, guidance=0.0, num_steps=2)


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A rank that was made for a job; guards are named by what they were loaded for."""
    named = SimpleNamespace(get_actor_name=lambda: "gang-0001-rank0")
    monkeypatch.setattr(rank_module.ray, "get_runtime_context", lambda: named)
    monkeypatch.setattr(rank_module, "log_as", lambda name: None)
    monkeypatch.setattr(rank_module, "_NEXT_CLIP_S", 0.0)
    monkeypatch.setattr("cosmos_ray.models.guardrails.checks.checks_of", lambda *_: ["checks"])
    monkeypatch.setattr(rank_module, "load_guard", lambda guardrails, *_: guardrails)

    def load(name: str, **changes: Any) -> Rank:
        made = Rank(0, 1)
        made.load(spec_of(tmp_path / name, **changes), 0)
        return made

    return load


def state_of(rank: Rank) -> dict[str, Any]:
    """All of it that a clip could leave something in."""
    found = vars(rank) | {"_in_the_middle": rank._in_the_middle.is_set(), "_idle": rank._idle._began}
    return {name: dict(value) if isinstance(value, dict) else value for name, value in found.items() if name != "_step"}


def test_a_clip_that_is_published_leaves_nothing(loaded: Any, tmp_path: Path) -> None:
    """Its latents are gigabytes, and what it was in the middle of is not the next one's middle."""
    rank = loaded("out")
    before = state_of(rank)
    rank.denoise(request("a"), checkpoint_of("a", "h" * 64, 1))
    assert state_of(rank)["_denoised"].keys() == {"a"}
    assert not rank._in_the_middle.is_set()
    rank.publish("a", str(tmp_path), "clips/a/1", 10)
    assert state_of(rank) == before


@pytest.mark.parametrize("stage", ["denoise", "decode"])
def test_nor_does_one_that_fails(loaded: Any, tmp_path: Path, stage: str) -> None:
    rank = loaded("out")
    before = state_of(rank)

    def make(clip_id: str, prompt: str) -> Published:
        rank.denoise(request(clip_id, prompt))
        return rank.publish(clip_id, str(tmp_path), f"clips/{clip_id}/1", 10)

    with pytest.raises(RowError):
        make("a", f"[fail=model at={stage} step=1]")
    assert state_of(rank) == before
    assert len(make("b", "a street").files) == len(VIEWS)


def test_another_job_finds_nothing_of_the_one_before(loaded: Any, tmp_path: Path) -> None:
    """A rank that took it up is as one that was made for it."""
    rank, other = loaded("first"), spec_of(tmp_path / "second")
    rank.take_up(other)
    fresh = loaded("second")
    assert rank._spec == fresh._spec == other
    assert rank._states._storage.uri == fresh._states._storage.uri == other.output
    assert (vars(rank._generator), vars(rank._guard)) == (vars(fresh._generator), vars(fresh._guard))


@pytest.mark.parametrize(("before", "after"), list(permutations(GUARDED, 2)))
def test_a_job_is_guarded_by_its_own_checks_and_by_none_where_it_has_none(
    loaded: Any, tmp_path: Path, before: str, after: str
) -> None:
    rank = loaded("first", guardrails=GUARDED[before])
    rank.take_up(spec_of(tmp_path / "second", guardrails=GUARDED[after]))
    if GUARDED[after].checks:
        assert rank._guard == GUARDED[after]
    else:
        assert (rank._guard._texts, rank._guard._videos) == ((), ())
