"""The manifest's own columns: the types that other writers give them, and the one that each has from here on.

Pandas, polars, Spark and DuckDB write the same text as strings, large strings, views or dictionaries, and the same
number as an integer, a float or a decimal. All of these are read; what has no meaning in its column is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.types as kinds

from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.names import near_column

TEXT_LIST = pa.list_(pa.string())


@dataclass(frozen=True)
class Column:
    """accepts: whether a type has a meaning in it, once `plain` is taken of it. expected: in words.

    together: the one type for the columns of several files, of types that it accepts, none of them null; None if these
    cannot be one column.
    """

    accepts: Callable[[pa.DataType], bool]
    expected: str
    together: Callable[[Sequence[pa.DataType]], pa.DataType | None]


def plain(kind: pa.DataType) -> pa.DataType:
    """The type without the ways of storing it: no dictionaries, no views, nothing large, at any depth."""
    if isinstance(kind, pa.BaseExtensionType):
        return pa.string() if is_uuid(kind) else plain(kind.storage_type)
    if kinds.is_dictionary(kind):
        return plain(kind.value_type)
    if kinds.is_large_string(kind) or kinds.is_string_view(kind):
        return pa.string()
    if kinds.is_struct(kind):
        return pa.struct([(field.name, plain(field.type)) for field in fields_of(kind)])
    if kinds.is_map(kind):
        return pa.map_(plain(kind.key_type), plain(kind.item_type))
    if is_any_list(kind):
        return pa.list_(plain(kind.value_type))
    return kind


def fields_of(kind: pa.StructType) -> list[pa.Field]:
    return [kind.field(number) for number in range(kind.num_fields)]


def is_uuid(kind: pa.DataType) -> bool:
    """Whether it is an extension's, of 16 bytes that everybody writes as text: DuckDB's and pyarrow's ids."""
    return isinstance(kind, pa.BaseExtensionType) and kind.extension_name == "arrow.uuid"


def is_any_list(kind: pa.DataType) -> bool:
    return (
        kinds.is_list(kind)
        or kinds.is_large_list(kind)
        or kinds.is_fixed_size_list(kind)
        or kinds.is_list_view(kind)
        or kinds.is_large_list_view(kind)
    )


def _is_text(kind: pa.DataType) -> bool:
    """Bytes, too: older writers (Hive, Impala, Spark) do not say that they are text. What is none is refused there."""
    return bool(kinds.is_string(kind) or kinds.is_null(kind) or is_bytes(kind))


def is_bytes(kind: pa.DataType) -> bool:
    return bool(
        kinds.is_binary(kind)
        or kinds.is_large_binary(kind)
        or kinds.is_binary_view(kind)
        or kinds.is_fixed_size_binary(kind)
    )


def _is_text_list(kind: pa.DataType) -> bool:
    return kinds.is_null(kind) or (kinds.is_list(kind) and _is_text(kind.value_type))


def _is_text_or_list(kind: pa.DataType) -> bool:
    return _is_text(kind) or _is_text_list(kind)


def _is_number(kind: pa.DataType) -> bool:
    return bool(kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind) or kinds.is_null(kind))


def _is_by_camera(kind: pa.DataType, is_value: Callable[[pa.DataType], bool]) -> bool:
    if kinds.is_struct(kind):
        return all(is_value(field.type) for field in fields_of(kind))
    if kinds.is_map(kind):
        return _is_text(kind.key_type) and is_value(kind.item_type)
    return bool(kinds.is_null(kind))


def _is_cameras(kind: pa.DataType) -> bool:
    return _is_by_camera(kind, _is_text) or _is_text_list(kind)


def _is_frames(kind: pa.DataType) -> bool:
    return _is_by_camera(kind, _is_text_list)


def _text(_: Sequence[pa.DataType]) -> pa.DataType:
    return pa.string()


def _text_list(_: Sequence[pa.DataType]) -> pa.DataType:
    return TEXT_LIST


def _text_or_list(found: Sequence[pa.DataType]) -> pa.DataType:
    return TEXT_LIST if any(kinds.is_list(kind) for kind in found) else pa.string()


def _number(found: Sequence[pa.DataType]) -> pa.DataType:
    """An integer where all are; a double holds whatever number a row may say."""
    if len(set(found)) == 1 and not (kinds.is_decimal(found[0]) or kinds.is_float16(found[0])):
        return found[0]
    exact = all(kinds.is_integer(kind) and not kinds.is_uint64(kind) for kind in found)
    return pa.int64() if exact else pa.float64()


