"""The words of a gang's clips: what its clips are embedded with, what their hashes and stored states depend on."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.chat_server import MODEL, ChatServer, chat_server, refused

from cosmos_ray.clip.refiner_rules import RefinerRules
from cosmos_ray.clip.request import ClipRequest, ClipText
from cosmos_ray.config import GangConfig, InputsConfig
from cosmos_ray.errors import RowError
from cosmos_ray.gang import refined_words
from cosmos_ray.gang.commit import Made, record_of, sidecar_of
from cosmos_ray.gang.ready import Preparation, Ready
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.ledger.record import FileEntry, Record, records_of, table_of
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.models.picture_first import picture_request
from cosmos_ray.refine.answers import NoWordsError
from cosmos_ray.refine.asks import Ask, Refining
from cosmos_ray.refine.refiner import NotRefinedError
from cosmos_ray.store.storage import Storage

FAKE = load_bundle("fake")
CLIP = Clip("a", "a", ("A street.",), n_views=2, num_steps=2, seed=4, row_hash="row")


def spec(output: Path, rules: RefinerRules | None = None, **more: Any) -> GangSpec:
    refining = Refining(rules, MODEL, "do it") if rules else Refining()
    made = GangSpec(FAKE, 1, "cpu", "reference", str(output), 1, GangConfig(step_checkpoint=1), refining=refining)
    return replace(made, **more)


def endpoint(server: ChatServer, **more: Any) -> RefinerRules:
    return RefinerRules(**{"backend": "endpoint", "url": server.url, "attempts": 1, **more})


class Rank:
    """The gang's first rank: embeds whatever it is told to, and may have a refiner."""

    def __init__(self, answer: Any = None) -> None:
        self.embedded: list[tuple[str, ...]] = []
        self.asked: list[tuple[Ask, float]] = []
        self._answer = answer

    async def call(self, method: str, argument: Any, deadline_s: float | None = None) -> Any:
        if method == "refine":
            assert deadline_s is not None
            self.asked.append((argument, deadline_s))
            if isinstance(self._answer, Exception):
                raise self._answer
            return self._answer
        assert argument.frames is None
        self.embedded.append(argument.prompts)
        return ClipText((np.full((1, 4), len(argument.prompts[0]), np.float32),), None)


def ready(told: GangSpec, rank: Rank, clip: Clip = CLIP, attempts: int = 1) -> list[Ready]:
    async def run() -> list[Ready]:
        preparation = Preparation(told, Storage(told.output), rank.call)
        return [await preparation.ready(clip, number + 1) for number in range(attempts)]

    return asyncio.run(run())


def made(found: Ready, clip: Clip = CLIP) -> Made:
    files = tuple(FileEntry(view, f"{view}.mp4", 1, "0" * 64) for view in clip.cameras)
    return Made(clip, 1, found.prepared, "g", "n", "", 0, {}, files, warnings=found.warnings)


def test_a_clip_is_embedded_with_its_refined_words(tmp_path: Path) -> None:
    rank = Rank()
    with chat_server() as server:
        told = spec(tmp_path, endpoint(server))
        (found,) = ready(told, rank)
    assert (rank.embedded, found.request.prompts) == ([("A street. Seen in fine detail.",)],) * 1 + (
        ("A street. Seen in fine detail.",),
    )
    assert found.request.picture_text is None
    record, sidecar = record_of(told, made(found)), sidecar_of(told, made(found))
    assert record.refined_prompts == ("A street. Seen in fine detail.",)
    assert Record.from_json(record.to_json()) == record
    assert records_of(table_of([record])) == [record]
    assert sidecar["refined_prompts"] == ["A street. Seen in fine detail."]
    assert sidecar["clip"]["prompts"] == ("A street.",)
    assert sidecar["refiner"] == {**told.refining.deciding, "how": "asked", "fault": ""}
    assert server.url not in str(sidecar)


def test_without_a_refiner_nothing_is_said_or_done(tmp_path: Path) -> None:
    rank = Rank()
    (found,) = ready(spec(tmp_path), rank)
    sidecar = sidecar_of(spec(tmp_path), made(found))
    assert (rank.embedded, sidecar["refined_prompts"], sidecar["refiner"]) == ([("A street.",)], [], {})
    assert not list(tmp_path.rglob("*.json"))


def test_the_first_rank_answers_where_it_has_the_model(tmp_path: Path) -> None:
    rank = Rank("<think>So.</think> A long street.\n")
    (found,) = ready(spec(tmp_path, RefinerRules(backend="local", timeout_s=5)), rank)
    assert (found.request.prompts, rank.asked) == (("A long street.",), [(Ask("A street."), 65.0)])


def test_what_the_first_rank_cannot_say_leaves_the_rows_own_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for answer in (NoWordsError("out of memory"), "", "<html>"):
        (found,) = ready(spec(tmp_path, RefinerRules(backend="local")), Rank(answer))
        assert found.request.prompts == ("A street.",)
        assert found.warnings[0].startswith("prompt not refined: ")
    assert [one.getMessage().partition(":")[0] for one in caplog.records if one.name.endswith("words")] == ["a"] * 3


