"""What a job says to people while it works."""

from __future__ import annotations

import sys
import time

from cosmos_ray.foreign import shown


def say(message: str) -> None:
    """To people, on standard error; results go to standard output."""
    print(f"{time.strftime('%H:%M:%S')} {shown(message)}", file=sys.stderr, flush=True)
