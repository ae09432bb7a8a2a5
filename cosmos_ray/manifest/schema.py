"""One schema for all files of a manifest, whoever wrote them, and their batches cast to it.

Columns that some files lack are null there. Those of the manifest's own come in the types of `columns`; all others keep
theirs, unified as pyarrow does it where files differ.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.columns import COLUMNS, fields_of, is_any_list, is_uuid, plain
from cosmos_ray.manifest.partitions import Partitions, partition_type, partition_value


@dataclass(frozen=True)
class FileSchema:
    """Columns of one file. name: for messages. partitions: those that its folders' names give."""

    name: str
    schema: pa.Schema
    partitions: Partitions


def unify(files: Sequence[FileSchema]) -> pa.Schema:
    """The columns of all files, those of the first one first. Raises ManifestError if some do not fit together."""
    names = dict.fromkeys(name for file in files for name in file.schema.names)
    names |= dict.fromkeys(name for file in files for name, _ in file.partitions)
    fields, problems = [], []
    for name in names:
        try:
            fields.append(pa.field(name, _together(name, files)))
        except ManifestError as error:
            problems.append(str(error))
    if problems:
        raise ManifestError("the manifest cannot be used: " + "; ".join(problems))
    return pa.schema(fields)


def _together(name: str, files: Sequence[FileSchema]) -> pa.DataType:
    types = [(file.schema.field(name).type, file.name) for file in files if name in file.schema.names]
    folders = {value: file.name for file in files for column, value in file.partitions if column == name}
    if folders and (name in COLUMNS or all(kinds.is_null(kind) for kind, _ in types)):
        types.append((partition_type(name, list(folders)), next(iter(folders.values()))))
    given = [one for one in types if not kinds.is_null(one[0])]
    found = pa.null()
    for last in range(len(given)):
        unified = _unified(name, [kind for kind, _ in given[: last + 1]])
        if unified is None:
            (first, where), (other, there) = given[0], given[last]
            raise ManifestError(
                f"column `{name}`: found type {first} in {where} and {other} in {there}, expected types that fit"
            )
        found = unified
    for value in folders:
        partition_value(name, value, _leaf(found))
    return found


def _leaf(kind: pa.DataType) -> pa.DataType:
    """What a single value has, where a list of one stands for it."""
    return kind.value_type if is_any_list(kind) else kind


def _unified(name: str, types: Sequence[pa.DataType]) -> pa.DataType | None:
    """One type for columns of these types; None if there is none that keeps what they mean."""
    if name in COLUMNS:
        return COLUMNS[name].together([plain(kind) for kind in types])
    if len(set(types)) == 1:
        return as_stored(types[0])
    for each in (as_stored, plain):
        schemas = [pa.schema([("column", each(kind))]) for kind in types]
        try:
            return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            continue
    return None


def as_stored(kind: pa.DataType) -> pa.DataType:
    """pyarrow cannot take rows of a view, and what an extension means only its own readers know, at any depth."""
    if isinstance(kind, pa.BaseExtensionType):
        return pa.string() if is_uuid(kind) else as_stored(kind.storage_type)
    if kinds.is_string_view(kind) or kinds.is_binary_view(kind):
        return pa.string() if kinds.is_string_view(kind) else pa.binary()
    if kinds.is_list_view(kind) or kinds.is_large_list_view(kind):
        return pa.list_(as_stored(kind.value_type))  # `_as_list` makes those right
    if kinds.is_struct(kind):
        return pa.struct([field.with_type(as_stored(field.type)) for field in fields_of(kind)])
    if kinds.is_list(kind) or kinds.is_large_list(kind):
        same = pa.list_ if kinds.is_list(kind) else pa.large_list
        return same(kind.value_field.with_type(as_stored(kind.value_type)))
    if kinds.is_map(kind):
        return pa.map_(as_stored(kind.key_type), kind.item_field.with_type(as_stored(kind.item_type)))
    if kinds.is_dictionary(kind) and kinds.is_string_view(kind.value_type):
        return pa.string()
    return kind


@dataclass(frozen=True)
class Conformed:
    """A batch in the manifest's schema. differs: the first row (and column, in words) that contradicts its folders."""

    batch: pa.RecordBatch
    differs: tuple[int, str] | None


def conform(batch: pa.RecordBatch, schema: pa.Schema, partitions: Partitions) -> Conformed:
    """Raises pa.ArrowInvalid for a value that cannot be had in the schema's type."""
    folders = dict(partitions)
    names = set(batch.schema.names)
    columns: list[pa.Array] = []
    differs: list[tuple[int, str]] = []
    for field in schema:
        found = convert(batch.column(field.name), field.type) if field.name in names else None
        if (value := folders.get(field.name)) is not None:
            said = _repeated(field.name, value, field.type, batch.num_rows)
            differs += _differences(field.name, value, found, said)
            found = said if found is None else pc.coalesce(found, said)
        columns.append(pa.nulls(batch.num_rows, field.type) if found is None else found)
    return Conformed(pa.RecordBatch.from_arrays(columns, schema=schema), min(differs, default=None))


