"""What is wrong with a `bundle.json`, in words of its own keys: not of the classes that read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from cosmos_ray.schema_words import key_fault

#: Classes that a part of the files may be; pydantic puts them, with decorations, into the place of a fault.
_KINDS = ("FileRef", "RandomWeights")


def faults_in_words(error: ValidationError, model: type[BaseModel], data: bytes | str) -> str:
    """All faults of the file's text `data`, a sentence each: key, what was found, what was expected."""
    found: dict[str, None] = {}
    for one in error.errors():
        kinds = [kind for part in one["loc"] for kind in _KINDS if kind in str(part)]
        place = tuple(part for part in one["loc"] if not any(kind in str(part) for kind in _KINDS))
        if not kinds or kinds[0] == _meant(place, data):
            found[key_fault(one, place, model)] = None
    return "; ".join(found)


def _meant(place: tuple[Any, ...], data: bytes | str) -> str:
    """Of a part of the files: a file, unless it speaks of a seed and of no URI."""
    part = json.loads(data)["files"][place[1]]
    keys = part if isinstance(part, Mapping) else {}
    return "RandomWeights" if "random_seed" in keys and "uri" not in keys else "FileRef"
