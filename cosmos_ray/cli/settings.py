"""`cosmos-ray config`: every setting of a job with its default and its words, as a file that `--config` takes."""

from __future__ import annotations

import ast
import inspect
import itertools
import json
import textwrap
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from cosmos_ray.config import GenerateConfig

app = typer.Typer()

_WIDTH = 118
_HEAD = """All settings of `cosmos-ray generate`, with their defaults. What a flag says wins over this file, and what
`--set KEY=VALUE` says over both. Keep the lines that you change: what is left out has its default."""


@app.command()
def config() -> None:
    """Print all settings with their defaults and what they mean, as YAML that --config takes."""
    print("\n".join([*_comment(_HEAD), "", *_lines(GenerateConfig)]))


def _lines(settings: type[BaseModel], indent: str = "") -> Iterator[str]:
    told = _told(settings)
    for name, field in settings.model_fields.items():
        group = field.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            yield ""
            yield from _comment(group.__doc__ or "", indent)
            yield f"{indent}{name}:"
            yield from _lines(group, indent + "  ")
            continue
        yield from _comment(_words(field, told.get(name, "")), indent)
        default = None if field.default is PydanticUndefined else field.default
        yield f"{indent}{name}: {json.dumps(default)}"


def _told(settings: type[BaseModel]) -> dict[str, str]:
    """The words under each setting. Found here and not by pydantic, which would look for them whenever a process begins
    that knows what a job's settings are: each rank and each command."""
    found = dict[str, str]()
    for kind in reversed(settings.__mro__):
        if not issubclass(kind, BaseModel) or kind is BaseModel:
            continue
        (of_kind,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
        assert isinstance(of_kind, ast.ClassDef)
        for field, words in itertools.pairwise(of_kind.body):
            match field, words:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = text
    return found


def _words(field: FieldInfo, words: str) -> str:
    """With all values that it can have, where they are few and the words leave one out."""
    choices = [str(one) for one in _choices(field.annotation)]
    of = "Any of" if isinstance(field.default, tuple) else "One of"
    return words if all(one in words for one in choices) else f"{words} {of}: {', '.join(choices)}."


def _choices(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [one for inner in get_args(annotation) for one in _choices(inner)]


def _comment(words: str, indent: str = "") -> list[str]:
    """Without backticks, which mean nothing in a file of settings."""
    text = " ".join(words.replace("`", "").split())
    return textwrap.wrap(text, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
