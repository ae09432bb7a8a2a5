"""Cells run in a real Jupyter kernel, whose event loop runs while they do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from support.paths import ROOT
from support.waiting import PATIENCE_S


def execute(notebook: Any, folder: Path) -> Any:
    """The notebook with what its cells put out; raises CellExecutionError for one that fails. folder: where it runs."""
    client = NotebookClient(
        notebook,
        timeout=int(PATIENCE_S),
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        allow_errors=False,
    )
    return client.execute()


def cells(*sources: str, ray_address: str = "") -> Any:
    """A notebook of these cells, in which the checkout's package is found. Its jobs run on a Ray of their own where no
    address is given."""
    where = f"os.environ['RAY_ADDRESS'] = {ray_address!r}" if ray_address else "os.environ.pop('RAY_ADDRESS', None)"
    first = f"import os, sys; sys.path.insert(0, {str(ROOT)!r}); {where}"
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (first, *sources)])


def said(cell: Any, stream: str) -> str:
    return "".join(out["text"] for out in cell["outputs"] if out.get("name") == stream)
