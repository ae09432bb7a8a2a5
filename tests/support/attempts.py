"""Attempts that are marked in a ledger, as the pool marks them (`cosmos_ray/pool/marks.py`)."""

from __future__ import annotations

import uuid

from cosmos_ray.ledger.ledger import Ledger


def begin_attempt(ledger: Ledger, clip_id: str, past: int, owner: str) -> int:
    """Number of an attempt that starts now. past: an attempt number known to be used up. No two calls share one."""
    return ledger.mark_attempt(clip_id, past + 1, f"{owner}/{uuid.uuid4().hex}")
