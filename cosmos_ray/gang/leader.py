"""One gang's leader: the actor that holds the GPUs (and no CUDA), its ranks, and one clip's way through them.

The leader asks for all of the gang's GPUs at once, on one node, so a gang is scheduled whole or not at all. Its ranks
ask for none: they are pinned to the leader's node and each is given one of the leader's GPU ids. When a rank dies,
hangs or reports something that the others did not, the gang is broken (`ranks.py`): the leader says so, and the pool
makes a new gang, of this leader's spares (`crew.py`) if it has some. A fault that all ranks report alike belongs to the
row.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import ray

from cosmos_ray.clip.agreement import with_agreement
from cosmos_ray.clip.check_rules import marks_of
from cosmos_ray.errors import Fault, LeaseLost, RowError, UncheckedError
from cosmos_ray.gang.clip_progress import At, at_of
from cosmos_ray.gang.commit import Made, clip_folder
from cosmos_ray.gang.crew import Crew
from cosmos_ray.gang.deadline import Pace, denoise_work
from cosmos_ray.gang.delivery import Delivery, StoreOutError
from cosmos_ray.gang.process_log import in_words, log_as
from cosmos_ray.gang.processes import GangInfo, RankProcess, await_end
from cosmos_ray.gang.rank import DenoiseReport, Published
from cosmos_ray.gang.rank_calls import call_rank
from cosmos_ray.gang.ranks import Ranks
from cosmos_ray.gang.ready import Preparation, Ready
from cosmos_ray.gang.shared_output import await_output, check_home
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.gang.step_checkpoint import StepCheckpoint, remove_state
from cosmos_ray.gang.verdict import GangBrokenError, storage_fault
from cosmos_ray.ledger.record import Record, Try, now
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.refine.refiner import NotRefinedError
from cosmos_ray.store.storage import Storage
from cosmos_ray.store.traffic import Traffic, take

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How one attempt at a clip ended: a committed record, or a fault, or neither: handed back by a gang that leaves.

    broken: the gang went with it. tries: as which a clip that checks have failed was made. store_is_out: it is made and
    could not be stored. traffic: the gang's with stores since its outcome before.
    """

    record: Record | None = None
    fault: Fault | None = None
    broken: bool = False
    tries: tuple[Try, ...] = ()
    store_is_out: bool = False
    traffic: Traffic = field(default_factory=Traffic)


class _LeavingError(Exception):
    """The gang's node is about to go: the clip is for another gang."""


