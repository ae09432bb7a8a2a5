"""An object as a local file: brought here, or given a second name if it is here."""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import os
from pathlib import Path
from typing import Any

from cosmos_ray.limits import TimeIsUp, time_left
from cosmos_ray.store.patience import within


def second_name(path: str, target: Path) -> None:
    """A link at `target` to a file of this machine. Raises OSError if that may not be read."""
    target.unlink(missing_ok=True)
    target.symlink_to(path)
    os.close(os.open(target, os.O_RDONLY | os.O_NONBLOCK))  # whether it may be read


def download(fs: Any, path: str, target: Path, what: str, size: int) -> None:
    """Ended for good when there is no time left: a thread that waits for a store could not be. size: in bytes, as the
    store has told it. Raises OSError for a body that is shorter: what is cut off would be taken for a damaged file.
    """
    left = time_left(within(fs, size).get("timeout", 0.0) or math.inf, what)
    if not getattr(fs, "async_impl", False):
        fs.get_file(path, str(target))
        _check_whole(target, size)
        return
    fetching = asyncio.run_coroutine_threadsafe(fs._get_file(path, str(target)), fs.loop)
    done, _ = concurrent.futures.wait([fetching], left)
    if not done:
        fetching.cancel()
        raise TimeIsUp(f"{what} took too long")
    fetching.result()
    _check_whole(target, size)


def _check_whole(target: Path, size: int) -> None:
    """One that is longer may have been unpacked on its way."""
    if (found := target.stat().st_size) < size:
        raise OSError(f"the store sent {found} of {size} bytes")
