"""Constants, defaults and dataclasses of every room and of what is beside them: each is said again in
`tests/golden-surfaces`.

They decide names, paths, hashes, pixels, waits and bounds. One that changes on purpose is changed there too, where it
is read in a difference of its own; one that changes by mistake is seen here.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import importlib
import inspect
import pkgutil
import re
import types
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import BaseModel
from support.surfaces import assert_as_it_was

import cosmos_ray

ROOMS = ("cli", "clip", "gang", "job", "ledger", "manifest", "models", "output", "pool", "published", "refine", "store")
#: Modules that are in no room; settings have a table of their own (`tests/test_config_table.py`).
BESIDE = "beside"
_OTHERS = {"__main__", "config", "version"}
#: Dataclasses that change while they are at work: each says so in its words.
CHANGING = {
    "clip.frames._Log", "gang.deadline.Pace",
    "job.refine.Refined", "job.refine._Work", "manifest.builders.caption_files.Captions",
    "manifest.builders.notes.Notes", "manifest.builders.nuscenes._Scene", "manifest.unknown_cameras.Unknown",
    "output.copy_target.CopyTarget", "pool.watched.WatchedGang", "pool.steps.Steps", "pool.demand.Demand",
    "pool.workload.Work", "pool.health._Pause", "pool.forecast._Gang", "words.Kinds",
}  # fmt: skip
#: What is imported where there is a GPU alone.
_OF_A_GPU = {"cosmos_ray.models.network.fused"}
_PLAIN = (str, bytes, int, float, bool, type(None))


def modules_of(room: str) -> Iterator[tuple[str, types.ModuleType]]:
    if room == BESIDE:
        alone = [one.name for one in pkgutil.iter_modules(cosmos_ray.__path__) if not one.ispkg]
        yield from ((name, importlib.import_module(f"cosmos_ray.{name}")) for name in sorted({*alone} - _OTHERS))
        return
    package = importlib.import_module(f"cosmos_ray.{room}")
    found = [package.__name__, *(one.name for one in pkgutil.walk_packages(package.__path__, f"{package.__name__}."))]
    for name in sorted({*found} - _OF_A_GPU):
        yield name.removeprefix("cosmos_ray."), importlib.import_module(name)


def told(value: Any) -> str | None:
    """A value in words that are the same in every process; None for what has none."""
    if isinstance(value, enum.Enum):
        return str(value)
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, re.Pattern):
        return f"{value.pattern!r} ({re.RegexFlag(value.flags)!r})"
    if isinstance(value, pa.Schema):
        return ", ".join(f"{one.name}: {one.type}" for one in value)
    if isinstance(value, pa.DataType | np.dtype | type | range):
        return str(value)
    if dataclasses.is_dataclass(value) or isinstance(value, BaseModel):
        facts = vars(value)
        return f"{type(value).__name__}{told(facts)}"
    if isinstance(value, dict | types.MappingProxyType):
        return "{" + ", ".join(f"{told(key) or key}: {told(one)}" for key, one in value.items()) + "}"
    if isinstance(value, set | frozenset):
        return "{" + ", ".join(sorted(str(told(one)) for one in value)) + "}"
    if isinstance(value, list | tuple):
        return "(" + ", ".join(str(told(one)) for one in value) + ")"
    if isinstance(value, np.ndarray | Fraction | torch.dtype):
        return str(value.tolist() if isinstance(value, np.ndarray) else value)
    return value.__qualname__ if isinstance(value, types.FunctionType) else None


def constants(module: types.ModuleType) -> Iterator[str]:
    """Those that the module gives a value itself."""
    for statement in ast.parse(inspect.getsource(module)).body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        for name in [one.id for target in targets if target for one in ast.walk(target) if isinstance(one, ast.Name)]:
            words = told(getattr(module, name)) if re.fullmatch(r"_*[A-Z][A-Z0-9_]*", name) else None
            if words is not None:
                yield f"{name} = {words}"


def own(module: types.ModuleType) -> Iterator[tuple[str, Any]]:
    """Functions and classes that the module defines, and methods of these."""
    for name, value in vars(module).items():
        if getattr(value, "__module__", None) != module.__name__ or not callable(value):
            continue
        yield name, value
        if inspect.isclass(value):
            for below, found in vars(value).items():
                method = getattr(found, "__func__", found)  # of a class's own methods
                if inspect.isfunction(method) and method.__module__ == module.__name__ and below != "__init__":
                    yield f"{name}.{below}", method


def defaults_of(value: Any) -> list[str]:
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return []
    return [
        f"{one.name}={told(one.default)}"
        for one in parameters
        if one.default is not one.empty and told(one.default) is not None
    ]


def choices(annotation: Any) -> list[str]:
    """Of a type's literals, however deep they are."""
    if get_origin(annotation) is Literal:
        return [repr(one) for one in get_args(annotation)]
    return [word for one in get_args(annotation) for word in choices(one)]


def fields_of(model: type[BaseModel]) -> Iterator[str]:
    """A field of settings: its default, bounds and choices; then how strict the whole is."""
    for name, field in model.model_fields.items():
        default = "needed" if field.is_required() else told(field.get_default(call_default_factory=True))
        bounds = [str(one) for one in field.metadata if not hasattr(one, "func")]
        yield f"{name}={default} {' '.join([*bounds, *choices(field.annotation)])}".rstrip()
    yield told(dict(sorted(model.model_config.items()))) or ""


def declared(name: str, module: types.ModuleType) -> Iterator[str]:
    for line in constants(module):
        yield f"{name}: {line}"
    for what, value in own(module):
        if inspect.isclass(value) and issubclass(value, enum.Enum):
            yield f"{name}: {what} of {', '.join(f'{one.name}={one.value!r}' for one in value)}"
            continue
        if inspect.isclass(value) and issubclass(value, BaseModel):
            yield from (f"{name}: {what}: {line}" for line in fields_of(value))
            continue
        if inspect.isclass(value) and not dataclasses.is_dataclass(value):
            continue
        if inspect.isclass(value):
            factories = [
                f"{one.name}={told(one.default_factory())}"
                for one in dataclasses.fields(value)
                if one.default_factory is not dataclasses.MISSING and isinstance(one.default_factory, type)
            ]
            kind: Any = value.__dataclass_params__
            how = " ".join(rule for rule in ("eq", "order") if getattr(kind, rule))
            yield f"{name}: {what}, {how} ({', '.join([*defaults_of(value), *factories])})"
        elif said := defaults_of(value):
            yield f"{name}: {what}({', '.join(said)})"


@pytest.mark.parametrize("room", [*ROOMS, BESIDE])
def test_constants_and_defaults_are_as_they_were(room: str) -> None:
    lines = [line for name, module in modules_of(room) for line in declared(name, module)]
    assert len(lines) > 10
    assert_as_it_was(f"declared/{room}.txt", "\n".join(lines))


@pytest.mark.parametrize("room", [*ROOMS, BESIDE])
def test_dataclasses_do_not_change(room: str) -> None:
    changing = {
        f"{name}.{what}"
        for name, module in modules_of(room)
        for what, value in own(module)
        if dataclasses.is_dataclass(value) and not value.__dataclass_params__.frozen  # type: ignore[union-attr]
    }
    room_of = {name: name.partition(".")[0] for name in CHANGING}
    assert changing == {name for name, of in room_of.items() if (of if of in ROOMS else BESIDE) == room}
