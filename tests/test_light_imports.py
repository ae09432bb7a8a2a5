"""The core needs neither torch nor Ray: it is what `plan`, `status` and the gangs' leaders start with."""

from __future__ import annotations

import subprocess
import sys

import pytest

LIGHT = (
    "approximations",
    "builders",
    "cli",
    "compaction",
    "config",
    "cost",
    "errors",
    "export",
    "idle",
    "index",
    "lease",
    "ledger",
    "ledger_parts",
    "ledger_rows",
    "ledger_state",
    "manifest",
    "manifest_files",
    "manifest_table",
    "models.bundle",
    "models.noise",
    "plan",
    "record",
    "reproduce",
    "request",
    "run",
    "status",
    "storage",
    "traffic",
    "video",
)


def imported_by(*modules: str) -> set[str]:
    """Top-level packages that a fresh process has after importing these modules of cosmos_ray."""
    code = f"import sys, {', '.join(f'cosmos_ray.{name}' for name in modules)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_the_core_imports_neither_torch_nor_ray() -> None:
    found = imported_by(*LIGHT)
    assert "cosmos_ray" in found
    assert found & {"torch", "ray", "diffusers", "transformers"} == set()


@pytest.mark.slow
def test_the_model_needs_no_ray() -> None:
    found = imported_by("generator", "parallel", "models.load")
    assert "torch" in found
    assert "ray" not in found
