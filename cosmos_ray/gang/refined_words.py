"""The words of a gang's clips, where its job refines prompts. Beside the clip before: denoising never waits."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from cosmos_ray.clip.request import ClipRequest
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.ledger.layout import REFINED
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.refine.answers import words_of
from cosmos_ray.refine.asks import Ask, asks_of
from cosmos_ray.refine.kept import KeptWords
from cosmos_ray.refine.refiner import Words, refined
from cosmos_ray.store.storage import Storage

if TYPE_CHECKING:
    from cosmos_ray.refine.endpoint import Endpoint

log = logging.getLogger(__name__)

#: Beside the time that the local model has for an answer: reading the pictures, and the way there and back.
_ROOM_S = 60.0
#: Attempts without an answer that are remembered: each has the row's own words, however often it is made anew.
_REMEMBERED = 64


class GangWords:
    """on_first_rank: a call of the rank that has the local model, with a deadline of its own."""

    def __init__(self, spec: GangSpec, storage: Storage, on_first_rank: Callable[..., Awaitable[Any]]) -> None:
        self._spec, self._on_first_rank = spec, on_first_rank
        self._kept = KeptWords(storage, REFINED)
        self._endpoint: Endpoint | None = None
        if spec.refining.rules.backend == "endpoint":
            from cosmos_ray.refine.endpoint import Endpoint  # its client is a tenth of what a leader imports

            self._endpoint = Endpoint(spec.refining)
        self._one_at_a_time = asyncio.Lock()
        self._without: OrderedDict[tuple[str, int, int], Words] = OrderedDict()

    async def of(self, clip: Clip, attempt: int, request: ClipRequest) -> Words | None:
        """None where nothing is to be refined. Raises NotRefinedError with `on_failure: fail`, and OSError."""
        spec = self._spec
        if clip.id in spec.words:
            return Words(spec.words[clip.id], "given")
        if not spec.refining.rules.is_on or not request.prompts:
            return None
        this = (clip.id, clip.generation, attempt)
        if this in self._without:
            return self._without[this]
        family = spec.bundle.recipe
        asks = asks_of(request.prompts, request.views, request.frames, family, spec.refining.rules)
        words = await refined(request.prompts, asks, spec.refining, self._kept, self._answer)
        if words.how == "own":
            log.warning("%s: its prompt could not be refined, and is taken as it is: %s", clip.id, words.fault)
            self._without[this] = words
            if len(self._without) > _REMEMBERED:
                self._without.popitem(last=False)
        return words

    async def _answer(self, ask: Ask) -> str:
        if self._endpoint is not None:
            return await self._endpoint.words(ask)
        rules = self._spec.refining.rules
        async with self._one_at_a_time:  # a question's deadline begins when it is asked
            answer = await self._on_first_rank("refine", ask, deadline_s=rules.answer_s + _ROOM_S)
        return words_of(answer, rules.max_tokens)
