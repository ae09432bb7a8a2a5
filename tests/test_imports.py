"""What scripts and tests import from the package is there: mypy reads the package alone."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.paths import ROOT

FOLDERS = ("benchmarks", "cluster", "datasets", "jobs", "tests")


def python_files() -> list[Path]:
    found = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    return sorted(path for path in found if "node_modules" not in path.parts)


def file_of(module: str) -> Path | None:
    """The file of a module of the package, or its `__init__.py`; None if there is none."""
    place = ROOT.joinpath(*module.split("."))
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


@functools.cache
def names_in(path: Path) -> frozenset[str]:
    """What a module defines or imports, whether at once or under a condition."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update((one.asname or one.name).partition(".")[0] for one in node.names)
    return frozenset(names)


def missing(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules = [one.name for one in node.names if one.name.partition(".")[0] == "cosmos_ray"]
            yield from (module for module in modules if file_of(module) is None)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "cosmos_ray":
            module = node.module or ""
            home = file_of(module)
            for one in node.names:
                if file_of(f"{module}.{one.name}") is None and (home is None or one.name not in names_in(home)):
                    yield f"line {node.lineno}: {module}.{one.name}"


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_imported_is_there(path: Path) -> None:
    assert list(missing(path)) == []


def test_a_name_that_is_gone_is_found(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    gone, there = "from cosmos_ray.models import passes", "from cosmos_ray.models.network import passes"
    script.write_text("\n".join(("import cosmos_ray.models.passes", gone, there)))
    assert list(missing(script)) == ["cosmos_ray.models.passes", "line 2: cosmos_ray.models.passes"]
