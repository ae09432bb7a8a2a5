"""What a command says while it works."""

from __future__ import annotations

import sys

from cosmos_ray.foreign import shown


def note(message: str) -> None:
    """As `say`, of a command that is done at once: without the time."""
    print(shown(message), file=sys.stderr, flush=True)


def tell(message: str) -> None:
    """A line of a result for people, on standard output. (Results for programs are JSON, which escapes.)"""
    print(shown(message), flush=True)
