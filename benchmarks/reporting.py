"""What benchmarks print: one line of JSON a measurement, and with it on what it was measured."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any


def report(**figures: Any) -> None:
    """One line of JSON on standard output, at once: what was measured stays, whatever ends the process."""
    print(json.dumps(figures), flush=True)


def machine(*packages: str) -> dict[str, Any]:
    """GPUs (where there are any), cores, and versions of Python and of `packages`."""
    found: dict[str, Any] = {"gpus": gpus(), "cpus": os.cpu_count(), "python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # unpacked beside others, or not there
            has_module = importlib.util.find_spec(package.replace("-", "_")) is not None
            found[package] = "of unknown version" if has_module else None
    return found


def gpus() -> str | None:
    """As in `8 x NVIDIA H100 80GB HBM3`; None without GPUs."""
    import torch

    count = torch.cuda.device_count()
    return f"{count} x {torch.cuda.get_device_name(0)}" if count else None


def spread(values: Sequence[float], digits: int = 4) -> dict[str, float]:
    """Median, least and most."""
    return {
        "median": round(statistics.median(values), digits),
        "least": round(min(values), digits),
        "most": round(max(values), digits),
    }