class GangLeader:
    """Runs up to three clips at a time: one is fetched and embedded, one denoised, one decoded and published."""

    def __init__(self, name: str, spec: GangSpec) -> None:
        log_as(name)
        self._name = name
        self._spec = spec
        self._storage = Storage(spec.output)
        self._node = ray.get_runtime_context().get_node_id()
        self._crew = Crew(spec, self._node)
        self._ranks: Ranks  # made in `start`, which runs in the actor's event loop
        self._denoising = asyncio.Lock()
        self._pace = Pace()
        self._phases = collections.Counter[str]()  # how many clips are in each now
        self._running = 0  # attempts that are under way
        self._leaving = False
        self._delivery = Delivery(self._storage, spec)
        self._preparation = Preparation(spec, self._storage, self._on_first_rank)
        self._denoising_ends = 0.0  # as predicted, of the clip that is being denoised; 0 if there is none
        self._denoised: tuple[Clip, float] | None = None  # that clip, and when it was begun

    async def node(self) -> str:
        """Node this leader was scheduled on; answers as soon as the gang has its GPUs."""
        return self._node

    async def start(self, predecessors: list[RankProcess], pace: Pace) -> GangInfo:
        """Make the ranks and load the model. Waits first until ranks of a dead gang on this node are gone.

        pace: as measured in other gangs.
        """
        began = time.monotonic()
        self._pace = pace
        self._ranks = Ranks()
        await asyncio.to_thread(await_end, [rank for rank in predecessors if rank.node == self._node])
        await asyncio.to_thread(await_output, self._storage, self._spec.epoch)
        await asyncio.to_thread(check_home, self._spec.home_read)
        asked = time.monotonic()
        await self._ranks.join(self._crew.take(self._name), self._node)
        parts = {"processes": time.monotonic() - asked}
        patience_s = self._spec.settings.load_timeout_s
        prepared = await self._ranks.on_all("prepare", self._spec, deadline_s=patience_s)
        port = 0
        if self._spec.gang_size > 1 and self._spec.bundle.generator != "fake":
            port = await self._ranks.first.open_store.remote()
        loaded = await self._ranks.on_all("load", self._spec, port, deadline_s=patience_s)
        for seconds in (*prepared, *loaded):
            parts |= {part: max(spent, parts.get(part, 0.0)) for part, spent in seconds.items()}
        log.info("loaded; ranks are processes %s", ", ".join(str(process.pid) for process in self._ranks.processes))
        kernels = await self._ranks.first.kernels.remote()
        return GangInfo(self._node, tuple(self._ranks.processes), time.monotonic() - began, parts, kernels)

    async def renew(self, name: str, pace: Pace) -> GangInfo | None:
        """After the gang broke: another one, on the same GPUs, of its spares. None where there are none, or where a
        clip of the one that broke is still under way. Raises GangBrokenError if a spare is dead, or hangs."""
        if self._running or not self._crew.has_spares:
            return None
        await self._crew.answers()
        self._ranks.watch_no_more()
        log.info("%s takes the place of %s", name, self._name)
        self._name = name
        return await self.start(self._ranks.processes, pace)

    async def take_up(self, name: str, spec: GangSpec) -> GangInfo:
        """Another job with the model that is loaded (`GangSpec.loaded`), under another name; none of its own clips is
        in flight."""
        began = time.monotonic()
        await asyncio.to_thread(await_output, Storage(spec.output), spec.epoch)
        await self._ranks.on_all("take_up", spec, deadline_s=spec.settings.load_timeout_s)
        self._name, self._spec, self._storage, self._leaving = name, spec, Storage(spec.output), False
        self._crew.take_up(spec)
        self._delivery = Delivery(self._storage, spec)
        self._preparation = Preparation(spec, self._storage, self._on_first_rank)
        kernels = await self._ranks.first.kernels.remote()
        log.info("%s: another job, in %s", name, spec.output)
        return GangInfo(self._node, tuple(self._ranks.processes), time.monotonic() - began, {}, kernels)

    async def stages(self) -> dict[str, int]:
        """How many clips are in each of the gang's stages (`metrics.STAGES`)."""
        return {
            "preparing": self._phases["prepare"],
            "prepared": self._phases["wait"],
            "denoising": self._phases["denoise"],
            "publishing": self._phases["publish"],
        }

    async def at(self) -> At | None:
        """How far the clip is that is being denoised; None if there is none."""
        if self._denoised is None:
            return None
        clip, began = self._denoised
        ends = self._denoising_ends if self._pace.denoise else None
        return at_of(clip, int(await call_rank(self._ranks.first, "step", ())), began, ends, time.monotonic())

    async def until_broken(self) -> str:
        """Returns, with the reason, when the gang breaks; else never."""
        return str(await self._ranks.until_broken())

    async def leave(self, notice_s: float | None) -> None:
        """The node goes in `notice_s` seconds (None: not said). The clip that is being denoised is finished if the
        notice allows, every other one is handed back."""
        self._leaving = True
        if not self._denoising_ends or notice_s is None:
            return
        needed_s = self._denoising_ends - time.monotonic() + self._pace.publish
        if needed_s > notice_s:
            goes = f"its node goes in {notice_s:.0f} s, the clip needs {needed_s:.0f} s"
            await self._ranks.end(GangBrokenError("gang", goes))

    async def run(self, clip: Clip, attempt: int, mark: str = "") -> Outcome:
        """One attempt at one clip. Never raises for what a row or a gang can do; LeaseLost does.

        mark: that the attempt has still to make in the ledger, once it is made and the store takes it.
        """
        log.info("%s: attempt %d begins", clip.id, attempt)
        self._running += 1
        try:
            outcome = await self._run(clip, attempt, mark)
        finally:
            self._running -= 1
        if outcome.record is not None:
            log.info("%s: attempt %d committed: %s", clip.id, attempt, in_words(outcome.record.seconds))
        elif (fault := outcome.fault) is not None:
            log.warning("%s: attempt %d failed (%s): %s", clip.id, attempt, fault.failure_class, fault.message)
        else:
            log.info("%s: attempt %d is handed back", clip.id, attempt)
        return dataclasses.replace(outcome, traffic=sum(await self._ranks.traffic(), start=take()))

    async def _run(self, clip: Clip, attempt: int, mark: str) -> Outcome:
        """How the clip ended, whatever happens meanwhile; LeaseLost alone is the job's."""
        try:
            if (waited := await self._delivery.found(clip)) is not None:
                return Outcome(waited)
            return await self._until_kept(clip, attempt, mark)
        except _LeavingError:
            return Outcome()
        except NotRefinedError as error:
            return Outcome(fault=Fault(error.failure_class, str(error), error.is_verdict))
        except RowError as error:
            is_unclear = isinstance(error, UncheckedError)
            return Outcome(fault=Fault(error.failure_class, str(error), is_unclear=is_unclear))
        except GangBrokenError as error:
            await self._ranks.end(error)
            return Outcome(fault=Fault(error.failure_class, str(error)), broken=True)
        except StoreOutError as error:
            return Outcome(fault=Fault("storage", str(error)), store_is_out=True)
        except OSError as error:
            return Outcome(fault=storage_fault(error))
        except LeaseLost:
            raise
        except Exception as error:
            # A fault nobody foresaw is the row's to report, not the job's to die of.
            log.exception("%s: attempt %d", clip.id, attempt)
            return Outcome(fault=Fault("internal", f"{type(error).__name__}: {error}"))

    async def _until_kept(self, clip: Clip, attempt: int, mark: str) -> Outcome:
        """Made, looked at, and stored; or made again with the next seed first, where checks ask for that."""
        tries: tuple[Try, ...] = ()
        while True:
            made, place, checkpoint = await self._make(clip, attempt)
            verdict = self._spec.checks.verdict(made.marks, len(tries))
            if verdict == "keep":
                with self._in_phase("publish", {}):
                    record = await self._delivery.made(place, dataclasses.replace(made, tries=tries), mark)
            if checkpoint is not None:
                await asyncio.to_thread(remove_state, self._storage, checkpoint)
            if verdict == "keep":
                return Outcome(record)
            tries += (made.as_try(),)
            said = "; ".join(tries[-1].marks)
            if verdict == "fail":
                await self._delivery.drop(place)
                return Outcome(fault=Fault("model", f"checks: {said}", is_verdict=True), tries=tries)
            log.info("%s: made again with the next seed: %s", clip.id, said)
            clip = clip.with_next_seed()

    async def _make(self, clip: Clip, attempt: int) -> tuple[Made, str, StepCheckpoint | None]:
        """From the row to its videos, top to bottom; with the folder of this node that they are in, and where the clip
        in flight is stored."""
        started, seconds = now(), dict[str, float]()
        with self._in_phase("prepare", seconds):
            ready = await self._preparation.ready(clip, attempt)
        reports = await self._denoise(clip, ready, seconds)
        seconds["idle"] = max(report.idle_seconds for report in reports)
        memory = max(report.peak_memory_bytes for report in reports)
        made = Made(
            clip, attempt, ready.prepared, self._name, self._node, started, memory, seconds,
            first_step=ready.first_step, warnings=ready.warnings,
        )  # fmt: skip
        with self._in_phase("publish", {}):
            try:
                return *await self._publish(clip, attempt, made), ready.checkpoint
            except RowError:
                if ready.checkpoint is not None:
                    await asyncio.to_thread(remove_state, self._storage, ready.checkpoint)
                raise

    async def _denoise(self, clip: Clip, ready: Ready, seconds: dict[str, float]) -> list[DenoiseReport]:
        """On all ranks, once the clip before is denoised; the gang's pace is learnt from it."""
        shared = ray.put(ready.request)
        resume = None if ready.packed is None else ray.put(ready.packed)  # once for all ranks
        work = denoise_work(clip, self._spec.bundle, self._spec.approximations.guided_share) * (
            1 - ready.first_step / (clip.num_chunks * self._spec.bundle.recipe.passes(clip.num_steps))
        )
        with self._in_phase("wait", seconds):
            await self._denoising.acquire()
        try:
            if self._leaving:
                raise _LeavingError
            self._denoising_ends = time.monotonic() + self._pace.denoise * work
            self._denoised = clip, time.monotonic()
            self._crew.keep_spares(self._name)  # no sooner: the first clip has waited for the same disks and cores
            with self._in_phase("denoise", seconds):
                deadline = self._pace.of_denoise(self._spec.settings, work)
                reports: list[DenoiseReport] = await self._ranks.on_all(
                    "denoise", shared, ready.checkpoint, resume, deadline_s=deadline
                )
        finally:
            self._denoising_ends, self._denoised = 0.0, None
            self._denoising.release()
        self._pace.denoise = max(report.seconds for report in reports) / work
        return reports

    @contextlib.contextmanager
    def _in_phase(self, phase: str, seconds: dict[str, float]) -> Iterator[None]:
        began = time.monotonic()
        self._phases[phase] += 1
        try:
            yield
        finally:
            self._phases[phase] -= 1
            seconds[phase] = time.monotonic() - began

    async def _on_first_rank(self, method: str, *arguments: Any, deadline_s: float | None = None) -> Any:
        """deadline_s: None for that of an embedding."""
        deadline_s = deadline_s or self._pace.of_rest(self._spec.settings)
        return await self._ranks.on_first(method, *arguments, deadline_s=deadline_s)

    async def _publish(self, clip: Clip, attempt: int, made: Made) -> tuple[Made, str]:
        """Its videos on this node's disk, with what they look like, and the folder that they are in."""
        began = time.monotonic()
        deadline = self._pace.of_rest(self._spec.settings)
        folder = clip_folder(clip, attempt)
        place = await self._delivery.place(clip, attempt)
        try:
            written: list[Published] = await self._ranks.on_each(
                "publish", clip.id, place, folder, clip.fps, deadline_s=deadline
            )
        except RowError:  # other ranks may have written their views: nothing of a clip that is blocked is to stay
            await self._delivery.drop(place)
            raise
        self._pace.publish = time.monotonic() - began
        files = tuple(entry for one in written for entry in one.files)
        phases = {phase: max(one.seconds[phase] for one in written) for phase in written[0].seconds}
        scores = with_agreement({view: looked for one in written for view, looked in one.looked.items()})
        made = dataclasses.replace(
            made, files=files, seconds={**made.seconds, **phases},
            scores=scores, marks=marks_of(scores, self._spec.checks),
            blurred={view: count for one in written for view, count in one.blurred.items()},
        )  # fmt: skip
        return made, place

    async def waiting(self, known: int) -> int:
        """How many clips wait for the store; answers once that is not `known`."""
        return await self._delivery.waiting(known)


leader_actor: Any = ray.remote(num_cpus=0, max_restarts=0)(GangLeader)