def test_an_attempt_without_an_answer_has_the_same_words_when_it_is_made_anew(tmp_path: Path) -> None:
    """Checks may have a clip made again: with the next seed, not with other words."""
    with chat_server(lambda _: refused(500)) as server:
        told = spec(tmp_path, endpoint(server))

        async def run() -> list[Ready]:
            preparation = Preparation(told, Storage(told.output), Rank().call)
            first = await preparation.ready(CLIP, 1)
            server.answer = lambda _: refused(500)
            redone = await preparation.ready(CLIP.with_next_seed(), 1)
            return [first, redone]

        found = asyncio.run(run())
    assert [one.request.prompts for one in found] == [("A street.",)] * 2
    assert len(server.asked) == 1


def test_or_it_fails_and_says_whose_fault_that_is(tmp_path: Path) -> None:
    with chat_server(lambda _: refused(500)) as server, pytest.raises(NotRefinedError) as raised:
        ready(spec(tmp_path, endpoint(server, on_failure="fail")), Rank())
    assert (raised.value.failure_class, raised.value.is_verdict) == ("internal", False)
    with chat_server(lambda _: refused(400)) as server, pytest.raises(NotRefinedError) as raised:
        ready(spec(tmp_path, endpoint(server, on_failure="fail")), Rank())
    assert (raised.value.failure_class, raised.value.is_verdict) == ("model", True)


def test_words_that_are_not_refined_are_doubtful(tmp_path: Path) -> None:
    with chat_server(lambda _: refused(500)) as server, pytest.raises(RowError, match="prompt not refined"):
        ready(spec(tmp_path, endpoint(server), inputs=InputsConfig(strict=True)), Rank())


def test_the_hash_is_of_what_the_row_says_and_how_it_is_refined(tmp_path: Path) -> None:
    """Not of the words: an edited row is seen to be one, and what is asked for again has the hash that it had."""
    with chat_server() as server:
        rules = endpoint(server)
        asked, again = (ready(spec(tmp_path, rules), Rank())[0] for _ in range(2))
        hashes = {
            one.prepared.request_hash(CLIP, told.fingerprint)
            for one, told in [
                (asked, spec(tmp_path, rules)),
                (again, spec(tmp_path, rules.model_copy(update={"url": "http://10.0.0.1/v1", "parallel": 1}))),
            ]
        }
        others = [spec(tmp_path), spec(tmp_path, rules.model_copy(update={"max_tokens": 64}))]
        hashes_of_others = {asked.prepared.request_hash(CLIP, one.fingerprint) for one in others}
    assert len(hashes) == 1
    assert len(hashes_of_others - hashes) == 2
    assert (asked.prepared.words and asked.prepared.words.how, again.prepared.words and again.prepared.words.how) == (
        "asked",
        "kept",
    )


def test_a_stored_state_is_of_the_words_that_it_was_denoised_under(tmp_path: Path) -> None:
    with chat_server() as server:
        told = spec(tmp_path, endpoint(server))
        refined = ready(told, Rank())[0]
        server.answer = lambda _: refused(500)
        own = ready(replace(told, output=str(tmp_path / "other")), Rank())[0]
    given = ready(spec(tmp_path, words={"a": ("Seen.",)}), Rank())[0]
    plain = ready(spec(tmp_path), Rank())[0]
    paths = {one.checkpoint.path for one in (refined, own, given, plain) if one.checkpoint}
    assert len(paths) == 4


def test_given_words_are_taken_whatever_refines_and_nobody_is_asked(tmp_path: Path) -> None:
    rank = Rank()
    with chat_server() as server:
        (found,) = ready(spec(tmp_path, endpoint(server), words={"a": ("Seen.",)}), rank)
    assert (rank.embedded, server.asked, found.prepared.words and found.prepared.words.how) == (
        [("Seen.",)],
        [],
        "given",
    )


def test_the_picture_that_a_clip_begins_with_is_made_of_the_rows_own_words(tmp_path: Path) -> None:
    bundle = load_bundle("tiny-text2world")
    clip = replace(CLIP, n_views=1, views=("video",), guidance=1.0)
    rank = Rank()
    with chat_server() as server:
        told = spec(tmp_path, endpoint(server), bundle=bundle)
        (found,) = ready(told, rank, clip)
    assert rank.embedded == [("A street.",), ("A street. Seen in fine detail.",)]
    request: ClipRequest = found.request
    assert request.text is not None
    assert request.text.positive[0][0, 0] == len("A street. Seen in fine detail.")
    of_picture = picture_request(request, bundle.picture_bundle()).text
    assert of_picture is not None
    assert of_picture.positive[0][0, 0] == len("A street.")
    assert "image_url" not in str(server.asked[0])


def test_attempts_without_an_answer_are_forgotten_the_oldest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refined_words, "_REMEMBERED", 2)
    told = spec(tmp_path, RefinerRules(backend="local"))
    rank = Rank(NoWordsError("nothing"))
    words = refined_words.GangWords(told, Storage(told.output), rank.call)
    request = ClipRequest("a", CLIP.prompts, "", 2, 0, 4, 0.0, 2)

    async def asked(*attempts: int, generation: int = 0) -> int:
        before = len(rank.asked)
        for attempt in attempts:
            await words.of(replace(CLIP, generation=generation), attempt, request)
        return len(rank.asked) - before

    async def run() -> None:
        each = await asked(1)
        assert each > 0
        assert await asked(2, 3) == 2 * each
        assert await asked(3, 2) == 0, "the last two are known"
        assert await asked(1) == each, "the first had to go"
        assert await asked(1, generation=1) == each, "a clip that is asked for anew is another"

    asyncio.run(run())
