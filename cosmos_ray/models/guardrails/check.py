"""What a check is, whoever has written it. Nothing of ours has to be imported for one.

A check is an object with

    name              as records say it: letters, digits, `_`, `.`, `-`
    version           of whatever its verdicts depend on
    changes_pixels    optional; True if `check_video` may give other frames back

and one or both of

    check_text(text)          before a clip is made, once for each of its captions
    check_video(frames)       of what was made: uint8 [T, H, W, 3], a view's frames, RGB

Each gives None if there is nothing to object to, or the category for which the clip is blocked: a few plain words,
never the text itself. Frames may not be written to; `check_video` of a check that changes pixels may give (other
frames, how many regions of them it has changed). Beside these, all optional:

    problems()        what is missing on this machine, in words a line; asked before a job takes a GPU
    load(device)      once in each process that runs it: "cuda" or "cpu"

A check that raises fails the clip: what could not be checked is not published.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from cosmos_ray.clip.guardrail_rules import CheckFacts

#: Of a check that names a problem without end.
_MOST_PROBLEMS = 100

VideoAnswer = str | tuple[np.ndarray, int] | None


class Check(Protocol):
    """What every check has; the rest is optional."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...


def facts_of(check: Check) -> CheckFacts:
    """What jobs, records and sidecars say of a check."""
    return CheckFacts(
        check.name,
        str(check.version),
        hasattr(check, "check_text"),
        hasattr(check, "check_video"),
        bool(getattr(check, "changes_pixels", False)),
    )


def problems_of(check: Check) -> Sequence[str]:
    """What it lacks to be asked here, a line each, so many as people read."""
    asked: Any = getattr(check, "problems", None)
    found = () if asked is None else asked()
    return (found,) if isinstance(found, str) else tuple(itertools.islice(found, _MOST_PROBLEMS))


def load(check: Check, device: str) -> None:
    """Once in each process, where it has something to load."""
    loading: Any = getattr(check, "load", None)
    if loading is not None:
        loading(device)
