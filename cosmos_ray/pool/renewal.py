"""A gang that broke, made again on the GPUs that it has, of ranks that its leader kept ready."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from ray.exceptions import RayError, RayTaskError

from cosmos_ray.errors import first_line
from cosmos_ray.gang.deadline import Pace
from cosmos_ray.gang.processes import GangInfo
from cosmos_ray.pool.watched import WatchedGang

#: A leader that is well answers within this time.
_ANSWERS_S = 10.0
#: How often it is asked whether a gang is still wanted.
_LOOKS_S = 1.0


async def renewed(
    gang: WatchedGang,
    name: str,
    pace: Pace,
    limit_s: float,
    is_idle: Callable[[], bool],
    say: Callable[[str], None],
) -> WatchedGang | None:
    """The new gang, loaded; None if it is to be made anew, by another leader, or if nothing is left for it to do.

    limit_s: for loading.
    """
    began = time.monotonic()
    try:
        await asyncio.wait_for(gang.leader.node.remote(), _ANSWERS_S)
        info = await asyncio.wait_for(_made(gang.leader.renew.remote(name, pace), is_idle), limit_s)
    except (RayError, TimeoutError) as error:
        cause = error.cause if isinstance(error, RayTaskError) else error
        say(f"{gang.name} is not made again where it was: {first_line(cause) or type(cause).__name__}")
        return None
    if info is None:
        return None
    say(f"{name} is up in the place of {gang.name}, of ranks that were kept ready, {info.how_loaded()}")
    return WatchedGang(name, gang.leader, info, began)


async def _made(renewing: Awaitable[GangInfo | None], is_idle: Callable[[], bool]) -> GangInfo | None:
    """What comes of it; None as soon as nothing is left to do: spares that hang would hold a job that is done."""
    made = asyncio.ensure_future(renewing)
    try:
        while not (await asyncio.wait({made}, timeout=_LOOKS_S))[0]:
            if is_idle():
                return None
        return made.result()
    finally:
        made.cancel()
