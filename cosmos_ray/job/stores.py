"""Which services a manifest's rows name something of, and how many of them do; whether they read its own folder."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cosmos_ray.manifest.rows import Clip
from cosmos_ray.manifest.table import CheckedRows
from cosmos_ray.store.places import service_of
from cosmos_ray.store.uris import SCHEMES, normalise_uri, scheme_of

_REMOTE = sorted(SCHEMES - {"file"})


class RowsByService:
    """Counts rows: each once for every service that it names."""

    def __init__(self) -> None:
        self._rows = 0
        self._named = collections.Counter[str]()

    def add(self, checked: CheckedRows, doubtful: Iterable[Sequence[Clip]]) -> None:
        """A batch. doubtful: the clips of each row that is not surely right."""
        self._rows += len(checked.right)
        columns = [one for one in (*checked.inputs, checked.embeddings) if _any(pc.match_substring(one, "://"))]
        found = collections.defaultdict[str, np.ndarray](lambda: np.zeros(len(checked.right), bool))
        for scheme in _REMOTE if columns else ():
            service = service_of(f"{scheme}://")
            for column in columns:
                hits = pc.fill_null(pc.starts_with(column, f"{scheme}://"), False)
                found[service] = found[service] | hits.to_numpy(zero_copy_only=False)
        for service, rows in found.items():
            self._named[service] += int(np.count_nonzero(rows & checked.right))
        for clips in doubtful:
            self._named.update({service_of(uri) for _, uri in clips[0].references} if clips else ())

    @property
    def rare(self) -> tuple[str, ...]:
        """Services, disks aside, that fewer than half of the rows name."""
        named = self._named.items()
        return tuple(sorted(one for one, rows in named if one != "file" and 0 < 2 * rows < self._rows))


def reads_below(folder: str, checked: CheckedRows, doubtful: Mapping[int, Sequence[Clip]], left: np.ndarray) -> bool:
    """Whether a row of a batch names a file of a disk below that folder, and something is left to do for it. doubtful:
    the clips of each row that is not surely right. left: bool, one a row."""
    if scheme_of(folder) != "file":
        return False
    rows, below = pa.array(left & checked.right), f"{folder.rstrip('/')}/"
    if any(_any(pc.starts_with(one.filter(rows), below)) for one in (*checked.inputs, checked.embeddings)):
        return True
    clips = (clips[0] for row, clips in doubtful.items() if left[row] and clips and clips[0].error is None)
    return any(
        scheme_of(uri) == "file" and Path(normalise_uri(uri)).is_relative_to(folder)
        for clip in clips
        for _, uri in clip.references
    )


def _any(found: pa.BooleanArray) -> bool:
    return bool(pc.any(found).as_py())
