"""What a command says while it works."""

from __future__ import annotations

import sys
import time


def say(message: str) -> None:
    """To people, on standard error; results go to standard output."""
    print(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stderr, flush=True)
