"""What guardrails do to a clip on its way through a rank and into its record; jobs are in tests/job."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import numpy as np
import pytest
from support import own_checks
from support.guardrail_weights import write_blocklist

from cosmos_ray.clip.frames import decode_mp4
from cosmos_ray.clip.guardrail_rules import NO_GUARDRAILS, CheckFacts, GuardrailRules, Guardrails
from cosmos_ray.clip.request import VIEWS, ClipRequest
from cosmos_ray.config import GangConfig
from cosmos_ray.errors import RowError, UncheckedError
from cosmos_ray.gang import rank as rank_module
from cosmos_ray.gang.commit import Made, record_of, sidecar_of
from cosmos_ray.gang.leader import GangLeader
from cosmos_ray.gang.prepare import Prepared
from cosmos_ray.gang.rank import Rank
from cosmos_ray.gang.ready import Preparation
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.gang.waiting import Waiting, WaitingRoom
from cosmos_ray.ledger.record import Record, records_of, table_of
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.models.guardrails.checks import guardrails_of
from cosmos_ray.pool.workload import is_rows_own
from cosmos_ray.store.storage import Storage

FAKE = load_bundle("fake")


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., GangSpec]:
    """Of a job with the word lists and own checks of these names."""
    (site := tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(own_checks.install(site))
    write_blocklist(tmp_path / "weights")

    def made(*own: str) -> GangSpec:
        rules = GuardrailRules(
            enabled=True, checks=("blocklist",), own=own, weights=str(tmp_path / "weights"), offload=True
        )
        guardrails = guardrails_of(rules, FAKE.recipe)
        return GangSpec(FAKE, 1, "cpu", "reference", str(tmp_path / "out"), 1, GangConfig(), guardrails=guardrails)

    return made


def loaded(spec: GangSpec, monkeypatch: pytest.MonkeyPatch) -> Rank:
    named = SimpleNamespace(get_actor_name=lambda: "gang-0001-rank0")
    monkeypatch.setattr(rank_module.ray, "get_runtime_context", lambda: named)
    monkeypatch.setattr(rank_module, "log_as", lambda name: None)
    monkeypatch.setattr(rank_module, "_NEXT_CLIP_S", 0.0)
    rank = Rank(0, 1)
    assert ("guardrails" in rank.load(spec, 0)) == bool(spec.guardrails.checks)
    return rank


def denoised(rank: Rank, prompt: str = "a street", seed: int = 0, n_views: int = 2) -> None:
    rank.denoise(ClipRequest("one", (prompt,), "", n_views, 0, seed=seed, guidance=0.0, num_steps=1))


def test_words_are_checked_by_the_first_rank_before_they_are_embedded(
    spec: Callable[..., GangSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    rank = loaded(spec("no-dragons"), monkeypatch)
    rank.check_captions(("a street", ""), False)
    for prompt, said in (
        ("a gronk walks", "blocked by the check `blocklist`: word list"),
        ("a Dragon flies", "blocked by the check `no-dragons`: dragons"),
        ("raise it", "the check `no-dragons` raised RuntimeError: what it could not check is not published"),
    ):
        with pytest.raises(RowError) as caught:
            rank.check_captions((prompt,), False)
        assert (str(caught.value), caught.value.failure_class) == (said, "guardrail")


def test_a_blocked_view_is_an_error_and_none_of_the_ranks_files_is_written(
    spec: Callable[..., GangSpec], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rank = loaded(spec("no-red"), monkeypatch)
    (place := tmp_path / "place").mkdir()
    denoised(rank)
    with monkeypatch.context() as patched:
        patched.setattr(rank._generator, "decode", lambda *_: red_at_the_rear())
        with pytest.raises(RowError, match="check `no-red`: too red") as caught:
            rank.publish("one", str(place), "clips/one/1", 10)
    assert caught.value.failure_class == "guardrail"
    assert list(place.iterdir()) == []
    denoised(rank, "[black]")
    with caplog.at_level(logging.INFO), pytest.raises(RowError, match="raised ValueError"):
        rank.publish("one", str(place), "clips/one/1", 10)
    assert "secret words" not in caplog.text


def red_at_the_rear() -> dict[str, np.ndarray]:
    frames = np.zeros(FAKE.shape_of("front_wide"), np.uint8)
    frames[:] = 80
    red = frames.copy()
    red[-1] = (250, 1, 1)
    return {"front_wide": frames, "cross_right": red}


def test_what_is_published_is_what_a_check_has_made_of_it(
    spec: Callable[..., GangSpec], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rank = loaded(spec("corner"), monkeypatch)
    denoised(rank, seed=3)
    published = rank.publish("one", str(tmp_path), "clips/one/1", 10)
    assert published.blurred == dict.fromkeys(VIEWS[:2], FAKE.num_frames)
    assert published.seconds["guardrails"] > 0
    frames = decode_mp4((tmp_path / "front_wide.mp4").read_bytes())
    assert frames[:, 2:6, 2:6].max() < 40
    assert frames[:, 12:, 12:].max() > 100


def test_without_guardrails_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rank = loaded(GangSpec(FAKE, 1, "cpu", "reference", str(tmp_path), 1, GangConfig()), monkeypatch)
    denoised(rank, "[black]")
    published = rank.publish("one", str(tmp_path), "clips/one/1", 10)
    assert published.blurred == {}
    assert "guardrails" not in published.seconds


@pytest.mark.parametrize(
    ("error", "own"),
    [
        (RowError("blocked by the check `x`: dragons", "guardrail"), True),
        (UncheckedError("raised", "guardrail"), False),
    ],
)
def test_only_an_objection_is_surely_the_rows_own(error: RowError, own: bool) -> None:
    leader: Any = object.__new__(GangLeader)
    found, make = AsyncMock(return_value=None), AsyncMock(side_effect=error)
    leader._delivery, leader._make = SimpleNamespace(found=found), make
    fault = asyncio.run(leader._run(clip_of("one"), 1, "")).fault
    assert (fault.failure_class, fault.message, is_rows_own(fault)) == ("guardrail", str(error), own)


def made_of(spec: GangSpec, tmp_path: Path, blurred: dict[str, int]) -> Made:
    clip = clip_of("one")
    request = ClipRequest("one", ("a street",), "", 1, 0, seed=0, guidance=0.0, num_steps=1)
    entry = rank_module.FileEntry("front_wide", "clips/one/1/front_wide.mp4", 1, "0" * 64)
    return Made(
        clip, 1, Prepared(request, ()), "gang-0001", "node", "2026-01-01", 0, {}, files=(entry,), blurred=blurred
    )


def clip_of(clip_id: str) -> Clip:
    return Clip(
        id=clip_id, row_id=clip_id, prompts=("a street",), negative_prompt="", n_views=1, num_conditional_frames=0,
        seed=0, guidance=0.0, num_steps=1, fps=10, row_hash="row",
    )  # fmt: skip


def test_record_and_sidecar_say_which_checks_and_what_they_changed(
    spec: Callable[..., GangSpec], tmp_path: Path
) -> None:
    guarded = spec("corner")
    made = made_of(guarded, tmp_path, {"front_wide": 29})
    record, sidecar = record_of(guarded, made), sidecar_of(guarded, made)
    assert record.guardrails[1:] == ("corner 3",)
    assert record.guardrails[0].startswith("blocklist reference ")
    assert record.blurred == {"front_wide": 29}
    assert Record.from_json(record.to_json()) == record
    assert records_of(table_of([record])) == [record]
    said = sidecar["guardrails"]
    assert (said["blurred"], [one["name"] for one in said["checks"]]) == ({"front_wide": 29}, ["blocklist", "corner"])
    assert GuardrailRules(**said["settings"]) == guarded.guardrails.rules
    off = dataclasses.replace(guarded, guardrails=NO_GUARDRAILS)
    assert sidecar_of(off, made_of(off, tmp_path, {}))["guardrails"] == {"settings": {}, "checks": [], "blurred": {}}


def test_a_request_is_another_one_only_where_pixels_change(spec: Callable[..., GangSpec]) -> None:
    changed, blocking = spec("corner"), spec("no-red")
    off = dataclasses.replace(changed, guardrails=NO_GUARDRAILS)
    assert off.fingerprint == blocking.fingerprint != changed.fingerprint
    facts = CheckFacts("face_blur", "reference 1", False, True, True)
    versions = [Guardrails(checks=(dataclasses.replace(facts, version=version),)) for version in ("1", "2")]
    assert len({dataclasses.replace(off, guardrails=one).fingerprint for one in versions}) == 2


def test_a_clip_that_waits_unchecked_is_made_again_by_a_job_with_checks(
    spec: Callable[..., GangSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COSMOS_RAY_CACHE", str(tmp_path / "cache"))
    guarded = spec("no-red")
    off = dataclasses.replace(guarded, guardrails=NO_GUARDRAILS)
    room, clip = WaitingRoom(off.output), clip_of("one")
    record = dataclasses.replace(record_of(off, made_of(off, tmp_path, {})), files=())
    for made_by, finder, is_found in ((off, off, True), (off, guarded, False), (guarded, guarded, True)):
        room.keep(Waiting(room.place(clip, 1), {}, record, made_by.standard))
        assert (room.find(clip, finder.standard) is not None) == is_found
    assert off.standard == off.fingerprint


def test_refined_words_are_checked_like_those_of_the_row(spec: Callable[..., GangSpec], tmp_path: Path) -> None:
    calls: list[tuple[Any, ...]] = []

    async def on_first_rank(*call: Any, **_: Any) -> None:
        calls.append(call)
        if "dragon" in str(call):
            raise RowError("blocked", "guardrail")

    guarded = dataclasses.replace(spec("no-red"), words={"one": ("a dragon",)})
    with pytest.raises(RowError, match="blocked"):
        asyncio.run(Preparation(guarded, Storage(str(tmp_path)), on_first_rank).ready(clip_of("one"), 1))
    assert calls == [("check_captions", ("a street",), False), ("check_captions", ("a dragon",), False)]


@pytest.mark.parametrize(("checks", "asked"), [(("no-red",), True), ((), False)])
def test_the_leader_has_words_checked_before_inputs_are_fetched(
    spec: Callable[..., GangSpec], checks: tuple[str, ...], asked: bool, tmp_path: Path
) -> None:
    calls: list[tuple[Any, ...]] = []

    async def on_first_rank(*call: Any) -> None:
        calls.append(call)
        raise RowError("blocked", "guardrail")

    guarded = spec(*checks)
    if not asked:
        guarded = dataclasses.replace(guarded, guardrails=NO_GUARDRAILS)
    preparation = Preparation(guarded, Storage(str(tmp_path)), on_first_rank)
    with pytest.raises(RowError, match="blocked"):
        asyncio.run(preparation.ready(clip_of("one"), 1))
    assert calls[0][0] == ("check_captions" if asked else "embed")
    if asked:
        assert calls == [("check_captions", ("a street",), False)]
