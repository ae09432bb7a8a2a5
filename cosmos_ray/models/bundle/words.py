"""What is wrong with a `bundle.json`, in words of its own keys: not of the classes that read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from cosmos_ray.schema_words import key_fault

#: Classes that a part of the files may be; pydantic puts them, with decorations, into the place of a fault.
_KINDS = ("FileRef", "RandomWeights")
#: Faults that are said: to look for what each key may have meant takes its time.
_MOST_FAULTS = 20


def faults_in_words(error: ValidationError, model: type[BaseModel], data: bytes | str) -> str:
    """The faults of the file's text `data`, a sentence each: key, what was found, what was expected."""
    found: dict[str, None] = {}
    faults = error.errors()
    parts = _parts(data) if any(kind in str(one["loc"]) for one in faults for kind in _KINDS) else {}
    for one in faults:
        if len(found) == _MOST_FAULTS:
            return "; ".join([*found, "and more"])
        kinds = [kind for part in one["loc"] for kind in _KINDS if kind in str(part)]
        place = tuple(part for part in one["loc"] if not any(kind in str(part) for kind in _KINDS))
        if not kinds or kinds[0] == _meant(parts.get(place[1])):
            found[key_fault(one, place, model)] = None
    return "; ".join(found)


def _parts(data: bytes | str) -> dict[Any, Any]:
    """Of a file of which a part of the files is known to be wrong."""
    found: dict[Any, Any] = json.loads(data)["files"]
    return found


def _meant(part: object) -> str:
    """Of a part of the files: a file, unless it speaks of a seed and of no URI."""
    keys = part if isinstance(part, Mapping) else {}
    return "RandomWeights" if "random_seed" in keys and "uri" not in keys else "FileRef"
