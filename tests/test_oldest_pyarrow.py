"""What reads and writes tables works with the oldest pyarrow that pyproject.toml allows, not only the pinned one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support.paths import ROOT

#: Rooms and files of tests that read and write tables.
TABLES = ("ledger", "manifest", "output", "job/test_plan.py", "job/test_bad_input.py", "test_readme.py")


@pytest.mark.long
def test_the_tables_tests_pass_with_the_oldest_pyarrow(tmp_path: Path) -> None:
    """Needs a package index, from which it takes that pyarrow into a folder of its own."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (oldest,) = (found[1] for each in dependencies if (found := re.fullmatch(r"pyarrow>=([\d.]+)", each)))
    wanted = f"pyarrow=={oldest}.0.0"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path), wanted]
    if subprocess.run(pip, check=False).returncode:
        pytest.skip(f"{wanted} cannot be had here")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    version = [sys.executable, "-c", "import pyarrow; print(pyarrow.__version__)"]
    assert subprocess.check_output(version, env=environment, text=True).strip() == f"{oldest}.0.0"
    files = [str(ROOT / "tests" / name) for name in TABLES]
    assert all(Path(file).exists() for file in files)
    # Surfaces are said again as the pinned versions word them.
    chosen = ["-m", "not long", "-k", "not surface"]
    subprocess.run([sys.executable, "-m", "pytest", "-q", *chosen, *files], env=environment, check=True)
