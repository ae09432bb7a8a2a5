"""`--where`: rows of a table that a condition holds for, in SQL's words as DuckDB reads them."""

from __future__ import annotations

import pyarrow as pa

from cosmos_ray.errors import UsageError


def filtered(table: pa.Table, where: str) -> pa.Table:
    """The rows for which `where` is true, in their order. It reads nothing but the table's columns.

    Raises UsageError for a condition that cannot be read, or that names a column which is not there.
    """
    import duckdb

    with duckdb.connect(config={"enable_external_access": False}) as connection:
        connection.register("rows", table)
        try:
            relation = connection.table("rows").filter(where)
            found = relation.to_arrow_table()
        except duckdb.Error as error:
            said = " ".join(str(error).split())
            raise UsageError(f"where {where!r}: {said}") from error
    return found.cast(table.schema)
