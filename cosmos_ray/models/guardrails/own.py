"""Users' own checks, by the names under which their packages declare them as entry points."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import entry_points

from cosmos_ray.errors import UsageError, first_line
from cosmos_ray.models.guardrails.check import Check

GROUP = "cosmos_ray.guardrails"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def own_checks(names: Sequence[str]) -> list[Check]:
    """One of each, made by calling what the entry point names. Raises UsageError, naming those that there are."""
    known = {point.name: point for point in entry_points(group=GROUP)}
    made: list[Check] = []
    for name in names:
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            raise UsageError(
                f"guardrails.own: no installed package has an entry point `{name}` in the group {GROUP}; there: {there}"
            )
        try:
            check = known[name].load()()
        except (Exception, SystemExit) as error:  # a program's module may end the program
            raise UsageError(
                f"guardrails.own: `{name}` cannot be made: {type(error).__name__}: {first_line(error)}"
            ) from error
        made.append(_checked(name, check))
    return made


def _checked(name: str, check: Check) -> Check:
    lacks = [attribute for attribute in ("name", "version") if not hasattr(check, attribute)]
    if not (hasattr(check, "check_text") or hasattr(check, "check_video")):
        lacks.append("check_text or check_video")
    if lacks:
        raise UsageError(f"guardrails.own: the check `{name}` has no {', no '.join(lacks)}")
    if not _NAME.fullmatch(str(check.name)):
        raise UsageError(
            f"guardrails.own: `{name}` calls itself {check.name!r}, expected letters, digits, `_`, `.`, `-`"
        )
    return check
