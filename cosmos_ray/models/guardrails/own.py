"""Users' own checks, by the names under which their packages declare them as entry points.

They are programs of strangers to this one: until a job takes a GPU they have an end in time, and the frames that they
are shown are a copy.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import EntryPoint, distributions
from typing import Any, NoReturn, TypeVar

import numpy as np

from cosmos_ray.clip.guardrail_rules import CHECK_NAME
from cosmos_ray.errors import UsageError, first_line
from cosmos_ray.foreign import shown
from cosmos_ray.models.guardrails.check import Check, VideoAnswer, facts_of, problems_of
from cosmos_ray.words import counted

T = TypeVar("T")
GROUP = "cosmos_ray.guardrails"
#: For importing and making a check, and for what it says that it lacks, by the clock, on however busy a machine.
_PATIENCE_S = 300.0
#: Longest version, characters.
_VERSION_MOST = 200


def own_checks(names: Sequence[str]) -> list[Check]:
    """One of each, made by calling what the entry point names. Raises UsageError, naming those that there are."""
    known, unread = _declared() if names else ({}, 0)
    made: list[Check] = []
    for name in names:
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            if unread:
                there += f"; what {counted(unread, 'installed package')} may declare cannot be read"
            raise UsageError(
                f"guardrails.own: no installed package has an entry point `{name}` in the group {GROUP}; there: {there}"
            )
        try:
            check = _in_time(partial(_made, known[name]))
        except UsageError:
            raise
        except (Exception, SystemExit) as error:  # a program's module may end the program
            raise UsageError(
                f"guardrails.own: `{name}` cannot be made: {type(error).__name__}: {first_line(error)}"
            ) from error
        made.append(check)
    return made


def _declared() -> tuple[dict[str, EntryPoint], int]:
    """What installed packages declare, by name; and of how many that cannot be read: one of strangers, damaged, is not
    the end of others' checks."""
    known, unread = dict[str, EntryPoint](), 0
    for package in distributions():
        try:
            for point in package.entry_points.select(group=GROUP):
                known.setdefault(point.name, point)
        except Exception:  # noqa: BLE001 - no text, no table, no folder that may be read
            unread += 1
    return known, unread


class _Own:
    """A check as it is asked: what it has beside this is its own."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self.name, self.version = str(check.name), str(check.version)

    def __getattr__(self, attribute: str) -> Any:
        if attribute == "check_video":
            getattr(self._check, attribute)  # AttributeError where it has none
            return self._check_video
        return getattr(self._check, attribute)

    def problems(self) -> Sequence[str]:
        return _in_time(lambda: problems_of(self._check))

    def _check_video(self, frames_THWC: np.ndarray) -> VideoAnswer:
        """Frames may be made writable, and libraries write to frames that are not: those that go on are not these."""
        copied = frames_THWC.copy()
        copied.flags.writeable = False
        asked: Any = self._check
        answer: VideoAnswer = asked.check_video(copied)
        return answer


def _made(point: EntryPoint) -> Check:
    return _Own(_checked(point.name, point.load()()))


def _in_time(ask: Callable[[], T]) -> T:
    """What it gives or raises; TimeoutError where it does not end. A thread that goes on keeps no process alive.

    What it prints goes to standard error: standard output is the command's, and may be JSON.
    """
    done: list[Callable[[], T]] = []

    def run() -> None:
        try:
            found = ask()
            done.append(lambda: found)
        except BaseException as error:  # noqa: BLE001 - raised again, where it was asked
            done.append(partial(_raise, error))

    thread = threading.Thread(target=run, daemon=True)
    with contextlib.redirect_stdout(sys.stderr):
        thread.start()
        thread.join(_PATIENCE_S)
    if not done:
        raise TimeoutError(f"not done within {_PATIENCE_S:g} s; what takes long belongs into load(device)")
    return done[0]()


def _raise(error: BaseException) -> NoReturn:
    raise error


def _checked(name: str, check: Check) -> Check:
    lacks = [attribute for attribute in ("name", "version") if not hasattr(check, attribute)]
    if not (hasattr(check, "check_text") or hasattr(check, "check_video")):
        lacks.append("check_text or check_video")
    if lacks:
        raise UsageError(f"guardrails.own: the check `{name}` has no {', no '.join(lacks)}")
    if not CHECK_NAME.fullmatch(str(check.name)):
        raise UsageError(
            f"guardrails.own: `{name}` calls itself {check.name!r}, expected letters, digits, `_`, `.`, `-`"
        )
    version = facts_of(check).version  # whatever a job asks it for is there
    if len(version) > _VERSION_MOST or not version.isprintable():
        raise UsageError(
            f"guardrails.own: `{name}` has the version {shown(version, 100)}, expected at most {_VERSION_MOST} "
            "characters of one line: every record has it"
        )
    return check
