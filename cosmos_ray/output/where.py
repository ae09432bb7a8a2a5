"""`--where`: rows of a table that a condition holds for, in SQL's words as DuckDB reads them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.types as kinds

from cosmos_ray.errors import UsageError
from cosmos_ray.manifest.columns import fields_of, is_any_list

#: It reads no files and no variables of this program, and loads nothing.
_NOTHING_ELSE = {"enable_external_access": False, "python_enable_replacements": False}


def filtered(table: pa.Table, where: str) -> pa.Table:
    """The rows for which `where` is true, in their order. It reads nothing but the table's columns.

    Raises UsageError for a condition that cannot be read, or that names a column which is not there.
    """
    import duckdb

    if not where.strip():
        raise UsageError(f"where {where!r}: found no words, expected a condition such as seed < 3")
    number = "row_number"
    while number in {name.casefold() for name in table.column_names}:
        number += "_"
    with duckdb.connect(config=_NOTHING_ELSE) as connection:
        try:
            known = table.cast(pa.schema([field.with_type(_as_known(field.type)) for field in table.schema]))
            connection.register("rows", known.append_column(number, pa.array(np.arange(len(table)))))
            found = connection.table("rows").filter(where).project(number).to_arrow_table()
        except (duckdb.Error, UnicodeEncodeError) as error:  # halves of surrogate pairs, as of bytes that are no text
            said = " ".join(str(error).split())
            raise UsageError(f"where {where!r}: {said}") from error
    return table.take(np.sort(found[number].to_numpy()))


def _as_known(kind: pa.DataType) -> pa.DataType:
    """The type that DuckDB reads such values as: it has no numbers of two bytes, and decimals of 38 digits at most."""
    if kinds.is_float16(kind):
        return pa.float32()
    if kinds.is_decimal256(kind):
        return pa.float64()
    if kinds.is_struct(kind):
        return pa.struct([field.with_type(_as_known(field.type)) for field in fields_of(kind)])
    if is_any_list(kind):
        return pa.list_(_as_known(kind.value_type))
    return kind
