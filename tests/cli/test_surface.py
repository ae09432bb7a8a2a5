"""Every command and option as it stands: names, kinds, defaults, bounds, words; and the file that `config` prints."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import pytest
import typer
from support.surfaces import assert_as_it_was, masked

from cosmos_ray.cli.main import app, run
from cosmos_ray.cli.options import MODELS
from cosmos_ray.errors import CosmosRayError, LeaseHeld, UsageError

#: Of what is said of a parameter, that which decides how it is given and what it becomes.
_FACTS = ("param_decls", "metavar", "show_default", "min", "max", "is_eager")


def commands(group: typer.Typer, name: str = "cosmos-ray") -> Iterator[tuple[str, Any]]:
    for one in group.registered_commands:
        yield f"{name} {one.name or one.callback.__name__.replace('_', '-')}", one  # type: ignore[union-attr]
    for below in group.registered_groups:
        assert below.typer_instance is not None
        within = f"{name} {below.name}" if isinstance(below.name, str) else name
        yield from commands(below.typer_instance, within)


def lines_of(name: str, command: Any) -> Iterator[str]:
    yield f"== {name}"
    yield from filter(None, (command.callback.__doc__ or "").splitlines())
    signature = inspect.signature(command.callback)
    hints = get_type_hints(command.callback, include_extras=True)
    for one in signature.parameters.values():
        kind, info = get_args(hints[one.name])
        told = {fact: getattr(info, fact, None) for fact in _FACTS}
        default = "" if one.default is one.empty else f" = {one.default!r}"
        facts = ", ".join(f"{fact} {value!r}" for fact, value in told.items() if value not in (None, (), True, False))
        yield f"-- {one.name}: {getattr(kind, '__name__', kind)}{default}; {facts}"
        yield f"   {(info.help or '').replace(MODELS, '(models)')}"


def test_commands_and_options_are_as_they_were() -> None:
    lines = [line for name, command in commands(app) for line in lines_of(name, command)]
    assert_as_it_was("cli/options.txt", "\n".join(lines))


def test_the_file_of_settings_is_as_it_was(cosmos_ray: Any) -> None:
    answer = cosmos_ray("config")
    assert (answer.code, answer.err) == (0, "")
    assert_as_it_was("cli/config.yaml", answer.out)


def test_the_models_that_come_with_it_are_listed_as_they_were(cosmos_ray: Any, monkeypatch: Any) -> None:
    """None of their files is on this machine."""
    monkeypatch.setattr("cosmos_ray.models.bundle.files.cached_path", lambda bundle, kind: None)
    said = []
    for words in (("model", "list"), ("--version",)):
        answer = cosmos_ray(*words)
        said += [f"$ cosmos-ray {' '.join(words)} -> {answer.code}", *answer.out.splitlines()]
    assert_as_it_was("cli/models.txt", masked("\n".join(said)))


def test_how_each_error_ends_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    lines = []
    for error in (
        UsageError("bad words"), CosmosRayError("the job is ill"), LeaseHeld("another has it"), OSError(5, "said"),
        OSError("503"), PermissionError("no"), FileNotFoundError(2, "gone", "/a"), typer.Exit(3), typer.Abort(),
        KeyboardInterrupt(),
    ):  # fmt: skip

        def command(error: BaseException = error, **_: Any) -> None:
            raise error

        code = run(command)
        lines.append(f"{type(error).__name__} {error}: {code} {[*capsys.readouterr()]}")
    lines += [f"{given!r}: {run(lambda given=given, **_: given)}" for given in (None, 0, 3)]
    assert_as_it_was("cli/ends.txt", "\n".join(lines))
