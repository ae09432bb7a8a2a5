"""What scripts and tests import from the package is there (mypy reads the package alone), and every name is imported
from the file that defines it: a reader who follows an import is there at once."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from support.paths import ROOT

FOLDERS = ("benchmarks", "cluster", "datasets", "jobs", "tests")


def python_files(folders: Sequence[str] = FOLDERS) -> list[Path]:
    found = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return sorted(path for path in found if "node_modules" not in path.parts)


def file_of(module: str) -> Path | None:
    """The file of a module of the package, or its `__init__.py`; None if there is none."""
    place = ROOT.joinpath(*module.split("."))
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


@functools.cache
def defined_in(path: Path) -> frozenset[str]:
    """What a module defines, whether at once or under a condition."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return frozenset(names)


@functools.cache
def imported_in(path: Path) -> frozenset[str]:
    """What a module has from others, by the names it has there."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)]
    return frozenset((one.asname or one.name).partition(".")[0] for node in nodes for one in node.names)


def imports_of(path: Path) -> Iterator[tuple[int, str, str]]:
    """(line, module of the package, name in it) of whatever a file imports by name; modules are left out."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "cosmos_ray":
            module = node.module or ""
            names = (one.name for one in node.names if file_of(f"{module}.{one.name}") is None)
            yield from ((node.lineno, module, name) for name in names)


def missing(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules = [one.name for one in node.names if one.name.partition(".")[0] == "cosmos_ray"]
            yield from (module for module in modules if file_of(module) is None)
    for line, module, name in imports_of(path):
        home = file_of(module)
        if home is None or name not in defined_in(home) | imported_in(home):
            yield f"line {line}: {module}.{name}"


def passed_on(path: Path) -> Iterator[str]:
    """What a file imports from one that has it from another itself. The package itself may."""
    for line, module, name in imports_of(path):
        home = file_of(module)
        if module != "cosmos_ray" and home is not None and name in imported_in(home) - defined_in(home):
            yield f"line {line}: {module}.{name}"


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_imported_is_there(path: Path) -> None:
    assert list(missing(path)) == []


def test_a_name_that_is_gone_is_found(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    gone, there = "from cosmos_ray.models import passes", "from cosmos_ray.models.network import passes"
    script.write_text("\n".join(("import cosmos_ray.models.passes", gone, there)))
    assert list(missing(script)) == ["cosmos_ray.models.passes", "line 2: cosmos_ray.models.passes"]


@pytest.mark.parametrize("folder", ["cosmos_ray", *FOLDERS])
def test_names_are_imported_from_the_file_that_defines_them(folder: str) -> None:
    found = {str(path.relative_to(ROOT)): list(passed_on(path)) for path in python_files((folder,))}
    assert found
    assert {path: names for path, names in found.items() if names} == {}


def test_a_name_that_is_passed_on_is_found(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("from cosmos_ray import Generator\nfrom cosmos_ray.ledger.ledger import Ledger, Record\n")
    assert list(passed_on(script)) == ["line 2: cosmos_ray.ledger.ledger.Record"]
