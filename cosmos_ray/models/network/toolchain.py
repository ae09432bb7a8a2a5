"""What Triton needs of a machine to build a kernel's launcher, and what of it is not there. No torch."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sysconfig
from pathlib import Path

#: As Triton looks for one, after the environment's CC.
_COMPILERS = ("clang", "gcc", "cc")


def missing_tools() -> tuple[str, ...]:
    """Of Triton, a C compiler and Python's headers, what this machine lacks, in words; () if it has all three."""
    headers = Path(sysconfig.get_paths()["include"], "Python.h")
    there = {
        "no Triton": importlib.util.find_spec("triton") is not None,
        "no C compiler": any(map(shutil.which, (os.environ.get("CC") or "", *_COMPILERS))),
        "no Python headers": headers.exists(),
    }
    return tuple(words for words, is_there in there.items() if not is_there)
