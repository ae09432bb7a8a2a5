"""Clips of a batch of the manifest's rows that have ended, with what the ledger says of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cosmos_ray.manifest.table import FanOut


@dataclass(frozen=True, eq=False)
class Settled:
    """Some of the clips that a batch of rows asks for.

    fan: all of the batch. clips: the numbers of these among them; records: a row each. base: what the rows' references
    start from.
    """

    batch: pa.RecordBatch
    fan: FanOut
    clips: np.ndarray
    records: pa.Table
    base: str

    @property
    def rows(self) -> np.ndarray:
        """Which row of the batch asks for each."""
        return self.fan.rows[self.clips]

    @property
    def ids(self) -> list[pa.Array]:
        """Of the clips, and of their rows."""
        return [
            self.fan.ids.take(pa.array(self.clips)),
            self.batch.column("id").cast(pa.string()).take(pa.array(self.rows)),
        ]
