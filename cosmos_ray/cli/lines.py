"""What a command says while it works."""

from __future__ import annotations

from cosmos_ray.foreign import shown
from cosmos_ray.said import to_people


def note(message: str) -> None:
    """As `say`, of a command that is done at once: without the time."""
    to_people(shown(message))


def tell(message: str) -> None:
    """A line of a result for people, on standard output. (Results for programs are JSON, which escapes.)"""
    print(shown(message), flush=True)
