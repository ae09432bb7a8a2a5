"""An object as a local file: brought here, or given a second name if it is here."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
from pathlib import Path
from typing import Any

from cosmos_ray.limits import TimeIsUp, time_left

#: Longest time that one object may take to come, seconds.
_LONGEST_S = 24 * 3600.0


def second_name(path: str, target: Path) -> None:
    """A link at `target` to a file of this machine. Raises OSError if that may not be read."""
    target.unlink(missing_ok=True)
    target.symlink_to(path)
    os.close(os.open(target, os.O_RDONLY | os.O_NONBLOCK))  # whether it may be read


def download(fs: Any, path: str, target: Path, what: str) -> None:
    """Ended for good when there is no time left: a thread that waits for a store could not be."""
    left = time_left(_LONGEST_S, what)
    if not getattr(fs, "async_impl", False):
        fs.get_file(path, str(target))
        return
    fetching = asyncio.run_coroutine_threadsafe(fs._get_file(path, str(target)), fs.loop)
    done, _ = concurrent.futures.wait([fetching], left)
    if not done:
        fetching.cancel()
        raise TimeIsUp(f"{what} took too long")
    fetching.result()
