"""What stands in for gangs and for Ray in `benchmarks/scale.py`: records are committed, nothing is made."""

from __future__ import annotations

import asyncio
import os
import types
from collections.abc import Coroutine, Iterator
from typing import Any

import pyarrow as pa


class LightLeader:
    """A gang's leader without ranks: it commits a record of seven files that nobody has made."""

    def __init__(self, name: str, spec: Any) -> None:
        from cosmos_ray.ledger.ledger import Ledger
        from cosmos_ray.store.storage import Storage

        self._name, self._spec, self._ledger = name, spec, Ledger(Storage(spec.output))

    async def node(self) -> str:
        return "node"

    async def stages(self) -> dict[str, int]:
        return {}

    async def start(self, predecessors: list[Any], pace: Any) -> Any:
        from cosmos_ray.gang.processes import GangInfo

        return GangInfo("node", (), 0.0, {})

    async def until_broken(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def run(self, clip: Any, attempt: int) -> Any:
        from cosmos_ray.gang.leader import Outcome

        return Outcome(record=await asyncio.to_thread(self._commit, clip, attempt))

    def _commit(self, clip: Any, attempt: int) -> Any:
        from cosmos_ray.clip.request import VIEWS
        from cosmos_ray.ledger.record import FileEntry, Record, now

        folder = f"clips/{clip.id}/{attempt}"
        files = tuple(FileEntry(view, f"{folder}/{view}.mp4", 400_000, os.urandom(32).hex()) for view in VIEWS)
        sidecar = FileEntry("", f"{folder}/clip.json", 4000, os.urandom(32).hex())
        record = Record(
            clip.id, clip.generation, "ok", None, attempt, None, clip.row_hash, self._spec.epoch,
            os.urandom(32).hex(), self._name, "node", now(), now(), {"denoise": 0.001}, files, sidecar,
        )  # fmt: skip
        return self._ledger.commit(record)


class ThreadGang:
    """Looks like the class of an actor, and like a handle to one."""

    @staticmethod
    def options(**_: Any) -> type[ThreadGang]:
        return ThreadGang

    @staticmethod
    def remote(name: str, spec: Any) -> Any:
        leader = LightLeader(name, spec)
        methods = {
            name: types.SimpleNamespace(remote=lambda *given, method=name: _task(getattr(leader, method)(*given)))
            for name in ("node", "stages", "start", "until_broken", "run")
        }
        return types.SimpleNamespace(**methods)


def _task(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    return asyncio.get_running_loop().create_task(work)


def local_stream(manifest: Any, work: Any, defaults: Any, state: Any) -> Iterator[Any]:
    """`pipeline.work_stream` without Ray Data."""
    from cosmos_ray.job.pipeline import _clips_to_make
    from cosmos_ray.manifest.rows import Clip

    numbers = {file: number for number, file in enumerate(manifest.files)}
    for one in work:
        group = pa.Table.from_pylist([{"file": numbers[one.file], "number": one.number, "left": one.left}])
        for table in _clips_to_make(group, manifest, defaults):
            yield from (Clip.from_json(text) for text in table["clip"].to_pylist())
