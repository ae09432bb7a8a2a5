"""The repository's shape: no file is long, and the folder `datasets/` is not in the way of the library of that name."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

#: Lines: what can be read in a sitting.
LONGEST = 400


@pytest.mark.parametrize("folder", ["cosmos_ray", "tests", "benchmarks", "datasets", "jobs", "cluster"])
def test_no_file_is_longer_than_can_be_read_in_a_sitting(folder: str) -> None:
    """Of those that are written: Python, scripts (those of tests/tools have no ending), the report's page."""
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".sh", ".js", ".css", ".html", "") and path.is_file()
    }
    assert lengths
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST} == {}


def test_a_module_that_a_comment_names_is_there() -> None:
    """Names in backticks go stale where files move. In the rooms of published flags they are others' programs."""
    folders = ("cosmos_ray", "tests", "benchmarks", "datasets", "jobs", "cluster")
    texts = {path: path.read_text() for folder in folders for path in (ROOT / folder).rglob("*.py")}
    there = {place for path in texts for place in _places(path)}
    named = {
        (str(path.relative_to(ROOT)), name)
        for path, text in texts.items()
        if path.parent.name != "published"
        for name in re.findall(r"`([\w/]+\.py)`", text)
    }
    assert len(named) > 100
    assert {(path, name) for path, name in named if name not in there} == set()


def _places(path: Path) -> list[str]:
    """Its name, and the same with each of the folders round it."""
    parts = path.relative_to(ROOT).parts
    return ["/".join(parts[start:]) for start in range(len(parts))]


def run_from_root(code: str) -> str:
    """Run Python from the repository's root, which `-c` puts first on sys.path: where a clash would show."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_datasets_is_a_folder_and_not_a_package() -> None:
    """Without __init__.py it is at most a namespace package, which gives way to an installed `datasets` wherever that
    is on sys.path. With one it would hide it from everything started in the repository."""
    assert (ROOT / "datasets" / "sample_drive.py").is_file()
    assert not (ROOT / "datasets" / "__init__.py").exists()


def test_an_installed_datasets_wins_over_the_folder(tmp_path: Path) -> None:
    """Even when the repository's root comes first."""
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").write_text("")
    spec = importlib.machinery.PathFinder.find_spec("datasets", [str(ROOT), str(tmp_path)])
    assert spec is not None
    assert spec.origin == str(tmp_path / "datasets" / "__init__.py")


def test_no_file_of_datasets_hides_a_module() -> None:
    """A script's own folder comes first on sys.path: none of its files may have a library's name."""
    for path in (ROOT / "datasets").glob("*.py"):
        spec = importlib.util.find_spec(path.stem)
        assert spec is None or spec.origin == str(path), f"{path.name} hides {spec.origin}"


@pytest.mark.slow
def test_transformers_and_the_text_encoder_import_from_the_root() -> None:
    """transformers asks whether `datasets` can be found. From the root it finds the folder, as a namespace without
    contents of its own, and imports it in its trainer alone; what we use must load all the same."""
    code = (
        "import importlib.util, json, transformers, diffusers\n"
        "from transformers import AutoTokenizer, T5Config, T5EncoderModel\n"
        "from transformers.utils import is_datasets_available\n"
        "from diffusers import AutoencoderKLWan\n"
        "spec = importlib.util.find_spec('datasets')\n"
        "print(json.dumps([is_datasets_available(), spec and spec.origin]))\n"
    )
    available, origin = json.loads(run_from_root(code).splitlines()[-1])
    # Either the real library, or nothing that has code: never a module of ours under that name.
    assert origin is None or not Path(origin).is_relative_to(ROOT / "datasets")
    if origin is not None:
        assert available
