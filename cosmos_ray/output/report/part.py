"""Which part of an output a page is of, and how it is laid out at first."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from cosmos_ray.errors import UsageError
from cosmos_ray.output.report.listing import Listing
from cosmos_ray.output.where import filtered


@dataclass(frozen=True)
class Part:
    """where: a condition on the columns of the index, as DuckDB reads it; None for all clips. grid: two columns of the
    page, of which one's values go down and the other's across. price: USD of a GPU for an hour, for the cost of all."""

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

    def check_grid(self, clips: Listing) -> None:
        """Raises UsageError for a column that the page does not have."""
        there = {name for name, _ in clips.columns if not name.startswith(".")}
        for name in self.grid or ():
            if name not in there:
                raise UsageError(
                    f"--grid {name}: no clip has such a column, expected one of {', '.join(sorted(there))}"
                )

    def in_words(self) -> str:
        """What a reader has to know of the page; "" if it is of everything."""
        return "" if self.where is None else f"only clips for which {self.where}"


WHOLE = Part()
