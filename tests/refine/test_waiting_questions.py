"""Questions that wait for their turn: a server that answers is no reason to take a prompt as it is. None is asked."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from cosmos_ray.clip.refiner_rules import RefinerRules
from cosmos_ray.refine import endpoint as module
from cosmos_ray.refine.asks import Ask, Refining
from cosmos_ray.refine.endpoint import Endpoint


def test_patience_begins_when_a_question_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    now, left = [100.0], []

    async def once(self: Endpoint, body: bytes, ends: float, answer_s: float) -> str:
        left.append(ends - now[0])
        await asyncio.sleep(0)
        now[0] += 30.0
        return "words"

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(Endpoint, "_once", once)

    async def ask() -> None:
        rules = RefinerRules(backend="endpoint", url="http://127.0.0.1:1/v1", patience_s=40.0, parallel=1)
        endpoint = Endpoint(Refining(rules, "a-model", "Rewrite it."))
        await asyncio.gather(*(endpoint.words(Ask(f"bus {number}")) for number in range(3)))

    asyncio.run(ask())
    assert left == [40.0] * 3
