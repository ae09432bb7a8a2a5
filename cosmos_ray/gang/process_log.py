"""What leaders and ranks log: when, who, what. Ray keeps it with each process, not on the driver's terminal."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from cosmos_ray.foreign import log_shown_only


def log_as(who: str) -> None:
    """Give this process's log lines a time and a name. Loggers that a cluster has set up already stay as they are."""
    logging.basicConfig(level=logging.WARNING, format=f"%(asctime)s %(levelname)s {who}: %(message)s")
    logging.getLogger("cosmos_ray").setLevel(logging.INFO)
    log_shown_only()


def in_words(seconds: Mapping[str, float]) -> str:
    """`imports 4.1 s, network 2.0 s`."""
    return ", ".join(f"{part} {spent:.1f} s" for part, spent in seconds.items())