def _repeated(name: str, value: str, kind: pa.DataType, rows: int) -> pa.Array:
    leaf = pa.repeat(partition_value(name, value, _leaf(kind)), rows)
    return convert(leaf, kind)


def _differences(name: str, value: str, found: pa.Array | None, said: pa.Array) -> Iterator[tuple[int, str]]:
    """The first row of a column that says something else than the name of its folder; a null says nothing."""
    if found is None:
        return
    pairs = enumerate(zip(found.to_pylist(), said.to_pylist(), strict=True)) if is_any_list(found.type) else None
    if pairs is not None:
        rows = [row for row, (one, other) in pairs if one is not None and one != other]
    else:
        rows = np.flatnonzero(pc.fill_null(pc.not_equal(found, said), False).to_numpy(zero_copy_only=False)).tolist()
    if rows:
        row = int(rows[0])
        yield (
            row,
            f"column `{name}`: found {found[row].as_py()!r}, expected {value!r}, as its folder {name}={value} says",
        )


def convert(found: pa.Array, kind: pa.DataType) -> pa.Array:
    """The column in another type, with every value as it was."""
    if found.type == kind:
        return found
    if kinds.is_null(found.type):
        return pa.nulls(len(found), kind)
    if kinds.is_dictionary(found.type):
        return convert(found.dictionary_decode(), kind)
    if isinstance(found.type, pa.BaseExtensionType):
        return convert(_texts_of_uuids(found.storage) if is_uuid(found.type) else found.storage, kind)
    if kinds.is_decimal(found.type) and kinds.is_floating(kind):
        return found.cast(pa.string()).cast(kind)  # pyarrow's own way makes 7.1 a 7.1000000000000005
    if kinds.is_list(kind) and not is_any_list(found.type):
        return _as_lists(convert(found, kind.value_type))
    if kinds.is_struct(found.type) and kinds.is_struct(kind):
        return _struct(found, kind)
    if kinds.is_struct(found.type) and kinds.is_map(kind):
        return _as_map(found, kind)
    if is_any_list(found.type) and kinds.is_list(kind):
        return _as_list(found, kind)
    return found.cast(kind)


def _texts_of_uuids(found: pa.Array) -> pa.StringArray:
    return pa.array([None if each is None else str(uuid.UUID(bytes=each)) for each in found.to_pylist()], pa.string())


def _as_list(found: pa.Array, kind: pa.ListType) -> pa.ListArray:
    """From a list of any kind. (pyarrow's own cast of list views makes arrays that are too short, as of 26.)"""
    lengths = pc.fill_null(pc.list_value_length(found), 0).to_numpy(zero_copy_only=False)
    values = convert(found.flatten(), kind.value_type)
    return pa.ListArray.from_arrays(_offsets(lengths), values, type=kind, mask=found.is_null())


def _as_lists(values: pa.Array) -> pa.ListArray:
    """A list of one for each value, null for a null."""
    there = values.is_valid()
    offsets = _offsets(there.to_numpy(zero_copy_only=False))
    return pa.ListArray.from_arrays(offsets, values.drop_null(), mask=pc.invert(there))


def _offsets(lengths: np.ndarray) -> pa.Array:
    return pa.array(np.append(0, np.cumsum(lengths)).astype(np.int32))


def _struct(found: pa.StructArray, kind: pa.StructType) -> pa.StructArray:
    names = [field.name for field in fields_of(found.type)]
    columns = [
        convert(pc.struct_field(found, [names.index(field.name)]), field.type)
        if field.name in names
        else pa.nulls(len(found), field.type)
        for field in fields_of(kind)
    ]
    return pa.StructArray.from_arrays(columns, fields=fields_of(kind), mask=found.is_null())


def _as_map(found: pa.StructArray, kind: pa.MapType) -> pa.MapArray:
    """Of the fields that are not null; null where there is none."""
    names = [field.name for field in fields_of(found.type)]
    rows = len(found)
    columns = [convert(pc.struct_field(found, [number]), kind.item_type) for number in range(len(names))]
    given = np.array([column.is_valid().to_numpy(zero_copy_only=False) for column in columns]).reshape(len(names), rows)
    order = np.arange(rows * len(names)).reshape(len(names), rows).T[given.T]  # by row, then by field
    items = pa.concat_arrays(columns).take(pa.array(order)) if columns else pa.nulls(0, kind.item_type)
    keys = pa.array(np.repeat(names, rows), pa.string()).take(pa.array(order)) if columns else pa.nulls(0, pa.string())
    counts = given.sum(axis=0)
    offsets = pa.array(_offsets(counts).to_numpy(), mask=np.append(counts == 0, False))
    return pa.MapArray.from_arrays(offsets, keys, items, pa.map_(kind.key_type, kind.item_type))