def _by_camera(found: Sequence[pa.DataType], value: pa.DataType) -> pa.DataType | None:
    """A struct of all their cameras; a map if one of them is a map; a list if all are lists."""
    if any(kinds.is_list(kind) for kind in found):
        return pa.list_(value) if all(kinds.is_list(kind) for kind in found) else None
    if any(kinds.is_map(kind) for kind in found):
        return pa.map_(pa.string(), value)
    names = {field.name for kind in found for field in fields_of(kind)}
    ordered = [view for view in VIEWS if view in names] + sorted(names - set(VIEWS))
    return pa.struct([(name, value) for name in ordered])


def _cameras(found: Sequence[pa.DataType]) -> pa.DataType | None:
    return _by_camera(found, pa.string())


def _frames(found: Sequence[pa.DataType]) -> pa.DataType | None:
    return _by_camera(found, TEXT_LIST)


_URI = Column(_is_text, "string (a URI)", _text)
_INTEGER = Column(_is_number, "an integer", _number)

COLUMNS = {
    "id": Column(_is_text, "string", _text),
    "prompt": Column(_is_text_or_list, "string or list<string>", _text_or_list),
    "prompt_embedding": _URI,
    "input_video": _URI,
    "input_videos": Column(_is_cameras, "struct or map camera -> URI, or list<string>", _cameras),
    "control_videos": Column(_is_cameras, "struct or map camera -> URI, or list<string>", _cameras),
    "control_weight": Column(_is_number, "a number", _number),
    "num_chunks": _INTEGER,
    "chunk_overlap": _INTEGER,
    "input_frames": Column(_is_frames, "struct or map camera -> list<string>, the URIs of its pictures", _frames),
    "views": Column(_is_text_list, "list<string>, the names of cameras", _text_list),
    "num_conditional_frames": _INTEGER,
    "negative_prompt": Column(_is_text, "string", _text),
    "guidance": Column(_is_number, "a number", _number),
    "seed": _INTEGER,
    "num_steps": _INTEGER,
    "n_views": _INTEGER,
    "fps": _INTEGER,
    "num_samples": _INTEGER,
}


def is_number(name: str) -> bool:
    """Whether this is a column of the manifest's own that holds numbers."""
    return name in COLUMNS and COLUMNS[name].accepts is _is_number


def is_whole(name: str) -> bool:
    """Whether this is a column of the manifest's own that holds integers."""
    return COLUMNS.get(name) is _INTEGER


def check_schema(schema: pa.Schema, folders: Sequence[str] = ()) -> None:
    """Raises ManifestError, naming every missing, misspelt or mistyped column at once.

    folders: columns that the file has by the names of its folders (`seed=100/`).
    """
    in_files = Counter(schema.names)
    names = [*schema.names, *(name for name in folders if name not in in_files)]
    counts = Counter(names)
    problems = [
        f"column `{name}`: found {count} of this name, expected one" for name, count in counts.items() if count > 1
    ]
    if "id" not in names:
        problems.append("column `id` is missing: expected string")
    if not {"prompt", "prompt_embedding"} & set(names):
        problems.append("there is neither a column `prompt` nor a column `prompt_embedding`")
    for name in names:
        holds_numbers = in_files[name] == 1 and _is_number(plain(schema.field(name).type))
        if (near := near_column(name, names, holds_numbers)) is not None:
            problems.append(
                f"column {name!r}: found no use for it, expected `{near}`, which it nearly is; rename it, or call it "
                "something else if it is only to be carried along"
            )
    for name, column in COLUMNS.items():
        if in_files[name] == 1 and not column.accepts(plain(found := schema.field(name).type)):
            problems.append(f"column `{name}`: found type {found}, expected {column.expected}{_way_out(name, found)}")
    if problems:
        raise ManifestError("the manifest cannot be used: " + "; ".join(problems))


def _way_out(name: str, found: pa.DataType) -> str:
    if is_number(name) and kinds.is_string(plain(found)):
        return f" (cast it, as by `table[{name!r}].astype(float)` in pandas or `{name}::DOUBLE` in DuckDB)"
    if name == "id" and kinds.is_integer(plain(found)):
        return " (cast it, as by `table['id'].astype(str)` in pandas; `cosmos-ray manifest from-table` does so)"
    return ""
