"""What leaders and ranks log: when, who, what. Ray keeps it with each process, not on the driver's terminal."""

from __future__ import annotations

import logging


def log_as(who: str) -> None:
    """Give this process's log lines a time and a name. Loggers that a cluster has set up already stay as they are."""
    logging.basicConfig(level=logging.WARNING, format=f"%(asctime)s %(levelname)s {who}: %(message)s")
    logging.getLogger("cosmos_ray").setLevel(logging.INFO)
