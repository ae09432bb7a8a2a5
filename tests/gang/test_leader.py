"""A leader and its ranks: how they start, and a clip's way through them. Ranks are scripted, there is no Ray."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.scripted_gang import NODE, SCORES, Gang, Kept, clip, in_loop
from support.waiting import PATIENCE_S

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.check_rules import CheckRules
from cosmos_ray.gang import leader as leader_module
from cosmos_ray.gang.clip_progress import At
from cosmos_ray.gang.deadline import Pace, denoise_work
from cosmos_ray.gang.processes import RankProcess
from cosmos_ray.gang.ranks import Ranks
from cosmos_ray.gang.ready import Preparation
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.gang.step_checkpoint import StepCheckpoint
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.store.traffic import Traffic, count, take

Make = Callable[..., Gang]
STATE = StepCheckpoint("steps/a", 2)


@pytest.fixture
def gang(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Make:
    return lambda *given, **named: Gang(monkeypatch, tmp_path, *given, **named)


def test_a_gang_starts_with_all_its_ranks_once_those_before_it_are_gone(gang: Make) -> None:
    async def work() -> None:
        made = gang(3, model="tiny")
        here, there = RankProcess(NODE, 7, "s"), RankProcess("2" * 56, 8, "s")
        made.does["process"] = lambda number: asyncio.sleep(0) if made.ended else never()
        info = await made.start(here, there)
        assert made.ended == [([here],)], "those of other nodes are none of this one's business"
        assert [(one.node, one.pid, one.start) for one in info.ranks] == [
            (NODE, 100 + rank, f"began {rank}") for rank in range(3)
        ]
        assert info.node == NODE == await made.leader.node()
        assert made.calls("prepare") == [("prepare", rank, made.spec, False) for rank in range(3)]
        assert made.calls("open_store", "load") == [
            ("open_store", 0), *(("load", rank, made.spec, 4321) for rank in range(3)),
        ]  # fmt: skip
        parts = dict(info.load_parts)
        assert parts.pop("processes") < info.load_seconds
        assert parts == {"imports": 2.0, "network": 7.0, "only 0": 1.0, "only 1": 1.0, "only 2": 1.0}, "the slowest"
        assert (info.kernels, made.calls("kernels")) == ("kernels of 0", [("kernels", 0)])

    in_loop(work)


@pytest.mark.parametrize(("size", "model"), [(1, "tiny"), (2, "fake")])
def test_ranks_that_exchange_nothing_open_no_store(gang: Make, size: int, model: str) -> None:
    async def work() -> None:
        made = gang(size, model=model)
        await made.start()
        assert made.calls("open_store", "load") == [("load", rank, made.spec, 0) for rank in range(size)]

    in_loop(work)


def test_a_clips_way_through_all_ranks(gang: Make) -> None:
    """What each is told, in which order, and what is made of what they answer."""

    async def work() -> None:
        made = gang()
        made.checkpoint, made.packed = STATE, {"step": np.array(1)}
        await made.start()
        outcome = await made.leader.run(clip(), 7, "mark")
        assert outcome.fault is None
        way = [call for call in made.told if call[0] in ("ready", "denoise", "publish")]
        assert [call[:2] for call in way] == [
            ("ready", "a"), ("denoise", 0), ("denoise", 1), ("publish", 0), ("publish", 1),
        ]  # fmt: skip
        assert way[0] == ("ready", "a", 7)
        (_, request), checkpoint, (_, packed) = way[1][2:]
        assert (request.id, checkpoint, int(packed["step"])) == ("a", STATE, 1)
        assert way[1][2:] == way[2][2:]
        assert [call[2:] for call in way[3:]] == [("a", "place of a.7", "clips/a/7", 10)] * 2
        ((place, found, mark),) = made.kept.made_ones
        assert (place, mark) == ("place of a.7", "mark")
        assert (found.clip.id, found.attempt, found.gang, found.node) == ("a", 7, "gang-0001", NODE)
        assert (found.warnings, found.first_step, found.peak_memory_bytes) == (("doubtful",), 1, 1000)
        assert [entry.view for entry in found.files] == ["front_wide", "cross_right"]
        assert found.blurred == {"cross_right": 1}
        assert found.prepared.request.id == "a"
        agreement = found.scores["front_wide"].agreement
        assert agreement is not None
        assert [scores.sharpness for scores in found.scores.values()] == [SCORES.sharpness] * 2
        assert found.seconds.keys() == {"prepare", "wait", "denoise", "idle", "decode", "encode"}
        assert {phase: found.seconds[phase] for phase in ("idle", "decode", "encode")} == {
            "idle": 0.5, "decode": 2.0, "encode": 3.0,
        }  # fmt: skip
        assert found.started.startswith("20")
        assert made.removed == [STATE], "a clip that is made needs no state"

    in_loop(work)


def test_marks_are_those_of_the_jobs_own_checks(gang: Make) -> None:
    async def work() -> None:
        made = gang(checks=CheckRules(min_sharpness=10.0))
        await made.start()
        await made.leader.run(clip(), 1)
        ((_, found, _),) = made.kept.made_ones
        assert [(mark.measure, mark.view) for mark in found.marks] == [
            ("sharpness", "front_wide"), ("sharpness", "cross_right"),
        ]  # fmt: skip

    in_loop(work)


@pytest.mark.parametrize(
    ("rules", "tries", "kept", "dropped"),
    [({}, 1, 1, 0), ({"redo": ("sharpness",), "redo_at_most": 2}, 3, 1, 0), ({"fail": ("sharpness",)}, 1, 0, 1)],
    ids=["kept", "made again", "failed"],
)
def test_the_state_of_a_clip_that_is_denoised_goes_whatever_becomes_of_the_clip(
    gang: Make, rules: dict[str, Any], tries: int, kept: int, dropped: int
) -> None:
    """Each try has one of its own, which nobody would find."""

    async def work() -> None:
        made = gang(checks=CheckRules(min_sharpness=10.0, **rules))
        made.checkpoint = STATE
        await made.start()
        await made.leader.run(clip(), 1)
        assert made.removed == [STATE] * tries
        assert (len(made.kept.made_ones), len(made.kept.dropped)) == (kept, dropped)

    in_loop(work)


def test_what_was_exchanged_is_told_once_of_all_processes(gang: Make) -> None:
    async def work() -> None:
        made = gang()
        await made.start()
        take()
        count(read=1, written=5, retries=7)
        assert (await made.leader.run(clip(), 1)).traffic == Traffic(111, 9, 13)
        made.does["traffic"] = lambda number: never() if number else asyncio.sleep(0)
        assert (await made.leader._ranks.traffic()) == [Traffic(10, 2, 3)], "one that hangs is not waited for"

        async def fails(number: int) -> None:
            raise RuntimeError

        made.does["traffic"] = lambda number: asyncio.sleep(0) if number else fails(number)
        assert (await made.leader._ranks.traffic()) == [Traffic(100, 2, 3)]

    in_loop(work)


@pytest.mark.parametrize(("first_step", "chunks"), [(0, 1), (1, 1), (5, 2)])
def test_the_gang_learns_its_pace_from_what_it_has_denoised(
    gang: Make, monkeypatch: pytest.MonkeyPatch, first_step: int, chunks: int
) -> None:
    """Of a clip that is gone on with, from what was left of it; by how much of it is guided."""

    async def work() -> None:
        approximations = Approximations(guidance_interval=(0.0, 0.5))
        made = gang(approximations=approximations, settings={"deadline_min_s": 0.001, "deadline_factor": 3})
        deadlines: dict[str, float] = {}
        on_ranks = Ranks._on

        async def watched(self: Ranks, actors: Any, method: str, *given: Any, deadline_s: float) -> Any:
            deadlines[method] = deadline_s
            return await on_ranks(self, actors, method, *given, deadline_s=max(deadline_s, PATIENCE_S))

        monkeypatch.setattr(Ranks, "_on", watched)
        await made.start(pace=Pace(1.0, 500.0))
        assert (deadlines["prepare"], deadlines["load"]) == (made.spec.settings.load_timeout_s,) * 2
        if first_step:
            made.packed = {"step": np.array(first_step)}
        asked = clip(num_chunks=chunks, negative_prompt="haze")
        await made.leader.run(asked, 1)
        whole = denoise_work(asked, made.spec.bundle, approximations.guided_share)
        assert whole < denoise_work(asked, made.spec.bundle), "half of its steps are guided"
        steps = chunks * made.spec.bundle.recipe.passes(asked.num_steps)
        work_of = whole * (1 - first_step / steps)
        assert deadlines["denoise"] == pytest.approx(3 * work_of)
        assert deadlines["publish"] == 1500.0
        assert made.leader._pace.denoise == pytest.approx(9.0 / work_of), "the slowest rank's"
        assert 0 < made.leader._pace.publish < 500
        await made.leader._on_first_rank("embed", "words")
        assert deadlines["embed"] == made.leader._pace.of_rest(made.spec.settings)
        await made.leader._on_first_rank("embed", "words", deadline_s=3.0)
        assert deadlines["embed"] == 3.0
        assert {call[1] for call in made.calls("embed")} == {0}

    in_loop(work)


def test_three_clips_are_under_way_and_one_is_denoised(gang: Make) -> None:
    """Which are in which stage is what the endpoint of a job shows."""

    async def work() -> None:
        made = gang(settings={"spare_ranks": "always"})
        gates = {name: asyncio.Event() for name in ("ready", "denoise", "publish")}
        for name in gates:
            made.does[name] = lambda *_, name=name: gates[name].wait()
        await made.start(pace=Pace(2.0, 0.0))
        running = [asyncio.ensure_future(made.leader.run(clip(name), 1)) for name in ("a", "b", "c")]

        async def stages(**expected: int) -> None:
            empty = {"preparing": 0, "prepared": 0, "denoising": 0, "publishing": 0}
            while await made.leader.stages() != empty | expected:
                await asyncio.sleep(0.001)

        await stages(preparing=3)
        assert not made.leader._crew.has_spares, "the first clip waits for the same disks and cores"
        assert await made.leader.at() is None
        gates["ready"].set()
        await stages(denoising=1, prepared=2)
        assert made.leader._crew.has_spares
        found = await made.leader.at()
        assert found is not None
        assert found.left_s == pytest.approx(2 * denoise_work(clip(), made.spec.bundle), abs=60)
        assert found == At("a", 3, 4, found.left_s)
        gates["denoise"].set()
        await stages(publishing=3)
        gates["publish"].set()
        assert all(outcome.record for outcome in await asyncio.gather(*running))
        await stages()
        assert await made.leader.at() is None
        assert made.leader._denoising_ends == 0.0
        shared = [call[2][1].id for call in made.calls("denoise")]
        assert shared == ["a", "a", "b", "b", "c", "c"], "never two at once"
        assert made.names[2:] == [name for name in made.names[2:] if name.startswith("gang-0001-spare")]

    in_loop(work)


def test_without_a_pace_the_steps_so_far_tell_how_far_a_clip_is(gang: Make) -> None:
    async def work() -> None:
        made = gang()
        gate = asyncio.Event()
        made.does["denoise"] = lambda *_: gate.wait()
        await made.start()
        running = asyncio.ensure_future(made.leader.run(clip(), 1))
        while not made.leader._denoised:
            await asyncio.sleep(0.001)
        made.leader._denoised = made.leader._denoised[0], time.monotonic() - 30
        found = await made.leader.at()
        assert found is not None
        assert (found.clip, found.step, found.steps) == ("a", 3, 4)
        assert found.left_s == pytest.approx(10, abs=0.5)
        gate.set()
        await running

    in_loop(work)


def test_a_gang_that_serves_another_job_is_that_jobs_in_everything(
    gang: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def work() -> None:
        made = gang(settings={"spare_ranks": "never"})
        await made.start()
        await made.leader.leave(None)
        deliveries: list[Any] = []
        kept = Kept()

        def delivery(*given: Any) -> Kept:
            deliveries.append(given)
            return kept

        monkeypatch.setattr(leader_module, "Delivery", delivery)
        other = GangSpec(
            load_bundle("fake"), 2, "cpu", "float32", str(tmp_path / "other"), 2,
            made.spec.settings.model_copy(update={"spare_ranks": "always", "deadline_first_s": 77.0}),
        )  # fmt: skip
        info = await made.leader.take_up("gang-0009", other)
        assert [(Path(uri).name, epoch) for uri, epoch in made.looked_at] == [("out", 1), ("other", 2)]
        assert made.calls("take_up") == [("take_up", rank, other) for rank in (0, 1)]
        assert (info.node, [rank.pid for rank in info.ranks], info.kernels) == (NODE, [100, 101], "kernels of 0")
        ((storage, spec),) = deliveries
        assert (Path(storage.uri.removeprefix("file://")).name, spec) == ("other", other)
        preparation: Any = made.leader._preparation
        assert isinstance(preparation, Preparation)
        assert (preparation._spec, preparation._storage.uri) == (other, storage.uri)
        made.leader._preparation = SimpleNamespace(ready=made._ready)  # type: ignore[assignment]
        assert (await made.leader.run(clip(), 1)).record is not None, "that its last job left is no reason to leave"
        ((_, found, _),) = kept.made_ones
        assert found.gang == "gang-0009"
        assert made.names[-1].startswith("gang-0009-spare1")

    in_loop(work)


async def never(*_: Any) -> None:
    await asyncio.Event().wait()
