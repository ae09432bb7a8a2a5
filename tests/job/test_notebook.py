"""A job in a notebook: its cells are called by a running event loop, which `asyncio.run` would refuse."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from support.cluster import SharedHead
from support.notebook import cells, execute, said
from support.paths import ROOT


@pytest.mark.slow
@pytest.mark.ray
def test_a_job_runs_in_a_real_kernel_and_says_what_the_command_says(one_node: SharedHead, tmp_path: Path) -> None:
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
    ran = execute(cells(job, look, ray_address=one_node.cluster.address), tmp_path)
    lines = said(ran.cells[1], "stderr")
    assert "[2/2]" in lines
    assert "a: ok, denoised in" in lines
    assert "bad: FAILED (input): column `prompt`" in lines
    assert said(ran.cells[1], "stdout") == "1 1 3\n"
    assert said(ran.cells[2], "stdout") == "ok failed\n"
    assert (tmp_path / "out" / "_cosmos_ray" / "manifest.parquet").is_file()


@pytest.mark.long
@pytest.mark.ray
def test_the_notebook_of_the_pages_runs_from_top_to_bottom(tmp_path: Path) -> None:
    """It shows a video, a grid, and a checkpoint that makes the clip of the same weights."""
    book = nbformat.read(ROOT / "docs" / "notebook.ipynb", as_version=4)
    ran = execute(cells(*(cell["source"] for cell in book.cells if cell["cell_type"] == "code")), tmp_path)
    shown = [out.get("data", {}) for cell in ran.cells for out in cell["outputs"]]
    assert any("video/mp4" in data.get("text/html", "") for data in shown)
    assert any("image/png" in data for data in shown)
    texts = " ".join(data.get("text/plain", "") for data in shown)
    assert re.search(r"'tiny\.[0-9a-f]{8}', True", texts)
    assert "(29, 64, 112, 3)" in texts
    assert (tmp_path / "clip.mp4").is_file()
    assert "day" in texts


def test_the_notebook_is_kept_without_what_it_put_out() -> None:
    book = nbformat.read(ROOT / "docs" / "notebook.ipynb", as_version=4)
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in book.cells)
