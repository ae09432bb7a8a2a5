"""`table`'s part of a row's cameras: which of them are made, and whether their inputs are surely right."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cosmos_ray.clip.request import VIEWS
from cosmos_ray.manifest.columns import TEXT_LIST, fields_of
from cosmos_ray.manifest.vectors import column_of, flat, is_there, matches, text_of
from cosmos_ray.store.accounts import account_of, foreign_account, own_accounts
from cosmos_ray.store.uris import SCHEMES, scheme_of

# Narrower than what a row may say; what they leave out is looked at row by row.
_RELATIVE = r"\A[^~/\\:?\x00][^/\\:?\x00]*(?:/[^/\\:?\x00]+)*\z"
_LOCAL = r"\A(?:/[^/\x00]+)+\z"
_REMOTE = (
    rf"\A(?:(?:{'|'.join(sorted(SCHEMES - {'file'}))})://[A-Za-z0-9][A-Za-z0-9-]*"
    r"|(?:s3|s3a|gs|gcs)://[A-Za-z0-9][A-Za-z0-9._-]*"
    r"|(?:az|abfs|abfss)://[A-Za-z0-9][A-Za-z0-9-]*@(?:ACCOUNTS)\.(?:blob|dfs)\.core\.windows\.net)/[^?\x00]*\z"
)
_DOTS = r"(?:\A|/)\.{1,2}(?:/|\z)"
_PREFIXES = {VIEWS[:number]: number for number in range(1, len(VIEWS) + 1)}


@dataclass(frozen=True)
class Cameras:
    """rig: what all rows that are right take their first n_views from. n_views: of each row that names cameras, else 0.

    right: bool, one a row: what it names is surely right, and of this rig.
    """

    rig: tuple[str, ...]
    n_views: np.ndarray
    right: np.ndarray

    @property
    def chosen(self) -> tuple[str, ...]:
        """`Clip.views` of the rows that are right."""
        return () if self.rig == VIEWS else self.rig


def cameras(batch: pa.RecordBatch, most: int, known: tuple[str, ...] = VIEWS) -> Cameras:
    """A batch mostly has rows of one kind: those of another, if they name other cameras, are not surely right. known:
    the model's; where they are not those of the rig, a row that names them is not surely right either."""
    rows = batch.num_rows
    column = column_of(batch, "views")
    if column is None:
        return Cameras(known, np.zeros(rows, int), np.ones(rows, bool))
    if known != VIEWS:
        return Cameras(known, np.zeros(rows, int), ~is_there(column))
    lists = column.cast(TEXT_LIST)
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    codes = pc.fill_null(pc.binary_join(lists, "\0"), "").dictionary_encode()
    numbers = codes.indices.to_numpy()
    kinds = [tuple(text.split("\0")) if text else () for text in codes.dictionary.to_pylist()]
    counts = np.bincount(numbers, minlength=len(kinds))
    usual = sum(count for kind, count in zip(kinds, counts, strict=True) if not kind or kind in _PREFIXES)
    others = [place for place, kind in enumerate(kinds) if _is_rig(kind, most) and kind not in _PREFIXES]
    rig = max(others, key=lambda place: counts[place], default=None)
    if rig is None or counts[rig] < usual:
        usual_ones = np.array([kind in _PREFIXES and len(kind) <= most for kind in kinds], bool)
        # A row without the column's value says nothing; an empty list is wrong.
        right = np.where(is_there(lists), usual_ones[numbers], True)
        names = VIEWS
    else:
        right, names = numbers == rig, kinds[rig]
    whole = np.array([len(kind) for kind in kinds], int)[numbers]  # a name with the separator in it would make two
    return Cameras(names, np.where(right, lengths, 0), right & (whole == lengths))


def _is_rig(names: tuple[str, ...], most: int) -> bool:
    return 1 <= len(names) <= most and set(names) <= set(VIEWS) and len(set(names)) == len(names)


def has_frames(batch: pa.RecordBatch) -> np.ndarray:
    """bool, one a row: it may have pictures, which are looked at row by row."""
    column = column_of(batch, "input_frames")
    if column is None:
        return np.zeros(batch.num_rows, bool)
    if not pa.types.is_struct(column.type):
        return is_there(column)
    fields = [is_there(pc.struct_field(column, [number])) for number in range(len(fields_of(column.type)))]
    return np.any([np.zeros(batch.num_rows, bool), *fields], axis=0)


def is_usual(batch: pa.RecordBatch) -> np.ndarray:
    """bool, one a row: it asks for neither control videos nor more than one chunk, which are looked at row by row."""
    said = [column_of(batch, name) for name in ("control_videos", "control_weight", "num_chunks", "chunk_overlap")]
    return ~np.any([np.zeros(batch.num_rows, bool), *(is_there(one) for one in said if one is not None)], axis=0)


