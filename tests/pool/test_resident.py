"""Which gangs a job takes up from the one before it. Without Ray: leaders that answer, die, or stand still."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError

from cosmos_ray.config import GangConfig
from cosmos_ray.gang.processes import GangInfo
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.pool import resident as resident_module
from cosmos_ray.pool.resident import Resident
from cosmos_ray.pool.watched import WatchedGang

SPEC = GangSpec(load_bundle("fake"), 1, "cpu", "reference", "/out", 1, GangConfig(load_timeout_s=0.01))


async def _for_ever() -> Any:
    await asyncio.sleep(3600)


async def _dead() -> Any:
    raise ActorDiedError


async def _answer() -> Any:
    return GangInfo("node", (), 0.0, {})


def leader(**calls: Any) -> Any:
    """Its answers, by call; `_answer` to those that are not given."""
    answers = {"stages": _answer, "take_up": _answer, **calls}
    return SimpleNamespace(
        **{name: SimpleNamespace(remote=lambda *_, call=call: call()) for name, call in answers.items()}
    )


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setattr(resident_module, "ANSWERS_S", 0.05)
    found: list[Any] = []
    monkeypatch.setattr("ray.kill", found.append)
    return found


def taken(*leaders: Any, spec: GangSpec = SPEC, avoided: tuple[str, ...] = ()) -> Any:
    """The leader that a job gets which was left these gangs, the last one first."""
    kept = Resident()
    for one in leaders:
        kept.keep(WatchedGang("gang-0001", one, GangInfo("node", (), 1.0, {}), time.monotonic()), SPEC)
    gang = asyncio.run(kept.take_up("gang-0002", spec, avoided))
    return None if gang is None else gang.leader


def test_a_gang_that_answers_is_taken_up(killed: list[Any]) -> None:
    first, last = leader(), leader()
    assert taken(first, last) is last
    assert killed == []


@pytest.mark.parametrize("call", ["stages", "take_up"])
@pytest.mark.parametrize("does", [_for_ever, _dead])
def test_one_that_died_or_stands_still_is_given_up_and_the_next_is_asked(
    killed: list[Any], call: str, does: Any
) -> None:
    well, ill = leader(), leader(**{call: does})
    assert taken(well, ill) is well
    assert killed == [ill]
    assert taken(ill) is None


def test_another_model_and_an_avoided_node_are_given_up(killed: list[Any]) -> None:
    one = leader()
    assert taken(one, spec=replace(SPEC, numerics="float32")) is None
    assert taken(one, avoided=("node",)) is None
    assert killed == [one, one]


def test_one_ray_is_for_all_jobs_and_goes_at_the_end_with_the_gangs(
    killed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    @contextlib.contextmanager
    def connect(*_: object) -> Iterator[tuple[str, int]]:
        events.append("in")
        yield ("cpu", 2)
        events.append("out")

    monkeypatch.setattr(resident_module, "connect", connect)
    kept, nothing, one = Resident(), SimpleNamespace(), leader()
    for _ in range(2):
        with kept.connected(nothing, nothing) as found:  # type: ignore[arg-type]
            assert found == ("cpu", 2)
    assert events == ["in", "in", "out"], "the second joins and leaves; the first stays"
    kept.keep(WatchedGang("gang-0001", one, GangInfo("node", (), 1.0, {}), time.monotonic()), SPEC)
    kept.close()
    assert killed == [one]
    assert events == ["in", "in", "out", "out"]
