"""That each id of a manifest is there once: those of its rows, and those of the clips that they ask for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.files import ManifestFile
from cosmos_ray.manifest.table import FanOut


@dataclass(frozen=True)
class Place:
    """Where the rows of a batch lie, for messages."""

    file: ManifestFile
    first_row: int

    def of(self, row: int) -> str:
        return self.file.where(self.first_row + row)


class RowIds:
    """All that are kept of a manifest's rows, batch by batch."""

    def __init__(self) -> None:
        self._places: list[Place] = []
        self._rows: list[pa.StringArray] = []
        self._fans: list[FanOut] = []

    def add(self, place: Place, rows: pa.StringArray, fan: FanOut) -> None:
        """rows: their ids; fan: the clips that they ask for."""
        self._places.append(place)
        self._rows.append(rows)
        self._fans.append(fan)

    @property
    def clips(self) -> int:
        return sum(len(fan.ids) for fan in self._fans)

    def check_unique(self) -> None:
        """Raises ManifestError for ids that are repeated, or collide after fan-out."""
        self._check_unique(self._rows, [np.arange(len(ids)) for ids in self._rows])
        self._check_unique([fan.ids for fan in self._fans], [fan.rows for fan in self._fans])

    def _check_unique(self, ids: list[pa.StringArray], rows: list[np.ndarray]) -> None:
        """rows: of each id, its number in its batch."""
        together = pa.chunked_array(ids, pa.string())
        if pc.count_distinct(together).as_py() == len(together):
            return
        codes = together.combine_chunks().dictionary_encode().indices.to_numpy()
        _, firsts, inverse = np.unique(codes, return_index=True, return_inverse=True)
        again = int(np.flatnonzero(firsts[inverse] != np.arange(len(codes)))[0])
        (where, found), (other, _) = (self._row(one, rows) for one in (again, int(firsts[inverse[again]])))
        clip_id = together[again].as_py()
        what = f"{found!r}, whose clip {clip_id!r} is" if found != clip_id else f"{found!r}, which is"
        raise ManifestError(f"{where}: column `id`: found {what} also asked for by {other}; expected ids that differ")

    def _row(self, clip: int, rows: list[np.ndarray]) -> tuple[str, str]:
        """(place, id) of the row that a clip, counted over all batches, comes from."""
        ends = np.cumsum([len(one) for one in rows])
        batch = int(np.searchsorted(ends, clip, side="right"))
        row = int(rows[batch][clip - (ends[batch] - len(rows[batch]))])
        return self._places[batch].of(row), self._rows[batch][row].as_py()
