"""Which part of an output a page is of, and how it is laid out at first."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from cosmos_ray.errors import UsageError
from cosmos_ray.output.report.listing import Listing
from cosmos_ray.output.where import filtered

#: Columns of the index that the page calls otherwise.
_ON_THE_PAGE = {"prompt": "caption", "num_steps": "steps", "seconds": "denoise_s", "attempt": "attempts"}


@dataclass(frozen=True)
class Part:
    """where: a condition on the columns of the index, as DuckDB reads it; None for all clips. grid: two columns of the
    page or of the index, of which one's values go down and the other's across. price: USD of a GPU for an hour, for the
    cost of all."""

    where: str | None = None
    grid: tuple[str, str] | None = None
    price: float | None = None

    def of_clips(self, index: pa.Table) -> pa.Table:
        """Raises UsageError for a condition that cannot be read, or that names a column which is not there."""
        return index if self.where is None else filtered(index, self.where)

    def of_failures(self, failed: pa.Table) -> pa.Table:
        """None of them where the condition asks for what failures do not have."""
        if self.where is None:
            return failed
        try:
            return filtered(failed, self.where)
        except UsageError:
            return failed.slice(0, 0)

    def grid_of(self, clips: Listing) -> tuple[str, str] | None:
        """The two columns as the page calls them. Raises UsageError for one that it does not have."""
        if self.grid is None:
            return None
        there = {name for name, _ in clips.columns if not name.startswith(".")}
        down, across = (name if name in there else _ON_THE_PAGE.get(name, name) for name in self.grid)
        for name in (down, across):
            if name not in there:
                raise UsageError(
                    f"--grid {name}: no clip has such a column, expected one of {', '.join(sorted(there))}"
                )
        return down, across

    def in_words(self) -> str:
        """What a reader has to know of the page; "" if it is of everything."""
        return "" if self.where is None else f"only clips for which {self.where}"


WHOLE = Part()
