"""A manifest's prompts refined ahead of any job, without Ray: `cosmos-ray manifest refine`.

Words are kept beside the new manifest as they are found, so that the same command goes on where it was killed; the
manifest itself appears when all of its rows are done. What a row said stays, in its column `original_prompt`.
"""

from __future__ import annotations

import asyncio
import posixpath
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as kinds

from cosmos_ray.config import GenerateConfig
from cosmos_ray.errors import CosmosRayError, ManifestError, RowError, UsageError
from cosmos_ray.gang.inputs import Source
from cosmos_ray.gang.prepare import take_inputs
from cosmos_ray.job.model import bundle_of
from cosmos_ray.job.plan import row_defaults
from cosmos_ray.manifest.builders.writing import with_references
from cosmos_ray.manifest.files import Manifest, ManifestFile, open_manifest
from cosmos_ray.manifest.names import BY_CAMERA, INPUTS, ORIGINAL_PROMPT
from cosmos_ray.manifest.rows import Clip, RowDefaults, clips_of_row, rows_of
from cosmos_ray.models.bundle.bundle import Bundle
from cosmos_ray.refine.answers import words_of
from cosmos_ray.refine.asks import Ask, Refining, asks_of
from cosmos_ray.refine.check import check_refiner
from cosmos_ray.refine.endpoint import Endpoint
from cosmos_ray.refine.kept import KeptWords
from cosmos_ray.refine.refiner import Answer, NotRefinedError, Words, refined
from cosmos_ray.refine.settings import refining_of
from cosmos_ray.scratch import scratch
from cosmos_ray.store.places import check_file_to_write, check_lasts
from cosmos_ray.store.storage import Storage
from cosmos_ray.store.uris import normalise_uri, parent_uri
from cosmos_ray.words import Kinds, counted

_REFERENCES = {*INPUTS, *BY_CAMERA, "prompt_embedding"}
_ROWS_A_BATCH = 512
_SAY_S = 10.0


@dataclass
class Refined:
    """rows: of the manifest. asked, kept: rows whose words were asked for now, or known; own: rows that have their own
    still; without: rows that say no prompt, or cannot be made. faults: why prompts were not refined."""

    rows: int = 0
    asked: int = 0
    kept: int = 0
    own: int = 0
    without: int = 0
    faults: Kinds = field(default_factory=Kinds)

    def in_words(self) -> str:
        left = f", {self.without} without a prompt to refine" if self.without else ""
        return f"{counted(self.rows, 'row')}: {self.asked} refined now, {self.kept} before, {self.own} as before{left}"


def refine_manifest(config: GenerateConfig, out: str, say: Callable[[str], None]) -> Refined:
    """Write a manifest like `config.manifest`, its prompts refined as `config.refiner` says, to the URI `out`.

    Raises UsageError for settings and manifests that cannot be used, and CosmosRayError, nothing being written, for
    prompts that could not be refined where `on_failure: fail` is set, or for a store that does not answer.
    """
    if not config.refiner.is_on:
        raise UsageError("refiner.backend: found none, expected local or endpoint (--endpoint URL)")
    bundle, refining = bundle_of(config), refining_of(config.refiner)
    manifest = open_manifest(config.manifest)
    if ORIGINAL_PROMPT in manifest.schema.names:
        raise ManifestError(
            f"the manifest has a column `{ORIGINAL_PROMPT}` (it was refined already), expected one without"
        )
    if "prompt" not in manifest.schema.names:
        raise ManifestError("the manifest has no column `prompt`, expected one with captions to refine")
    manifest.check_not_read(out)
    check_lasts(parent_uri(out), "the manifest")
    check_file_to_write(normalise_uri(out), "the manifest")
    check_refiner(refining, say)
    source = Source(manifest.files[0].uri, config.inputs.reach(manifest.home))
    name, storage = posixpath.basename(normalise_uri(out)), Storage(parent_uri(out))
    work = _Work(config, bundle, refining, source, KeptWords(storage, f"_refined/{name}"), out, say)
    with scratch() as folder:
        path = folder / "manifest.parquet"
        try:
            asyncio.run(work.write(manifest, path))
        except OSError as error:
            raise CosmosRayError(f"the store does not answer; the same command goes on: {error}") from error
        found = work.found
        if found.own and config.refiner.on_failure == "fail":
            raise CosmosRayError(
                f"{counted(found.own, 'row')} could not be refined ({_examples(found)}): nothing was written, and the "
                "same command asks for them again; refiner.on_failure=keep takes them as they are"
            )
        storage.write_file(name, path)
    return found


