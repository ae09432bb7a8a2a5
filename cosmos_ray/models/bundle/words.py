"""What is wrong with a `bundle.json`, in words of its own keys: not of the classes that read it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

#: Classes that a part of the files may be; pydantic puts them, with decorations, into the place of a fault.
_KINDS = ("FileRef", "RandomWeights")


def faults_in_words(error: ValidationError, model: type[BaseModel], data: bytes | str) -> str:
    """All faults of the file's text `data`, a sentence each: key, what was found, what was expected."""
    found: dict[str, None] = {}
    for one in error.errors():
        kinds = [kind for part in one["loc"] for kind in _KINDS if kind in str(part)]
        place = tuple(part for part in one["loc"] if not any(kind in str(part) for kind in _KINDS))
        if not kinds or kinds[0] == _meant(place, data):
            found[_fault(one, place, model)] = None
    return "; ".join(found)


def _meant(place: tuple[Any, ...], data: bytes | str) -> str:
    """Of a part of the files: a file, unless it speaks of a seed and of no URI."""
    part = json.loads(data)["files"][place[1]]
    keys = part if isinstance(part, Mapping) else {}
    return "RandomWeights" if "random_seed" in keys and "uri" not in keys else "FileRef"


def _fault(one: Mapping[str, Any], place: tuple[Any, ...], model: type[BaseModel]) -> str:
    key = ".".join(map(str, place))
    kind, context, found = one["type"], one.get("ctx", {}), _shown(one["input"])
    if kind == "json_invalid":
        return f"is no JSON: {context.get('error', one['msg'])}"
    if kind == "missing":
        return f"{key} is missing"
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(place[-1]), _keys(model, place[:-1]), 1)
        return f"there is no key {key}" + (f"; `{near[0]}` is near" if near else "")
    if kind == "value_error":
        said = str(context.get("error", one["msg"]))
        return f"{key}: {said}" if key else said
    expected = _expected(kind, context)
    return f"{key or 'the file'}: found {found}, expected {expected or one['msg'].lower()}"


def _expected(kind: str, context: Mapping[str, Any]) -> str:
    bounds = {"greater_than": "gt", "greater_than_equal": "ge", "less_than": "lt", "less_than_equal": "le"}
    words = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}
    if kind in bounds:
        return f"{words[bounds[kind]]} {context[bounds[kind]]}"
    if kind == "literal_error":
        return str(context["expected"])
    if kind == "string_pattern_mismatch":
        return f"a text like {context['pattern']}"
    for begins, said in (
        ("int_", "a whole number"), ("float_", "a number"), ("string_", "a text"), ("model_", "an object"),
        ("tuple_", "a list"), ("bool_", "true or false"),
    ):  # fmt: skip
        if kind.startswith(begins):
            return said
    return ""


def _keys(model: type[BaseModel], place: Iterable[Any]) -> list[str]:
    """That the object at a place may have."""
    fields = model.model_fields
    for part in place:
        field = fields.get(str(part))
        classes = [field.annotation, *getattr(field.annotation, "__args__", ())] if field else []
        below = [one for one in classes if isinstance(one, type) and issubclass(one, BaseModel)]
        fields = {name: of for one in below for name, of in one.model_fields.items()}
    return list(fields)


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 100 else text[:97] + "..."
