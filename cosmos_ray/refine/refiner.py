"""A clip's words, from what its row says to what it is made of: kept ones first, else asked for, else the row's own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cosmos_ray.errors import FailureClass, RowError
from cosmos_ray.foreign import shown
from cosmos_ray.refine.answers import NoWordsError
from cosmos_ray.refine.asks import Ask, Refining
from cosmos_ray.refine.kept import KeptWords

#: Answers one question; raises NoWordsError.
Answer = Callable[[Ask], Awaitable[str]]


@dataclass(frozen=True)
class Words:
    """What a clip is made of instead of its row's prompts. how: `asked`, or `kept` if nobody had to be asked; `given`
    where they are those of a clip that is made once more; `own` where there was no answer, and fault says why."""

    prompts: tuple[str, ...]
    how: str
    fault: str = ""

    @property
    def refined(self) -> tuple[str, ...]:
        """() if they are the row's own."""
        return () if self.how == "own" else self.prompts

    @property
    def warnings(self) -> tuple[str, ...]:
        return (f"prompt not refined: {self.fault}",) if self.how == "own" else ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"prompts": list(self.prompts)}


class NotRefinedError(RowError):
    """A clip that fails because its prompt could not be refined. is_verdict: for the answer to this very prompt."""

    def __init__(self, message: str, failure_class: FailureClass, is_verdict: bool) -> None:
        super().__init__(message, failure_class)
        self.is_verdict = is_verdict

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.failure_class, self.is_verdict)


async def refined(
    own: Sequence[str], asks: Sequence[Ask | None], refining: Refining, kept: KeptWords, answer: Answer
) -> Words:
    """own: the row's prompts. asks: one for each caption that the clip is to have.

    Raises NotRefinedError with `on_failure: fail`, OSError for the store of what is kept.
    """
    found = await asyncio.gather(
        *(_words(ask, refining, kept, answer) for ask in asks if ask is not None), return_exceptions=True
    )
    faults = [one for one in found if isinstance(one, BaseException)]
    for fault in faults:
        if not isinstance(fault, NoWordsError):
            raise fault
    if faults:
        return _without(faults[0], own, refining)
    words = iter(one for one in found if not isinstance(one, BaseException))
    pairs = [("", True) if ask is None else next(words) for ask in asks]
    return Words(tuple(text for text, _ in pairs), "kept" if all(was for _, was in pairs) else "asked")


async def _words(ask: Ask, refining: Refining, kept: KeptWords, answer: Answer) -> tuple[str, bool]:
    """The words, and whether they had been kept."""
    key = await asyncio.to_thread(ask.key, refining)
    if (known := await asyncio.to_thread(kept.find, key)) is not None:
        return known, True
    words = await answer(ask)
    return await asyncio.to_thread(kept.keep, key, words, refining.model), False


def _without(fault: BaseException, own: Sequence[str], refining: Refining) -> Words:
    assert isinstance(fault, NoWordsError)
    said = shown(fault, 500)
    if refining.rules.on_failure == "fail":
        failure_class: FailureClass = "model" if fault.is_rows else "internal"
        raise NotRefinedError(f"the prompt could not be refined: {said}", failure_class, fault.is_rows)
    return Words(tuple(own), "own", said)
