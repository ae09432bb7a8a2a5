"""Gangs' GPUs: asking the cluster for them, waiting, and telling a person what is missing."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any

from ray.exceptions import ActorUnavailableError, RayError

from cosmos_ray.gang.leader import leader_actor
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.pool.cluster import nodes_with, what_is_on_offer
from cosmos_ray.pool.health import JobFailedError, JobHealth
from cosmos_ray.words import counted

#: After so long a wait is reported, and again when what the cluster offers has changed, or now and then.
_NOTICE_S = 30.0
_REPEAT_S = 600.0
#: Within this time Ray has noticed that a node is dead (five health checks, of up to 13 s each).
_NOTICED_S = 65.0


class Placement:
    """Leaders that wait for their GPUs, oldest first.

    Each is one demand for all GPUs of a gang on one node: the autoscaler sees as many demands as gangs are wanted, and
    a leader that is killed while it waits takes its demand with it.
    """

    def __init__(self, spec: GangSpec, health: JobHealth, say: Callable[[str], None]) -> None:
        self._spec, self._health, self._say = spec, health, say
        self._resource = "GPU" if spec.device == "cuda" else "CPU"
        self._waiting: list[str] = []
        self._said, self._said_at = "", 0.0

    def make_leader(self, name: str) -> Any:
        """A leader's actor. It has its GPUs when it answers."""
        size = self._spec.gang_size
        options: dict[str, Any] = {"num_gpus": size} if self._spec.device == "cuda" else {"num_cpus": size}
        if avoided := self._health.nodes_to_avoid(nodes_with(self._resource, size)):
            options["label_selector"] = {"ray.io/node-id": f"!in({','.join(avoided)})"}
        return leader_actor.options(**options).remote(name, self._spec)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def is_among_last(self, name: str, count: int) -> bool:
        """Is it one of the `count` leaders that have waited the least?"""
        return count > 0 and name in self._waiting[-count:]

    async def node_of(
        self, name: str, leader: Any, is_wanted: Callable[[], bool], have_gangs: Callable[[], bool]
    ) -> str:
        """The leader's node, once it has its GPUs; "" if it is not wanted any more.

        Raises JobFailedError when the job has had no gang at all for `placement_timeout_s`.
        """
        answer = asyncio.ensure_future(leader.node.remote())
        self._waiting.append(name)
        since = without_gangs_since = time.monotonic()
        try:
            while True:
                done, _ = await asyncio.wait({answer}, timeout=1.0)
                if done:
                    return str(answer.result())
                if not is_wanted():
                    return ""
                now = time.monotonic()
                if have_gangs():
                    without_gangs_since = now
                if self._waiting[0] == name and now - since >= _NOTICE_S:
                    await self._tell(now - since)
                if now - without_gangs_since >= self._spec.settings.placement_timeout_s:
                    raise JobFailedError(
                        f"no gang in {now - without_gangs_since:.0f} s (gang.placement_timeout_s): "
                        f"{await self._what_is_missing()}. The same command goes on from here."
                    )
        finally:
            answer.cancel()
            self._waiting.remove(name)

    async def _tell(self, waited_s: float) -> None:
        missing = await self._what_is_missing()
        if missing == self._said and time.monotonic() - self._said_at < _REPEAT_S:
            return
        self._said, self._said_at = missing, time.monotonic()
        names = ", ".join(self._waiting[:3]) + (" …" if len(self._waiting) > 3 else "")
        self._say(f"{names} waiting for {waited_s:.0f} s: {missing}")

    async def _what_is_missing(self) -> str:
        size = self._spec.gang_size
        offer = await asyncio.to_thread(what_is_on_offer, self._resource, size)
        return f"a gang needs {counted(size, f'free {self._resource}')} on one node; {offer}"


async def node_that_died(leader: Any, error: RayError) -> str:
    """The node whose death has ended this leader with `error`; "" if that was not the reason.

    Until Ray has noticed the death of a node it goes on placing leaders there, and calls one that it has lost merely
    unavailable. Its verdict has the node in its text alone, also for a leader that never came to tell where it was.
    """
    deadline = time.monotonic() + _NOTICED_S
    while isinstance(error, ActorUnavailableError) and time.monotonic() < deadline:
        await asyncio.sleep(0.5)
        try:
            await asyncio.wait_for(leader.node.remote(), _NOTICED_S)
            return ""  # it lives
        except TimeoutError:
            return ""
        except RayError as verdict:
            error = verdict
    found = re.search(r"its node has died\. Node Id: (\w+)", str(error))
    return found[1] if found else ""
