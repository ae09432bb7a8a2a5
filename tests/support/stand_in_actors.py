"""Actors in the loop of a test: what a leader does with its ranks is seen in milliseconds, without Ray."""

from __future__ import annotations

import asyncio
import inspect
from types import SimpleNamespace
from typing import Any

from ray.exceptions import ActorDiedError, RayTaskError


class Actor:
    """Methods of `of` as `.remote`; those that are no coroutines run in a thread. Errors and death reach callers as
    Ray's do."""

    def __init__(self, of: Any) -> None:
        self.of = of
        self.called: list[str] = []
        self._dead = asyncio.Event()

    def die(self) -> None:
        self._dead.set()

    def __getattr__(self, method: str) -> Any:
        if method.startswith("__"):
            raise AttributeError(method)
        return SimpleNamespace(remote=lambda *given, **named: asyncio.ensure_future(self._call(method, given, named)))

    async def _call(self, method: str, given: Any, named: Any) -> Any:
        self.called.append(method)
        work = asyncio.ensure_future(self._work(getattr(self.of, method), given, named))
        death = asyncio.ensure_future(self._dead.wait())
        try:
            await asyncio.wait({work, death}, return_when=asyncio.FIRST_COMPLETED)
            if self._dead.is_set():
                raise ActorDiedError
            return work.result()
        finally:
            work.cancel()
            death.cancel()

    @staticmethod
    async def _work(method: Any, given: Any, named: Any) -> Any:
        try:
            if inspect.iscoroutinefunction(method):
                return await method(*given, **named)
            return await asyncio.to_thread(method, *given, **named)
        except Exception as error:  # noqa: BLE001 - as Ray does
            raise RayTaskError(method.__name__, "\x1b[36mits traceback\x1b[0m", error).as_instanceof_cause() from None
