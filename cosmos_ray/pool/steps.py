"""Where each gang is in the clip that it denoises: asked of their leaders every few seconds, for people to see."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ray.exceptions import RayError

from cosmos_ray.gang.clip_progress import At
from cosmos_ray.pool.watched import WatchedGang

_EVERY_S = 2.0
_PATIENCE_S = 5.0


@dataclass
class Steps:
    """at: of gangs that denoise a clip, as they answered last."""

    at: dict[str, At]

    async def follow(self, gangs: Callable[[], Mapping[str, WatchedGang]]) -> None:
        """Never returns. A gang that does not answer is left out; whether it lives is for others to find."""
        while True:
            await asyncio.sleep(_EVERY_S)
            now = dict(gangs())
            answers = await asyncio.gather(*(_ask(gang.leader) for gang in now.values()))
            self.at = {name: at for name, at in zip(now, answers, strict=True) if at is not None}

    def as_json(self) -> dict[str, dict[str, Any]]:
        return {name: asdict(at) for name, at in self.at.items()}


async def _ask(leader: Any) -> At | None:
    try:
        found: At | None = await asyncio.wait_for(leader.at.remote(), _PATIENCE_S)
    except (RayError, TimeoutError):
        return None
    return found
