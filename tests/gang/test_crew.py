"""A leader's ranks and their spares: who is made when, and who takes whose place. Actors are stood in for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError

from cosmos_ray.config import GangConfig
from cosmos_ray.gang import crew as crew_module
from cosmos_ray.gang.crew import Crew
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.gang.verdict import GangBrokenError
from cosmos_ray.models.bundle.bundle import load_bundle

NODE = "1" * 56


async def well() -> tuple[int, str]:
    return 1, "start"


@dataclass
class Actor:
    """does: when it is asked for its process."""

    full_name: str
    rank: int
    does: Callable[[], Awaitable[Any]] = well
    prepared: list[Any] = field(default_factory=list)

    @property
    def name(self) -> str:
        return "-".join(self.full_name.split("-")[:3])

    @property
    def process(self) -> Any:
        return SimpleNamespace(remote=lambda: self.does())

    @property
    def prepare(self) -> Any:
        return SimpleNamespace(remote=lambda spec, is_spare: self.prepared.append(is_spare))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Actor]:
    """All that were asked for."""
    actors: list[Actor] = []

    def options(name: str, runtime_env: dict[str, Any], **_: Any) -> Any:
        def remote(rank: int, size: int) -> Actor:
            assert runtime_env["env_vars"] == {"CUDA_VISIBLE_DEVICES": str(4 + rank)}
            assert name not in {actor.full_name for actor in actors}, "no two actors of one cluster have one name"
            actors.append(Actor(name, rank))
            return actors[-1]

        return SimpleNamespace(remote=remote)

    monkeypatch.setattr(crew_module, "rank_actor", SimpleNamespace(options=options))
    gpus = [{"CUDA_VISIBLE_DEVICES": str(gpu)} for gpu in (4, 5)]
    monkeypatch.setattr(crew_module, "rank_environments", lambda spec: gpus)
    return actors


def spec(spares: str, device: str = "cuda", model: str = "tiny") -> GangSpec:
    settings = GangConfig.model_validate({"spare_ranks": spares})
    return GangSpec(load_bundle(model), 2, device, "float32", "out", 1, settings)


def test_spares_take_the_place_of_ranks_once_and_are_made_again(made: list[Actor]) -> None:
    crew = Crew(spec("auto"), NODE)
    first = crew.take("gang-0001")
    assert [actor.name for actor in first] == ["gang-0001-rank0", "gang-0001-rank1"]
    assert not crew.has_spares
    for _ in range(2):
        crew.keep_spares("gang-0001")
    assert crew.has_spares
    second = crew.take("gang-0002")
    assert [(actor.name, actor.prepared) for actor in second] == [
        ("gang-0001-spare0", [True]),
        ("gang-0001-spare1", [True]),
    ]
    assert not crew.has_spares
    crew.keep_spares("gang-0002")
    third = crew.take("gang-0003")
    assert len({id(actor) for actor in (*first, *second, *third)}) == len(made) == 6


def test_a_crew_that_serves_several_jobs_gives_no_name_twice(made: list[Actor]) -> None:
    """Each of them counts its gangs from one; ranks that were spares keep their names."""
    crew = Crew(spec("always"), NODE)
    crew.take("gang-0001")
    for _ in range(3):
        crew.keep_spares("gang-0001")
        crew.take("gang-0002")
    assert len(made) == 8


def test_a_gang_has_spares_where_they_save_seconds(made: list[Actor]) -> None:
    """On GPUs, unless it has nothing to import; elsewhere where they are asked for."""
    has = {
        (spares, device, model): spec(spares, device, model).has_spares
        for spares in ("auto", "always", "never")
        for device in ("cuda", "cpu")
        for model in ("tiny", "fake")
    }
    assert {case for case, it_has in has.items() if it_has} == {
        ("auto", "cuda", "tiny"),
        *(("always", device, model) for device in ("cuda", "cpu") for model in ("tiny", "fake")),
    }
    without = Crew(spec("never"), NODE)
    without.take("gang-0001")
    without.keep_spares("gang-0001")
    assert not without.has_spares
    assert len(made) == 2


def test_a_job_that_takes_a_gang_up_has_spares_as_it_asks_for_them(made: list[Actor]) -> None:
    crew = Crew(spec("never"), NODE)
    crew.take("gang-0001")
    crew.take_up(spec("always"))
    crew.keep_spares("gang-0001")
    assert crew.has_spares


async def _hangs() -> Any:
    await asyncio.Event().wait()


async def _is_dead() -> Any:
    raise ActorDiedError


@pytest.mark.parametrize(
    ("does", "said"), [(well, ""), (_hangs, "does not answer within 0.05 s"), (_is_dead, "a rank died")]
)
def test_spares_that_are_needed_are_asked_first(made: list[Actor], does: Any, said: str) -> None:
    """One that hangs in an import, or has died while nobody looked, would hold the gang's GPUs for half an hour."""
    crew = Crew(spec("auto"), NODE)
    crew.take("gang-0001")
    crew.keep_spares("gang-0001")
    made[-1].does = does
    if not said:
        return asyncio.run(crew.answers(0.05))
    with pytest.raises(GangBrokenError, match=said):
        asyncio.run(crew.answers(0.05))
    return None
