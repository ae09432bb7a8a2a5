"""What pydantic finds wrong with settings, flags and files, in our words: where, what was found, what was expected."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from cosmos_ray.foreign import shown, shown_value

_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_KINDS = (
    ("int_", "a whole number"), ("float_", "a number"), ("finite_number", "a finite number"), ("string_", "a text"),
    ("model_", "an object"), ("dict_", "an object"), ("tuple_", "a list"), ("list_", "a list"),
    ("bool_", "true or false"), ("none_", "null"),
)  # fmt: skip


def value_fault(one: Mapping[str, Any]) -> str:
    """Of one of pydantic's errors, without its place: what was found and expected, or what our own validator said."""
    if one["type"] == "value_error":
        return _said(one)
    return f"found {shown_value(one['input'])}, expected {_expected(one)}"


def key_fault(one: Mapping[str, Any], place: tuple[Any, ...], model: type[BaseModel]) -> str:
    """Of one of pydantic's errors in a file of keys and values: the key, what was found as JSON, what was expected.

    place: the keys that lead there; model: what the whole file should be."""
    key = ".".join(map(str, place))
    if one["type"] == "json_invalid":
        return f"is no JSON: {one.get('ctx', {}).get('error', one['msg'])}"
    if one["type"] == "missing":
        return f"{key} is missing"
    if one["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(place[-1]), _keys(model, place[:-1]), 1)
        return f"there is no key {key}" + (f"; `{near[0]}` is near" if near else "")
    if one["type"] == "value_error":
        return f"{key}: {_said(one)}" if key else _said(one)
    found = shown(json.dumps(one["input"], default=str), 100)
    return f"{key or 'the file'}: found {found}, expected {_expected(one)}"


def _said(one: Mapping[str, Any]) -> str:
    return str(one.get("ctx", {}).get("error", one["msg"]))


def _expected(one: Mapping[str, Any]) -> str:
    kind, context = one["type"], one.get("ctx", {})
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"{words} {context[name]}"
    if kind in ("literal_error", "enum"):
        return str(context["expected"])
    if kind == "string_pattern_mismatch":
        return f"a text like {context['pattern']}"
    return next((words for begins, words in _KINDS if kind.startswith(begins)), one["msg"].lower())


def _keys(model: type[BaseModel], place: Iterable[Any]) -> list[str]:
    """That the object at a place may have."""
    fields = model.model_fields
    for part in place:
        field = fields.get(str(part))
        classes = [field.annotation, *getattr(field.annotation, "__args__", ())] if field else []
        below = [one for one in classes if isinstance(one, type) and issubclass(one, BaseModel)]
        fields = {name: of for one in below for name, of in one.model_fields.items()}
    return list(fields)