def _examples(found: Refined) -> str:
    return "; ".join(f"{kind.examples[0][0]}: {kind.examples[0][1]}" for kind in found.faults.found()[:3])


@dataclass
class _Work:
    config: GenerateConfig
    bundle: Bundle
    refining: Refining
    source: Source
    kept: KeptWords
    out: str
    say: Callable[[str], None]
    found: Refined = field(default_factory=Refined)

    async def write(self, manifest: Manifest, path: Path) -> None:
        """The manifest with refined prompts, at `path` of this machine."""
        defaults = row_defaults(self.bundle, self.config.sampling)
        is_list = self.config.refiner.captions == "each" or _is_list(manifest.schema.field("prompt").type)
        writer, said_at = None, time.monotonic()
        try:
            async with self._answering() as answer:
                at_once = asyncio.Semaphore(self.config.refiner.parallel)
                for file, batch in manifest.batches(_ROWS_A_BATCH):
                    table = await self._refined(batch, file, defaults, answer, at_once, is_list)
                    writer = writer or pq.ParquetWriter(path, table.schema)
                    writer.write_table(table)
                    if time.monotonic() - said_at > _SAY_S and self.found.rows < manifest.rows:
                        self.say(f"{self.found.in_words()}, of {manifest.rows}")
                        said_at = time.monotonic()
        finally:
            if writer is not None:
                writer.close()

    @asynccontextmanager
    async def _answering(self) -> AsyncIterator[Answer]:
        if self.refining.rules.backend == "endpoint":
            endpoint = Endpoint(self.refining)
            try:
                yield endpoint.words
            finally:
                await endpoint.close()
            return
        from cosmos_ray.gang.local_refiner import answers_alone

        local, one_at_a_time = answers_alone(self.refining), asyncio.Lock()

        async def answer(ask: Ask) -> str:
            async with one_at_a_time:
                return words_of(await asyncio.to_thread(local, ask), self.refining.rules.max_tokens)

        yield answer

    async def _refined(
        self, batch: pa.RecordBatch, file: ManifestFile, defaults: RowDefaults, answer: Answer,
        at_once: asyncio.Semaphore, is_list: bool,
    ) -> pa.Table:  # fmt: skip
        """The batch, with new prompts, and references as the new manifest has to name them."""
        rows = rows_of(batch)

        async def one(row: dict[str, Any]) -> Any:
            async with at_once:
                return await self._row(row, clips_of_row(row, defaults, file.base)[0], answer)

        prompts = await asyncio.gather(*map(one, rows))
        moved = [with_references(row, file.base, self.out, f"row {row['id']!r}") for row in rows]
        columns: dict[str, Any] = {}
        for column in batch.schema:
            if column.name == "prompt":
                as_given = [[one] if is_list and isinstance(one, str) else one for one in prompts]
                columns["prompt"] = pa.array(as_given, pa.list_(pa.string()) if is_list else pa.string())
                columns[ORIGINAL_PROMPT] = batch.column("prompt")
            elif column.name in _REFERENCES:
                columns[column.name] = pa.array([row.get(column.name) for row in moved], column.type)
            else:
                columns[column.name] = batch.column(column.name)
        return pa.table(columns)

    async def _row(self, row: dict[str, Any], clip: Clip, answer: Answer) -> Any:
        """What its `prompt` is to say."""
        found = self.found
        found.rows += 1
        if clip.error is not None or not clip.prompts:
            found.without += 1
            return row.get("prompt")
        try:
            words = await self._words(clip, answer)
        except NotRefinedError as error:
            words = Words(clip.prompts, "own", str(error))
        except RowError as error:  # of its inputs: its clip will fail for that
            found.without += 1
            found.faults.add(clip.id, str(error))
            return row.get("prompt")
        if words.how == "own":
            found.own += 1
            found.faults.add(clip.id, words.fault)
            return row.get("prompt")
        found.asked += words.how == "asked"
        found.kept += words.how == "kept"
        return words.prompts[0] if len(words.prompts) == 1 else list(words.prompts)

    async def _words(self, clip: Clip, answer: Answer) -> Words:
        """As a job finds them: of the frames that the clip begins with."""
        rules, family = self.refining.rules, self.bundle.recipe
        size = self.bundle.height, self.bundle.width
        frames = None
        if rules.frames != 0:
            how = self.config.inputs.rules.of(family)
            _, taken = await asyncio.to_thread(take_inputs, clip, size, how, self.source)
            frames = None if taken is None else taken.frames
        asks = asks_of(clip.prompts, clip.cameras, frames, family, rules)
        return await refined(clip.prompts, asks, self.refining, self.kept, answer)


def _is_list(kind: pa.DataType) -> bool:
    return bool(kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind))
