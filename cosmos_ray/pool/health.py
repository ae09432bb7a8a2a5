"""Is the job well? What the pool remembers of faults that may not be the rows' own, and of nodes that break gangs."""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

from cosmos_ray.config import BreakerConfig
from cosmos_ray.errors import CosmosRayError, Fault
from cosmos_ray.store.probe import PROBE_S, QUICK_S
from cosmos_ray.words import node_name

T = TypeVar("T")

#: Deaths of gangs in a row on one node, without a clip finished there, after which it is avoided.
NODE_STRIKES = 2
#: Faults in a row that are met without a pause.
_FREE_FAULTS = 2
#: Gangs that were up together on a node and break within this time have broken together.
_TOGETHER_S = 30.0


class JobFailedError(CosmosRayError):
    """The job itself is ill: exit code 1. No row was turned `failed` by it."""


def store_is_out(said: str) -> JobFailedError:
    """The output's store has been out for as long as a job is patient."""
    return JobFailedError(
        f"the output cannot be stored, the last: storage: {said}. No row was failed because of it; what is made waits "
        "on its node's disk, and the same command goes on from here"
    )


async def patiently(operation: Callable[[], T], patience_s: float, threads: Executor | None = None) -> T:
    """What the store gives, asked again and again while it is out. Raises JobFailedError after `patience_s` of that."""
    out_since = 0.0
    while True:
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, operation)
        except OSError as error:
            out_since = out_since or time.monotonic()
            if time.monotonic() - out_since >= patience_s:
                raise store_is_out(f"{type(error).__name__}: {error}") from error
        await asyncio.sleep(PROBE_S)


@dataclass
class _Pause:
    """began: monotonic. answers: does the store that it is for, within so many seconds? None: it is for none.

    looked: it was asked; was_out: it did not answer then.
    """

    began: float = 0.0
    answers: Callable[[float], bool] | None = None
    looked: bool = False
    was_out: bool = False


class JobHealth:
    """The circuit breaker of the job, and the nodes that gangs die on."""

    def __init__(self, config: BreakerConfig, say: Callable[[str], None]) -> None:
        self._config, self._say = config, say
        self._faults = 0  # in a row
        self._others = 0  # of these, the ones that are not the store's
        self._since = 0.0
        self._paused_until = 0.0
        self._why = ""
        self._pause = _Pause()
        self._seen_nothing = 0  # pauses in a row in which the store that had failed answered from the beginning
        self._strikes: collections.Counter[str] = collections.Counter()
        self._broke_at: dict[str, float] = {}  # node -> when a gang broke there last

    def clip_finished(self, node: str) -> None:
        self._faults = self._others = self._seen_nothing = 0
        self._paused_until = 0.0
        self._strikes[node] = 0
        self._broke_at.pop(node, None)

    def count_fault(self, fault: Fault, answers: Callable[[float], bool] | None = None) -> None:
        """One more fault in a row: work pauses, longer each time. Raises JobFailedError when it is one too many.

        A store that is out may come back: its faults are met with patience, and a pause ends when it `answers`. A model
        or a cluster that fails does not mend itself: its faults are counted.
        """
        now, why = time.monotonic(), f"{fault.failure_class}: {fault.message}"
        self._since = self._since if self._faults else now
        self._faults += 1
        self._others += fault.failure_class != "storage"
        self._why = why
        too_many = self._others >= self._config.max_consecutive_faults
        too_long = self._faults > _FREE_FAULTS and now - self._since >= self._config.patience_s
        if too_many or too_long:
            raise JobFailedError(
                f"{self._faults} faults in a row without a clip finished, in {now - self._since:.0f} s, "
                f"the last: {why}. No row was failed because of them; the same command goes on from here."
            )
        if self._faults > _FREE_FAULTS:
            pause = min(self._config.max_pause_s, 2.0 ** (self._faults - _FREE_FAULTS))
            if self.pause is None:
                self._pause = _Pause(now)
            self._pause.answers = answers
            self._paused_until = now + pause
            until = ", or until the store answers" if answers else ""
            self._say(f"{self._faults} faults in a row: waiting {pause:.0f} s{until}")

    @property
    def pause(self) -> str | None:
        """Why no clip is to be started now; None if the job is well."""
        return self._why if time.monotonic() < self._paused_until else None

    async def watch_stores(self) -> None:
        """For as long as the job lasts: a pause for a store ends when that is seen to answer again."""
        while True:
            await asyncio.sleep(PROBE_S)
            if self.pause is not None and self._pause.answers is not None:
                self._looked(self._pause, await asyncio.to_thread(self._pause.answers, QUICK_S))

    def _looked(self, pause: _Pause, it_answers: bool) -> None:
        """A store that answered from the beginning shows nothing of what had gone wrong: it may be back already, and
        the pause is a short one, longer each time that it was not so."""
        if it_answers and pause.was_out:
            self._say("the store answers again")
            self._paused_until = 0.0
        elif it_answers and not pause.looked:
            self._seen_nothing += 1
            self._paused_until = min(self._paused_until, pause.began + 2.0**self._seen_nothing)
        pause.looked, pause.was_out = True, pause.was_out or not it_answers

    async def wait_out_pause(self) -> None:
        while self.pause is not None:
            await asyncio.sleep(min(1.0, max(0.0, self._paused_until - time.monotonic())))

    def gang_broke(self, node: str, since: float, fault: Fault, node_is_dead: bool = False) -> None:
        """A gang broke that had been on `node` since then (monotonic). Raises JobFailedError as `count_fault` does.

        A node that dies takes all of its gangs with it: that is one fault, not one a gang. Nor is it another one if a
        gang was placed there once more before Ray had noticed (up to a minute), since it never finished a clip.
        """
        now, before = time.monotonic(), self._broke_at.get(node)
        self._broke_at[node] = now
        if before is not None and (node_is_dead or (since < before and now - before < _TOGETHER_S)):
            return
        self._strike(node)
        self.count_fault(fault)

    def _strike(self, node: str) -> None:
        self._strikes[node] += 1
        if self._strikes[node] == NODE_STRIKES:
            self._say(f"node {node_name(node)} broke {NODE_STRIKES} gangs in a row: avoided while there are others")

    @property
    def bad_nodes(self) -> list[str]:
        return sorted(node for node, strikes in self._strikes.items() if node and strikes >= NODE_STRIKES)

    def nodes_to_avoid(self, alive: Iterable[str]) -> list[str]:
        """None of them if they are all bad: a bad node is better than no node."""
        nodes = set(alive)
        bad = [node for node in self.bad_nodes if node in nodes]
        return bad if len(bad) < len(nodes) else []
