"""What benchmarks print: one line of JSON a measurement, and with it on what it was measured."""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any


def report(**figures: Any) -> None:
    """One line of JSON on standard output, at once: what was measured stays, whatever ends the process."""
    print(json.dumps(figures), flush=True)


def machine(*packages: str) -> dict[str, Any]:
    """GPUs (where there are any), cores, and versions of Python and of `packages`, which must be installed."""
    versions = {package: version(package) for package in packages}
    return {"gpus": gpus(), "cpus": os.cpu_count(), "python": platform.python_version(), **versions}


def gpus() -> str | None:
    """As in `8 x NVIDIA H100 80GB HBM3`; None without NVIDIA's GPUs. Asked of the driver: no process takes memory."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    names = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))


def spread(values: Sequence[float], digits: int = 4) -> dict[str, float]:
    """Median, least and most."""
    return {
        "median": round(statistics.median(values), digits),
        "least": round(min(values), digits),
        "most": round(max(values), digits),
    }
