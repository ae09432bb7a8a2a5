"""A clip's way to what its gang denoises: inputs, words, embeddings, a stored state. Beside the clip before. No Ray."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cosmos_ray.clip.request import ClipRequest, ClipText
from cosmos_ray.gang.prepare import Prepared, prepare, refuse_doubtful
from cosmos_ray.gang.refined_words import GangWords
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.gang.step_checkpoint import PackedState, StepCheckpoint, checkpoint_of, read_state
from cosmos_ray.limits import TimeIsUp, time_limit
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.store.storage import Storage


@dataclass(frozen=True)
class Ready:
    """A clip that can be denoised. request: with embeddings. warnings: what is doubtful in it. checkpoint: where the
    clip in flight is stored, if it is to be; packed: what an earlier attempt has stored there."""

    prepared: Prepared
    request: ClipRequest
    warnings: tuple[str, ...]
    checkpoint: StepCheckpoint | None = None
    packed: PackedState | None = None

    @property
    def first_step(self) -> int:
        """From which the clip is gone on with."""
        return 0 if self.packed is None else int(self.packed["step"])


class Preparation:
    """Of one gang's clips. on_first_rank: a call of the rank that has what makes embeddings, and a local refiner."""

    def __init__(self, spec: GangSpec, storage: Storage, on_first_rank: Callable[..., Awaitable[Any]]) -> None:
        self._spec, self._storage, self._on_first_rank = spec, storage, on_first_rank
        self._words = GangWords(spec, storage, on_first_rank)

    async def ready(self, clip: Clip, attempt: int) -> Ready:
        """Raises RowError for what the row is to blame for, OSError for a store that does not answer."""
        await self._check_captions(clip.prompts, clip.prompt_embedding is not None)
        prepared = await self._prepare(clip, attempt)
        words = await self._words.of(clip, attempt, prepared.request)
        if words is not None and words.refined:
            await self._check_captions(words.refined, False)
        prepared = dataclasses.replace(prepared, words=words)
        request = await self._embed(prepared)
        warnings = (*prepared.warnings, *(words.warnings if words else ()))
        warnings += request.text.warnings if request.text else ()
        refuse_doubtful(warnings, self._spec.inputs.strict)
        return Ready(prepared, request, warnings, *await self._stored_state(clip, prepared))

    async def _check_captions(self, captions: Sequence[str], has_embedding: bool) -> None:
        """Where guardrails have something to say about texts, before anything is made of these."""
        if any(check.texts for check in self._spec.guardrails.checks):
            await self._on_first_rank("check_captions", captions, has_embedding)

    async def _prepare(self, clip: Clip, attempt: int) -> Prepared:
        spec, limit_s = self._spec, self._spec.settings.deadline_first_s

        def work() -> Prepared:
            with time_limit(limit_s):  # inside, so that no thread goes on with what is given up
                return prepare(clip, spec.bundle, attempt, spec.inputs.rules, spec.source)

        try:
            return await asyncio.to_thread(work)
        except TimeIsUp as error:
            raise OSError(f"fetching the inputs took more than {limit_s:.0f} s: {error}") from None

    async def _embed(self, prepared: Prepared) -> ClipRequest:
        """Under its refined words, if it has some; the picture that a clip begins with is made under the row's own."""
        request, words = prepared.request, prepared.words
        if words is None or not words.refined:
            return dataclasses.replace(request, text=await self._embedded(request))
        own = await self._embedded(request) if self._spec.bundle.recipe.makes_picture else None
        request = dataclasses.replace(request, prompts=words.prompts, picture_text=own)
        return dataclasses.replace(request, text=await self._embedded(request))

    async def _embedded(self, request: ClipRequest) -> ClipText:
        words = dataclasses.replace(request, frames=None, noise=None, controls=None)  # embedding needs none of it
        text: ClipText = await self._on_first_rank("embed", words)
        return text

    async def _stored_state(self, clip: Clip, prepared: Prepared) -> tuple[StepCheckpoint | None, PackedState | None]:
        every = self._spec.settings.step_checkpoint
        if not every:
            return None, None
        of_all = prepared.request_hash(clip, self._spec.fingerprint)
        if prepared.words is not None:  # which an attempt without an answer has not
            of_all = hashlib.sha256(json.dumps([of_all, prepared.words.prompts]).encode()).hexdigest()
        checkpoint = checkpoint_of(clip.id, of_all, every)
        return checkpoint, await asyncio.to_thread(read_state, self._storage, checkpoint)
