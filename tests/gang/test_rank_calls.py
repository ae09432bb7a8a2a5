"""One call to a rank, whose fault it is if it fails, and what a rank is started with. No Ray."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError
from support.scripted_gang import NODE
from support.stand_in_actors import Actor

from cosmos_ray.config import GangConfig
from cosmos_ray.errors import RowError
from cosmos_ray.gang import crew, rank_calls
from cosmos_ray.gang.rank_calls import call_rank, rank_environments
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.gang.verdict import GangBrokenError
from cosmos_ray.models.bundle.bundle import load_bundle


class Rank:
    async def answers(self, first: int, second: int) -> int:
        return first - second

    async def blames_the_row(self) -> None:
        raise RowError("NaN", "model")

    async def fails(self) -> None:
        raise ValueError("odd")


def call(method: str, *given: Any) -> Any:
    async def work() -> Any:
        return await call_rank(Actor(Rank()), method, given)

    return asyncio.run(work())


def test_a_call_gives_back_what_the_rank_answers() -> None:
    assert call("answers", 5, 3) == 2


def test_a_rows_fault_comes_as_it_was_raised_and_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(RowError) as caught:
        call("blames_the_row")
    assert (type(caught.value), str(caught.value), caught.value.failure_class) == (RowError, "NaN", "model")
    assert caplog.records == []


def test_any_other_comes_as_it_was_raised_and_its_traceback_is_logged_without_colours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING), pytest.raises(ValueError, match=r"^odd$") as caught:
        call("fails")
    assert type(caught.value) is ValueError
    assert caught.value.__suppress_context__
    assert caplog.messages[0] == "fails failed on a rank:"
    assert "its traceback" in caplog.text
    assert "\x1b" not in caplog.text


@pytest.mark.parametrize("error", [ActorDiedError(), ActorUnavailableError("away", None)])
def test_a_rank_that_does_not_answer_has_broken_its_gang(error: Exception) -> None:
    class Away:
        def __getattr__(self, name: str) -> Any:
            async def remote(*_: Any) -> None:
                raise error

            return SimpleNamespace(remote=remote)

    with pytest.raises(GangBrokenError, match=r"^denoise: a rank died: ") as caught:
        asyncio.run(call_rank(Away(), "denoise", ()))
    assert caught.value.failure_class == "gang"


def test_each_rank_sees_one_of_its_leaders_gpus_and_on_cpus_none(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = GangSpec(load_bundle("tiny"), 3, "cuda", "float32", "out", 1, GangConfig())
    monkeypatch.setattr(rank_calls.ray, "get_gpu_ids", lambda: [6, 2, 4])
    found = rank_environments(spec)
    assert [one["CUDA_VISIBLE_DEVICES"] for one in found] == ["6", "2", "4"]
    assert {one["PYTORCH_CUDA_ALLOC_CONF"] for one in found} == {"expandable_segments:True"}
    on_cpus = rank_environments(dataclasses.replace(spec, device="cpu", gang_size=2))
    assert on_cpus == [{"CUDA_VISIBLE_DEVICES": ""}] * 2
    for ids in ([6, 2], [6, 2, 4, 1], []):
        monkeypatch.setattr(rank_calls.ray, "get_gpu_ids", lambda ids=ids: ids)
        with pytest.raises(RuntimeError, match=r"was given GPUs \[.*expected 3"):
            rank_environments(spec)


def test_ranks_are_made_on_their_leaders_node_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    told: list[tuple[int, int]] = []

    class Made:
        @staticmethod
        def options(**options: Any) -> Any:
            asked.append(options)
            return SimpleNamespace(remote=lambda *given: told.append(given))

    monkeypatch.setattr(crew, "rank_actor", Made)
    crew.Crew(GangSpec(load_bundle("tiny"), 2, "cpu", "float32", "out", 1, GangConfig()), NODE).take("gang-0001")
    assert told == [(0, 2), (1, 2)]
    for options in asked:
        strategy = options["scheduling_strategy"]
        assert (strategy.node_id, strategy.soft) == (NODE, False)
        assert options["runtime_env"] == {"env_vars": {"CUDA_VISIBLE_DEVICES": ""}}
