"""Words that many messages share, so that people read the same everywhere."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """`1 clip`, `3 clips`, `0 free GPUs`: whatever is counted for a person, with a noun that takes an s."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def node_name(node_id: str) -> str:
    """A node for people: the last eight digits of its id, since the ids of one Ray cluster begin alike."""
    return node_id[-8:]
