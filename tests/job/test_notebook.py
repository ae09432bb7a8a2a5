"""A job in a notebook: its cells are called by a running event loop, which `asyncio.run` would refuse."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.notebook import cells, execute, said


@pytest.mark.slow
@pytest.mark.ray
def test_a_job_runs_in_a_real_kernel_and_says_what_the_command_says(tmp_path: Path) -> None:
    """Of a DataFrame, whose results come back as one."""
    job = """
import asyncio, pandas as pd
from cosmos_ray import GenerateConfig, generate, results
assert asyncio.get_event_loop().is_running()
rows = pd.DataFrame({"id": ["a", "bad"], "prompt": ["a street [seconds=0]", "[unknown]"], "n_views": [1, 1]})
summary = generate(GenerateConfig(manifest=rows, output="out", model="fake", device="cpu", gang_size=1))
print(summary.ok, summary.failed, summary.exit_code)
"""
    look = "print(*results('out').set_index('id')['status'].sort_index())"
    ran = execute(cells(job, look), tmp_path)
    lines = said(ran.cells[1], "stderr")
    assert "[2/2]" in lines
    assert "a: ok, denoised in" in lines
    assert "bad: FAILED (input): column `prompt`" in lines
    assert said(ran.cells[1], "stdout") == "1 1 3\n"
    assert said(ran.cells[2], "stdout") == "ok failed\n"
    assert (tmp_path / "out" / "_cosmos_ray" / "manifest.parquet").is_file()
