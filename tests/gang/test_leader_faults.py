"""What goes wrong in a gang, and whose end it is: a row's, a clip's attempt's, or the gang's. Ranks are scripted."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.scripted_gang import NODE, Gang, clip, in_loop
from support.waiting import PATIENCE_S

from cosmos_ray.errors import LeaseLost, RowError, UncheckedError
from cosmos_ray.gang import leader
from cosmos_ray.gang import ranks as ranks_module
from cosmos_ray.gang.deadline import Pace
from cosmos_ray.gang.delivery import StoreOutError
from cosmos_ray.gang.processes import RankProcess
from cosmos_ray.gang.step_checkpoint import StepCheckpoint
from cosmos_ray.gang.verdict import GangBrokenError
from cosmos_ray.refine.refiner import NotRefinedError
from cosmos_ray.store.storage import Storage
from cosmos_ray.store.traffic import Traffic

Make = Callable[..., Gang]
STATE = StepCheckpoint("steps/a", 2)


@pytest.fixture
def gang(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Make:
    return lambda *given, **named: Gang(monkeypatch, tmp_path, *given, **named)


def raises(error: Exception, *ranks: int) -> Callable[..., Any]:
    """On these ranks, all if none is named; the others do as they do."""

    async def does(number: int, *_: Any) -> None:
        if not ranks or number in ranks:
            raise error

    return does


def hangs(*ranks: int) -> Callable[..., Any]:
    async def does(number: int, *_: Any) -> None:
        if not ranks or number in ranks:
            await asyncio.Event().wait()

    return does


def both(first: Any, second: Any) -> Callable[..., Any]:
    async def does(number: int, *given: Any) -> None:
        await first(number, *given)
        await second(number, *given)

    return does


ROW = RowError("NaN", "model")
ONE_SAYS_SO = both(raises(ROW, 0), hangs(1))


@pytest.mark.parametrize(
    ("method", "does", "failure_class", "said", "broken"),
    [
        ("denoise", raises(ROW), "model", "NaN", False),
        ("denoise", raises(ROW, 1), "model", "denoise: RowError: NaN", True),
        ("denoise", ONE_SAYS_SO, "model", "denoise: RowError: NaN", True),
        ("denoise", raises(ValueError("odd")), "internal", "denoise: ValueError: odd", True),
        ("denoise", raises(MemoryError("full"), 0), "oom", "denoise: MemoryError: full", True),
        ("denoise", hangs(1), "timeout", "denoise: no answer within 0 s", True),
        ("publish", raises(ROW, 1), "model", "NaN", False),
        ("publish", raises(OSError("no room"), 0), "storage", "OSError: no room", False),
        ("publish", raises(ValueError("odd"), 0), "internal", "ValueError: odd", False),
        ("publish", raises(MemoryError("full"), 1), "oom", "publish: MemoryError: full", True),
        ("publish", ONE_SAYS_SO, "timeout", "publish: no answer within 0 s", True),
    ],
)
def test_a_ranks_fault_is_the_rows_or_the_end_of_the_gang(
    gang: Make, monkeypatch: pytest.MonkeyPatch, method: str, does: Any, failure_class: str, said: str, broken: bool
) -> None:
    async def work() -> None:
        made = gang(3, settings={"deadline_min_s": 0.05 if "no answer" in said else PATIENCE_S, "deadline_factor": 2})
        if does is ONE_SAYS_SO:
            monkeypatch.setattr(ranks_module, "_AGREE_S", 0.05)
        await made.start(pace=Pace(1e-15 if method == "denoise" else 1.0, 1e-3))
        made.does[method] = does
        made.checkpoint = STATE
        outcome = await made.leader.run(clip(), 1)
        assert outcome.record is None
        assert outcome.fault is not None
        assert (outcome.fault.failure_class, outcome.fault.message) == (failure_class, said)
        assert (outcome.broken, outcome.store_is_out) == (broken, False)
        assert made.killed == (made.ranks if broken else []), "all or none"
        assert made.leader._ranks.is_broken == broken
        is_blocked = method == "publish" and failure_class == "model"
        assert made.kept.dropped == (["place of a.1"] if is_blocked else []), "nothing of a clip that is blocked stays"
        assert made.removed == ([STATE] if is_blocked else []), "a state is for who goes on"
        assert not made.leader._denoising.locked()
        assert set((await made.leader.stages()).values()) == {0}
        if not broken:
            made.does.clear()
            assert (await made.leader.run(clip("b"), 1)).record is not None, "the ranks are in step"

    in_loop(work)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NotRefinedError("says no", "model", True), ("model", "says no", True, False)),
        (NotRefinedError("is out", "storage", False), ("storage", "is out", False, False)),
        (RowError("no video", "input"), ("input", "no video", False, False)),
        (UncheckedError("not looked at", "guardrail"), ("guardrail", "not looked at", False, True)),
        (ConnectionError("cut"), ("storage", "ConnectionError: cut", False, False)),
        (KeyError("odd"), ("internal", "KeyError: 'odd'", False, False)),
    ],
)
def test_what_a_clips_preparation_raises_is_a_fault_of_its_own_class(
    gang: Make, error: Exception, expected: tuple[Any, ...]
) -> None:
    async def work() -> None:
        made = gang()
        await made.start()
        made.does["ready"] = raises(error)
        outcome = await made.leader.run(clip(), 1)
        fault = outcome.fault
        assert fault is not None
        assert (fault.failure_class, fault.message, fault.is_verdict, fault.is_unclear) == expected
        assert (outcome.record, outcome.broken, outcome.store_is_out, outcome.tries) == (None, False, False, ())
        assert outcome.traffic == Traffic(110, 4, 6), "also of what failed"
        made.does.clear()
        assert (await made.leader.run(clip(), 2)).record is not None

    in_loop(work)


@pytest.mark.parametrize(
    ("error", "store_is_out", "message"),
    [
        (StoreOutError("out for long"), True, "out for long"),
        (OSError("other bytes"), False, "OSError: other bytes"),
    ],
)
def test_what_could_not_be_stored_is_told_apart_from_what_could_not_be_made(
    gang: Make, error: Exception, store_is_out: bool, message: str
) -> None:
    async def work() -> None:
        made = gang()
        made.checkpoint = STATE
        await made.start()
        made.kept.made = lambda *_: raises(error)(0)
        outcome = await made.leader.run(clip(), 1)
        assert outcome.fault is not None
        assert (outcome.fault.failure_class, outcome.fault.message) == ("storage", message)
        assert outcome.store_is_out == store_is_out
        assert made.removed == [], "the clip is made again from there"

    in_loop(work)


def test_no_rank_is_made_where_the_output_is_another(gang: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_another(storage: Storage, epoch: int) -> None:
        raise GangBrokenError("storage", f"{storage.uri}, run {epoch}")

    async def work() -> None:
        made = gang()
        monkeypatch.setattr(leader, "await_output", is_another)
        with pytest.raises(GangBrokenError, match=r"out, run 1$"):
            await made.start()
        assert made.ranks == []

    in_loop(work)


def test_no_rank_is_made_where_the_inputs_are_not(gang: Make, tmp_path: Path) -> None:
    """Else each clip would take three gangs with it before it fails."""

    async def work() -> None:
        made = gang(home_read=str(tmp_path / "nowhere"))
        with pytest.raises(GangBrokenError, match=f"lacks the folder of the manifest, {tmp_path / 'nowhere'}"):
            await made.start()
        assert made.ranks == []

    in_loop(work)


def test_a_gang_whose_job_has_lost_its_output_says_so_itself(gang: Make) -> None:
    async def work() -> None:
        made = gang()
        await made.start()
        made.kept.made = lambda *_: raises(LeaseLost("another job"))(0)
        with pytest.raises(LeaseLost):
            await made.leader.run(clip(), 1)
        assert made.leader._running == 0

    in_loop(work)


def test_a_clip_that_waited_here_is_not_made_again(gang: Make) -> None:
    async def work() -> None:
        made = gang()
        await made.start()

        async def found(asked: Any) -> Any:
            return f"record of {asked.id}"

        made.kept.found = found
        assert (await made.leader._run(clip(), 2, "")).record == "record of a"
        assert made.calls("ready", "denoise") == []

    in_loop(work)


def test_a_rank_that_dies_ends_the_gang_at_once(gang: Make) -> None:
    """Also between clips. The reason is the first one, whatever follows from it; nothing is asked of the ranks then."""

    async def work() -> None:
        made = gang(3)
        await made.start()
        until_broken = asyncio.ensure_future(made.leader.until_broken())
        made.ranks[1].die()
        assert (await until_broken).startswith("rank 1 died: ")
        while len(made.ended) < 2:
            await asyncio.sleep(0.001)
        assert made.killed == made.ranks
        assert made.ended[1] == ([RankProcess(NODE, 100 + rank, f"began {rank}") for rank in range(3)], 0.0)
        await made.leader._ranks.end(GangBrokenError("oom", "later"))
        assert len(made.killed) == 3
        assert (await made.leader.until_broken()).startswith("rank 1 died: ")
        outcome = await made.leader.run(clip(), 1)
        assert outcome.fault is not None
        assert (outcome.fault.failure_class, outcome.broken) == ("gang", True)
        assert outcome.fault.message.startswith("rank 1 died: ")
        assert made.calls("denoise") == []

    in_loop(work)


def test_who_waits_for_the_gangs_end_does_not_end_it_by_waiting_no_more(gang: Make) -> None:
    async def work() -> None:
        made = gang()
        await made.start()
        waits = asyncio.ensure_future(made.leader.until_broken())
        await asyncio.sleep(0.001)
        waits.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waits
        assert (await made.leader.run(clip(), 1)).record is not None

    in_loop(work)


@pytest.mark.parametrize(
    ("notice_s", "left_s", "publish_s", "breaks"),
    [
        (None, 1000.0, 5.0, False),  # not said: it may be enough
        (100.0, 90.0, 5.0, False),
        (100.0, 90.0, 15.0, True),
        (100.0, 110.0, 5.0, True),
        (100.0, None, 500.0, False),  # nothing is being denoised
    ],
)
def test_a_gang_whose_node_goes_finishes_what_the_notice_allows(
    gang: Make,
    monkeypatch: pytest.MonkeyPatch,
    notice_s: float | None,
    left_s: float | None,
    publish_s: float,
    breaks: bool,
) -> None:
    async def work() -> None:
        made = gang()
        await made.start(pace=Pace(0.0, publish_s))
        monkeypatch.setattr(leader, "time", SimpleNamespace(monotonic=lambda: 7.0))  # a machine just started
        made.leader._denoising_ends = 7.0 + left_s if left_s else 0.0
        await made.leader.leave(notice_s)
        assert made.leader._ranks.is_broken == breaks
        if breaks and left_s:
            goes = f"its node goes in 100 s, the clip needs {left_s + publish_s:.0f} s"
            assert await made.leader.until_broken() == goes
            assert (await made.leader._ranks.until_broken()).failure_class == "gang"

    in_loop(work)


def test_clips_that_are_not_denoised_yet_are_handed_back_by_a_gang_that_leaves(gang: Make) -> None:
    async def work() -> None:
        made = gang()
        gate = asyncio.Event()
        made.does["denoise"] = lambda *_: gate.wait()
        await made.start()
        first, second = (asyncio.ensure_future(made.leader.run(clip(name), 1)) for name in ("a", "b"))
        while (await made.leader.stages())["prepared"] < 1 or not made.leader._denoising_ends:
            await asyncio.sleep(0.001)
        await made.leader.leave(None)
        gate.set()
        assert (await first).record is not None
        outcome = await second
        assert (outcome.record, outcome.fault, outcome.broken) == (None, None, False)
        assert {call[2][1].id for call in made.calls("denoise")} == {"a"}
        assert not made.leader._denoising.locked()

    in_loop(work)


def test_a_gang_that_broke_is_followed_by_its_spares(gang: Make) -> None:
    """Once the dead are gone, under the new name, as their gang and with what was measured elsewhere."""

    async def work() -> None:
        made = gang(settings={"spare_ranks": "always"})
        await made.start()
        assert await made.leader.renew("gang-0002", Pace()) is None, "there are no spares before the first clip"
        await made.leader.run(clip(), 1)
        made.is_heard_dying = False
        made.ranks[0].die()
        await made.leader.until_broken()
        made.leader._running = 1
        assert await made.leader.renew("gang-0002", Pace()) is None, "a clip of it is still being stored"
        made.leader._running = 0
        asked = len(made.told)
        info = await made.leader.renew("gang-0002", Pace(5.0, 6.0))
        assert info is not None
        assert made.ended[-1] == ([RankProcess(NODE, 100 + rank, f"began {rank}") for rank in (0, 1)],)
        assert [call[:2] for call in made.told[asked:] if call[0] == "load"] == [("load", 0), ("load", 1)]
        assert made.ranks[2].called[:2] == ["prepare", "process"], "a spare is asked before it is counted on"
        assert made.leader._pace == Pace(5.0, 6.0)
        made.ranks[1].die()  # which is heard of only now
        await asyncio.sleep(0.001)
        outcome = await made.leader.run(clip("b"), 1)
        assert outcome.record is not None
        assert made.kept.made_ones[-1][1].gang == "gang-0002"

    in_loop(work)


def test_a_spare_that_is_dead_takes_nobodys_place(gang: Make) -> None:
    async def work() -> None:
        made = gang(settings={"spare_ranks": "always"})
        await made.start()
        await made.leader.run(clip(), 1)
        made.ranks[0].die()
        await made.leader.until_broken()
        made.ranks[3].die()
        with pytest.raises(GangBrokenError, match="process: a rank died"):
            await made.leader.renew("gang-0002", Pace())

    in_loop(work)


def test_a_gangs_log_tells_of_each_attempt_how_it_ended(gang: Make, caplog: pytest.LogCaptureFixture) -> None:
    """And of the gang which job it serves, and what it broke of."""
    caplog.set_level("INFO", "cosmos_ray.gang")

    async def work() -> None:
        made = gang()
        await made.start()
        await made.leader.run(clip("a"), 1)
        made.does["ready"] = raises(RowError("no video", "input"))
        await made.leader.run(clip("b"), 2)
        made.does.clear()
        await made.leader.leave(None)
        await made.leader.run(clip("c"), 3)
        await made.leader.take_up("gang-0009", made.spec)
        await made.leader._ranks.end(GangBrokenError("oom", "full"))
        assert [re.sub(r"\d+\.\d s", "N s", line).replace(made.spec.output, "OUT") for line in caplog.messages] == [
            "loaded; ranks are processes 100, 101",
            "a: attempt 1 begins",
            "a: attempt 1 committed: prepare N s, wait N s, denoise N s, idle N s, decode N s, encode N s",
            "b: attempt 2 begins",
            "b: attempt 2 failed (input): no video",
            "c: attempt 3 begins",
            "c: attempt 3 is handed back",
            "gang-0009: another job, in OUT",
            "the gang breaks (oom): full",
        ]

    in_loop(work)
