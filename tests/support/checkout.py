"""A copy of the repository, as somebody submits it, without what only this checkout has."""

from __future__ import annotations

import shutil
from pathlib import Path

from support.paths import ROOT


def copy_checkout(folder: Path) -> Path:
    ignored = shutil.ignore_patterns(".git", ".venv", "demo", "__pycache__", ".*_cache", "*.egg-info", "build", "dist")
    shutil.copytree(ROOT, folder, ignore=ignored)
    return folder
