"""Names of columns that stand beside others: any set of them can be read, by every reader of Parquet that is tested."""

from __future__ import annotations

from collections.abc import Collection, Sequence

#: Columns that pyarrow's own reader adds to every file.
_READERS = ("__filename", "__fragment_index", "__batch_index", "__last_in_fragment")


def beside(names: Sequence[str], ours: Collection[str]) -> list[str]:
    """`names`, in their order, where `ours` stand beside them: one that is taken gets `manifest_` before it, as often
    as it takes. A name that differs in case alone is taken too: DuckDB knows no difference.

    No two of `names` may be equal.
    """
    reserved = {name.casefold() for name in (*ours, *_READERS)}
    free = {name for name in names if name.casefold() not in reserved}
    taken = reserved | {name.casefold() for name in free}
    found = []
    for name in names:
        if name not in free:
            while name.casefold() in taken:
                name = f"manifest_{name}"
            taken.add(name.casefold())
        found.append(name)
    return found
