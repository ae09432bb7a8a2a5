"""Columns of the index: what clips look like, as their records have it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pyarrow as pa

from cosmos_ray.clip.check_rules import worst
from cosmos_ray.clip.checks import MEASURES, Scores
from cosmos_ray.ledger.record import records_of

_MEASURED = [(name, pa.float64()) for name in MEASURES]
#: Each score of the view that is worst in it (agreement: the mean), and all of each view.
SCORES = pa.struct([*_MEASURED, ("views", pa.list_(pa.struct([("view", pa.string()), *_MEASURED])))])


def scores_of(records: pa.Table) -> pa.Array:
    """Of rows of the ledger; null for a clip of a release that did not look."""
    return pa.array([_row(record.scores) for record in records_of(records)], SCORES)


def _row(scores: dict[str, Scores]) -> dict[str, Any] | None:
    found = worst(scores)
    if found is None:
        return None
    return asdict(found) | {"views": [{"view": view, **asdict(of)} for view, of in scores.items()]}