def inputs(
    batch: pa.RecordBatch, n_views: np.ndarray, rig: Sequence[str], base: str
) -> tuple[tuple[pa.StringArray, ...], np.ndarray]:
    """(URIs by place, whether they are surely right). rig: the cameras that every row takes its first n_views from."""
    one, right = resolve(text_of(batch, "input_video"), base)
    column = column_of(batch, "input_videos")
    if column is None:
        return (one,), right
    if pa.types.is_struct(column.type):
        cameras, found = _named_cameras(_struct_fields(column), n_views, rig)
    elif pa.types.is_map(column.type):
        fields, found = _map_fields(column)
        cameras, named = _named_cameras(fields, n_views, rig)
        found &= named
    else:
        cameras, found = _list_cameras(column.cast(TEXT_LIST), n_views)
    right &= found
    places = []
    for number, camera in enumerate(cameras):
        resolved, found = resolve(camera, base)
        right &= found & ~(is_there(camera) & is_there(one))
        places.append(resolved if number else pc.coalesce(one, resolved))
    return tuple(places) or (one,), right


def _struct_fields(column: pa.StructArray) -> dict[str, pa.StringArray]:
    return {
        column.type.field(number).name: pc.struct_field(column, [number]).cast(pa.string())
        for number in range(column.type.num_fields)
    }


def _map_fields(column: pa.MapArray) -> tuple[dict[str, pa.StringArray], np.ndarray]:
    """(URIs by camera, whether the map's keys are cameras and differ)."""
    rows = len(column)
    column = column.take(pa.array(np.arange(rows)))  # so that its keys and items are those of its rows
    keys, items = column.keys.cast(pa.string()), column.items.cast(pa.string())
    lengths = np.diff(column.offsets.to_numpy())
    parents = np.repeat(np.arange(rows), lengths)
    right = ~is_there(column) | (lengths > 0)
    known = np.zeros(len(keys), bool)
    fields = {}
    for view in VIEWS:
        hits = np.flatnonzero(pc.equal(keys, view).to_numpy(zero_copy_only=False))
        known[hits] = True
        right &= np.bincount(parents[hits], minlength=rows) <= 1
        places = np.full(rows, -1)
        places[parents[hits]] = hits
        fields[view] = items.take(pa.array(np.maximum(places, 0), mask=places < 0))
    right &= np.bincount(parents[~known], minlength=rows) == 0
    return fields, right


def _named_cameras(
    fields: dict[str, pa.StringArray], n_views: np.ndarray, rig: Sequence[str]
) -> tuple[tuple[pa.StringArray, ...], np.ndarray]:
    given = {name: is_there(values) for name, values in fields.items()}
    nothing = np.zeros(len(n_views), bool)
    has_any = np.any([*given.values(), nothing], axis=0)
    right = ~np.any([nothing, *(given[name] for name in given if name not in rig)], axis=0)
    for number, view in enumerate(rig):
        right &= ~has_any | (given.get(view, nothing) == (number < n_views))
    missing = pa.nulls(len(n_views), pa.string())
    return tuple(fields.get(view, missing) for view in rig), right


def _list_cameras(lists: pa.ListArray, n_views: np.ndarray) -> tuple[tuple[pa.StringArray, ...], np.ndarray]:
    texts, parents, lengths = flat(lists)
    nulls = np.bincount(parents[~is_there(texts)], minlength=len(lists))
    right = ~is_there(lists) | ((lengths == n_views) & (nulls == 0))
    starts = np.cumsum(lengths) - lengths
    cameras = []
    for number in range(int(lengths.max(initial=0)) if right.any() else 0):
        places = np.where(number < lengths, starts + number, 0)
        cameras.append(texts.take(pa.array(places, mask=number >= lengths)))
    return tuple(cameras), right


def resolve(references: pa.StringArray, base: str) -> tuple[pa.StringArray, np.ndarray]:
    """(absolute URIs, whether they may surely be read); nulls stay nulls, and are right."""
    chained, dots = matches(references, "::"), matches(references, _DOTS)
    relative = matches(references, _RELATIVE) & ~dots
    local = matches(references, _LOCAL) & ~dots & (scheme_of(base) == "file")
    right = (relative | local | matches(references, _remote(base))) & ~chained
    below = pc.binary_join_element_wise(f"{base.rstrip('/')}/", references, "")
    return pc.if_else(pa.array(relative), below, references), right | ~is_there(references)


def _remote(base: str) -> str:
    """_REMOTE, with the accounts that a row beside `base` may name: any other is looked at, and refused, by its row."""
    named = {*own_accounts(), account_of(base) or ""} - {""}
    own = [name for name in named if foreign_account(f"abfs://c@{name}.dfs.core.windows.net/", [base]) is None]
    return _REMOTE.replace("ACCOUNTS", "|".join(map(re.escape, sorted(own))) or r"[^\s\S]")
