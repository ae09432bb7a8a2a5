"""One call of a leader to one of its ranks, and what a rank is started with."""

from __future__ import annotations

import logging
import re
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError

from cosmos_ray.errors import RowError, first_line
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.gang.verdict import GangBrokenError

log = logging.getLogger(__name__)

#: Ray colours names of actors, wherever that is printed.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


async def call_rank(rank: Any, method: str, arguments: tuple[Any, ...]) -> Any:
    """One call to one rank, its faults as our own types."""
    try:
        return await getattr(rank, method).remote(*arguments)
    except (ActorDiedError, ActorUnavailableError) as error:
        raise GangBrokenError("gang", f"{method}: a rank died: {first_line(error)}") from None
    except RayTaskError as error:
        if not isinstance(error.cause, RowError):
            for line in (f"{method} failed on a rank:", *str(error).splitlines()):  # the rank's own traceback
                log.warning("%s", _COLOUR.sub("", line))
        raise error.cause from None


def rank_environments(spec: GangSpec) -> list[dict[str, str]]:
    """Environment of each rank: with CUDA, the one GPU it may see."""
    if spec.device != "cuda":
        return [{"CUDA_VISIBLE_DEVICES": ""} for _ in range(spec.gang_size)]
    ids = ray.get_gpu_ids()
    if len(ids) != spec.gang_size:
        raise RuntimeError(f"the leader was given GPUs {ids}, expected {spec.gang_size}")
    shared = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
    return [{"CUDA_VISIBLE_DEVICES": str(gpu), **shared} for gpu in ids]
