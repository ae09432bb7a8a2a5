"""A job's checks as one process runs them: the first objection ends it, and a check that raises is one. No torch."""

from __future__ import annotations

import hashlib
import logging
import re
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np

from cosmos_ray.clip.guardrail_rules import Guardrails
from cosmos_ray.errors import RowError, UncheckedError, UsageError
from cosmos_ray.models.guardrails.check import Check, VideoAnswer, facts_of, load

log = logging.getLogger(__name__)
T = TypeVar("T")

#: As a category may be: words, and no place for a prompt.
_CATEGORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.,:;/&()+-]{0,79}")
#: Regions of a view's frames that a record can tell.
_MOST_REGIONS = 2**31 - 1
#: Captions whose verdict is remembered: clips of one caption and other seeds are asked about once.
_REMEMBERED = 10_000


class Guard:
    """texts, videos: the checks of each, in order."""

    def __init__(self, texts: Sequence[Check], videos: Sequence[Check]) -> None:
        self._texts, self._videos = tuple(texts), tuple(videos)
        self._fine: dict[str, None] = {}

    def check_captions(self, captions: Sequence[str], has_embedding: bool = False) -> None:
        """RowError of class `guardrail` for the first objection to any of a clip's captions.

        Views may have none; a clip without any is asked about as "". has_embedding: the clip is made of numbers, whose
        words nobody can read.
        """
        if not self._texts:
            return
        if has_embedding:
            raise _blocked(self._texts[0].name, "prompt embedding")
        for caption in list(dict.fromkeys(filter(None, captions))) or [""]:
            self._check_caption(caption)

    def _check_caption(self, caption: str) -> None:
        key = hashlib.sha256(caption.encode("utf-8", "surrogatepass")).hexdigest()
        if key in self._fine:
            return
        for check in self._texts:
            asked: Any = check
            category = _closed(check, partial(asked.check_text, caption))
            if category is not None:
                raise _blocked(check.name, category)
        self._fine[key] = None
        if len(self._fine) > _REMEMBERED:
            del self._fine[next(iter(self._fine))]

    def check_view(self, frames_THWC: np.ndarray) -> tuple[np.ndarray, int]:
        """A view's frames as they may be published, and how many of their regions were made unrecognisable.

        RowError of class `guardrail` for the first objection.
        """
        changed = 0
        for check in self._videos:
            given = frames_THWC.view()
            given.flags.writeable = False
            answer: VideoAnswer = _closed(check, partial(_looked, check, given))
            if isinstance(answer, str):
                raise _blocked(check.name, answer)
            if answer is not None:
                frames_THWC, regions = answer
                changed += regions
        return frames_THWC, changed


def _looked(check: Check, frames_THWC: np.ndarray) -> VideoAnswer:
    asked: Any = check
    answer = asked.check_video(frames_THWC)
    if answer is None or isinstance(answer, str):
        return answer
    frames, regions = answer
    if not facts_of(check).changes_pixels:
        raise TypeError("frames of a check that does not say that it changes pixels")
    if not isinstance(frames, np.ndarray) or frames.shape != frames_THWC.shape or frames.dtype != np.uint8:
        raise TypeError("frames of another shape or kind")
    if not 0 <= int(regions) <= _MOST_REGIONS:
        raise TypeError("regions of a number that no frames have")
    return np.asarray(frames), int(regions)


def _closed(check: Check, ask: Callable[[], T]) -> T:
    """What the check says. UncheckedError if it raises, without the words of what it raised: it may tell the prompt."""
    try:
        return ask()
    except (Exception, SystemExit) as error:  # who leaves has not answered either
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            raise  # the gang's fault, not the row's: it is tried elsewhere
        where = [f"{one.filename}:{one.lineno} {one.name}" for one in traceback.extract_tb(error.__traceback__)]
        log.error("the check %s raised %s at %s", check.name, type(error).__name__, " > ".join(where[-4:]))
        raise UncheckedError(
            f"the check `{check.name}` raised {type(error).__name__}: what it could not check is not published",
            "guardrail",
        ) from None


def _blocked(name: str, category: object) -> RowError:
    found = _CATEGORY.fullmatch(category) if isinstance(category, str) else None
    return RowError(f"blocked by the check `{name}`: {found[0] if found else 'no category'}", "guardrail")


def load_guard(guardrails: Guardrails, checks: Sequence[Check], device: str, asks_texts: bool, looks: bool) -> Guard:
    """The guard of one process, its checks loaded. asks_texts, looks: whether it is the one that asks about captions,
    and one that has views.

    Raises UsageError where this machine's checks are not those that the job has seen.
    """
    found = [facts_of(check) for check in checks]
    here = [f"{one.name} {one.version}" for one in found]
    of_job = [f"{name} {version}" for name, version in guardrails.versions.items()]
    if here != of_job:
        raise UsageError(f"guardrails: this machine has {', '.join(here)}; the job began with {', '.join(of_job)}")
    texts = [check for check, fact in zip(checks, found, strict=True) if fact.texts and asks_texts]
    videos = [check for check, fact in zip(checks, found, strict=True) if fact.videos and looks]
    for check in checks:
        if check in texts or check in videos:
            load(check, device)
    return Guard(texts, videos)
