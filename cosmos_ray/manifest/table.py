"""A batch of the manifest's rows, checked as columns: a million rows take seconds.

`check_batch` says which rows are surely right. Whatever it is not sure of is for `manifest.clips_of_row`, row by row,
which alone knows what is wrong and how to say it; for a row that is surely right both find the same.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as json_text

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cosmos_ray.clip.request import LATENT_FRAMES, VIEWS
from cosmos_ray.manifest.rows import (
    ID_PATTERN,
    MAX_PROMPT_CHARS,
    MAX_SAMPLES,
    MAX_SEED,
    MAX_STEPS,
    RowDefaults,
    sample_seed,
)
from cosmos_ray.store.storage import SCHEMES, scheme_of

_SUFFIXES = pa.array(["", *(f".s{sample:03d}" for sample in range(MAX_SAMPLES))])
_ID = rf"\A(?:{ID_PATTERN.pattern})\z"
# Narrower than what a row may say; what they leave out is looked at row by row.
_RELATIVE = r"\A[^/\\:\x00]+(?:/[^/\\:\x00]+)*\z"
_LOCAL = r"\A(?:/[^/\x00]+)+\z"
_REMOTE = rf"\A(?:{'|'.join(sorted(SCHEMES - {'file'}))})://[^/\x00][^\x00]*\z"
_DOTS = r"(?:\A|/)\.{1,2}(?:/|\z)"
_VISIBLE = r"[\pL\pN!-~]"
_FILE_NAME = r"(?i)\.(?:txt|pt|pkl|npy|safetensors)"


@dataclass(frozen=True)
class FanOut:
    """The clips that a batch asks for, in order: id, number of its row in the batch, and of its sample (from 0)."""

    ids: pa.StringArray
    rows: np.ndarray
    samples: np.ndarray


def first_illegal_id(batch: pa.RecordBatch) -> int | None:
    """The first row whose id cannot name a folder and an object."""
    wrong = np.flatnonzero(~_matches(_text(batch, "id"), _ID))
    return int(wrong[0]) if len(wrong) else None


def fan_out(batch: pa.RecordBatch) -> FanOut:
    """Every clip, those of faulty rows too. The ids must be legal."""
    ids = _text(batch, "id")
    counts, right = _integers(batch, "num_samples", np.full(batch.num_rows, 1), 1, MAX_SAMPLES)
    counts = np.where(right, counts, 1)
    rows = np.repeat(np.arange(batch.num_rows), counts)
    samples = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    if len(rows) > batch.num_rows:
        suffixes = _SUFFIXES.take(pa.array(np.where(counts[rows] > 1, samples + 1, 0)))
        ids = pc.binary_join_element_wise(ids.take(pa.array(rows)), suffixes, "")
    return FanOut(ids, rows, samples)


@dataclass(frozen=True)
class CheckedRows:
    """right: bool, one a row: nothing is wrong with it. The rest holds for those rows only.

    inputs: for every place of an input (one, or one a view) a URI a row, null where there is none.
    """

    right: np.ndarray
    prompts: pa.Array
    embeddings: pa.StringArray
    inputs: tuple[pa.StringArray, ...]
    integers: dict[str, np.ndarray]
    guidance: np.ndarray
    negative_prompts: pa.StringArray

    @property
    def unguided(self) -> np.ndarray:
        """bool, one a row: it has no negative prompt."""
        return np.asarray(pc.equal(pc.binary_length(self.negative_prompts), 0).to_numpy(zero_copy_only=False))

    @property
    def seeds(self) -> np.ndarray:
        """int64, one a row."""
        return self.integers["seed"]

    def row_hashes(self, rows: np.ndarray, samples: np.ndarray) -> list[str]:
        """`Clip.row_hash` of these samples of these rows: the sha256 of the JSON text that `manifest` hashes too."""
        heads, seeds = self._heads, self.seeds.tolist()
        hashes = []
        for row, sample in zip(rows.tolist(), samples.tolist(), strict=True):
            text = f"{heads[row]}{sample_seed(seeds[row], sample)}}}"
            hashes.append(hashlib.sha256(text.encode()).hexdigest())
        return hashes

    @functools.cached_property
    def _heads(self) -> list[str]:
        """That text of every row, up to the seed."""
        whole = {name: values.tolist() for name, values in self.integers.items()}
        columns = zip(
            whole["fps"],
            self.guidance.tolist(),
            _json_lists(self.inputs, len(self.right)),
            whole["n_views"],
            _json_texts(self.negative_prompts),
            whole["num_conditional_frames"],
            whole["num_steps"],
            _json_texts(self.embeddings),
            [_json_list(found) for found in self.prompts.to_pylist()],
            strict=True,
        )
        return [
            f'{{"fps": {fps}, "guidance": {guidance!r}, "inputs": {inputs}, "n_views": {n_views}, '
            f'"negative_prompt": {negative}, "num_conditional_frames": {frames}, "num_steps": {steps}, '
            f'"prompt_embedding": {embedding}, "prompts": {prompts}, "seed": '
            for fps, guidance, inputs, n_views, negative, frames, steps, embedding, prompts in columns
        ]


def check_batch(batch: pa.RecordBatch, defaults: RowDefaults, base: str) -> CheckedRows:
    """Look at all rows of a batch whose columns have the right types."""
    rows = batch.num_rows
    right = np.ones(rows, bool)
    integers: dict[str, np.ndarray] = {}

    def integer(name: str, default: int | np.ndarray, low: int, high: int) -> np.ndarray:
        values, in_range = _integers(batch, name, np.broadcast_to(default, rows), low, high)
        right[~in_range] = False
        integers[name] = values
        return values

    n_views = integer("n_views", defaults.n_views, 1, min(defaults.n_views, len(VIEWS)))
    integer("seed", defaults.seed, 0, MAX_SEED)
    integer("num_steps", defaults.num_steps, 1, MAX_STEPS)
    integer("fps", defaults.fps, 1, 120)
    integer("num_samples", 1, 1, MAX_SAMPLES)
    given = _floats(batch, "guidance")
    right &= np.isnan(given) | (given >= 0) & (given <= 100)
    guidance = np.where(np.isnan(given), defaults.guidance, given)

    embeddings, found = _resolve(_text(batch, "prompt_embedding"), base)
    right &= found
    prompts, found = _prompts(batch, n_views, _is_there(embeddings))
    right &= found
    inputs, found = _inputs(batch, n_views, base)
    right &= found
    has_input = np.any([_is_there(one) for one in inputs], axis=0)
    frames = integer("num_conditional_frames", has_input.astype(np.int64), 0, max(LATENT_FRAMES))
    right &= np.isin(frames, list(LATENT_FRAMES)) & (has_input | (frames == 0))

    negative = pc.fill_null(_text(batch, "negative_prompt"), defaults.negative_prompt)
    right &= ~_is_there(_text(batch, "negative_prompt")) | _is_short(negative)
    return CheckedRows(right, prompts, embeddings, inputs, integers, guidance, negative)


def _column(batch: pa.RecordBatch, name: str) -> pa.Array | None:
    """None if there is no such column, or nothing in it."""
    if name not in batch.schema.names:
        return None
    column = batch.column(name)
    return None if pa.types.is_null(column.type) else column


def _text(batch: pa.RecordBatch, name: str) -> pa.StringArray:
    column = _column(batch, name)
    return pa.nulls(batch.num_rows, pa.string()) if column is None else column.cast(pa.string())


def _floats(batch: pa.RecordBatch, name: str) -> np.ndarray:
    """NaN is a gap, as is null."""
    column = _column(batch, name)
    if column is None:
        return np.full(batch.num_rows, np.nan)
    return np.asarray(pc.fill_null(column.cast(pa.float64(), safe=False), np.nan).to_numpy(zero_copy_only=False))


def _integers(
    batch: pa.RecordBatch, name: str, default: np.ndarray, low: int, high: int
) -> tuple[np.ndarray, np.ndarray]:
    """(int64 values, whether they are integers from low to high); a default need not be."""
    found = _floats(batch, name)
    gap = np.isnan(found)
    whole = gap | ((found == np.floor(found)) & (found >= low) & (found <= high))
    return np.where(gap | ~whole, default, found).astype(np.int64), whole


def _matches(texts: pa.StringArray, pattern: str) -> np.ndarray:
    """bool; a null matches nothing."""
    return np.asarray(pc.fill_null(pc.match_substring_regex(texts, pattern), False).to_numpy(zero_copy_only=False))


def _is_there(texts: pa.Array) -> np.ndarray:
    return np.asarray(pc.is_valid(texts).to_numpy(zero_copy_only=False))


def _is_short(texts: pa.StringArray) -> np.ndarray:
    length = pc.fill_null(pc.utf8_length(texts), 0)
    return np.asarray(pc.less_equal(length, MAX_PROMPT_CHARS).to_numpy(zero_copy_only=False))


def _resolve(references: pa.StringArray, base: str) -> tuple[pa.StringArray, np.ndarray]:
    """(absolute URIs, whether they may surely be read); nulls stay nulls, and are right."""
    chained, dots = _matches(references, "::"), _matches(references, _DOTS)
    relative = _matches(references, _RELATIVE) & ~dots
    local = _matches(references, _LOCAL) & ~dots & (scheme_of(base) == "file")
    right = (relative | local | _matches(references, _REMOTE)) & ~chained
    below = pc.binary_join_element_wise(f"{base.rstrip('/')}/", references, "")
    return pc.if_else(pa.array(relative), below, references), right | ~_is_there(references)


def _prompts(batch: pa.RecordBatch, n_views: np.ndarray, has_embedding: np.ndarray) -> tuple[pa.Array, np.ndarray]:
    """(captions, a string or a list a row, null with an embedding; whether they are surely right)."""
    column = _column(batch, "prompt")
    if column is None:
        return pa.nulls(batch.num_rows, pa.string()), has_embedding
    is_list = not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)) and not (
        pa.types.is_dictionary(column.type)
    )
    if not is_list:
        texts = column.cast(pa.string())
        right = _matches(texts, _VISIBLE) & ~_matches(texts, _FILE_NAME) & _is_short(texts)
        return texts, np.where(has_embedding, ~_is_there(texts), right)
    lists = column.cast(pa.list_(pa.string()))
    texts, parents, lengths = _flat(lists)

    def count(which: np.ndarray) -> np.ndarray:
        return np.bincount(parents[which], minlength=len(lists))

    right = (lengths == 1) | (lengths == n_views)
    right &= count(~_is_there(texts)) + count(_matches(texts, _FILE_NAME)) + count(~_is_short(texts)) == 0
    right &= count(_matches(texts, _VISIBLE)) > 0
    return lists, np.where(has_embedding, ~_is_there(lists), right)


def _flat(lists: pa.ListArray) -> tuple[pa.StringArray, np.ndarray, np.ndarray]:
    """(all values, the list of each, length of each list: 0 for a null)."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return pc.list_flatten(lists), pc.list_parent_indices(lists).to_numpy(), lengths


def _inputs(batch: pa.RecordBatch, n_views: np.ndarray, base: str) -> tuple[tuple[pa.StringArray, ...], np.ndarray]:
    """(URIs by place, whether they are surely right)."""
    one, right = _resolve(_text(batch, "input_video"), base)
    column = _column(batch, "input_videos")
    if column is None:
        return (one,), right
    if pa.types.is_struct(column.type):
        cameras, found = _named_cameras(_struct_fields(column), n_views)
    elif pa.types.is_map(column.type):
        fields, found = _map_fields(column)
        cameras, named = _named_cameras(fields, n_views)
        found &= named
    else:
        cameras, found = _list_cameras(column.cast(pa.list_(pa.string())), n_views)
    right &= found
    places = []
    for number, camera in enumerate(cameras):
        resolved, found = _resolve(camera, base)
        right &= found & ~(_is_there(camera) & _is_there(one))
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
    right = ~_is_there(column) | (lengths > 0)
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
    fields: dict[str, pa.StringArray], n_views: np.ndarray
) -> tuple[tuple[pa.StringArray, ...], np.ndarray]:
    given = {name: _is_there(values) for name, values in fields.items()}
    nothing = np.zeros(len(n_views), bool)
    has_any = np.any([*given.values(), nothing], axis=0)
    right = ~np.any([nothing, *(given[name] for name in given if name not in VIEWS)], axis=0)
    for number, view in enumerate(VIEWS):
        right &= ~has_any | (given.get(view, nothing) == (number < n_views))
    missing = pa.nulls(len(n_views), pa.string())
    return tuple(fields.get(view, missing) for view in VIEWS), right


def _list_cameras(lists: pa.ListArray, n_views: np.ndarray) -> tuple[tuple[pa.StringArray, ...], np.ndarray]:
    texts, parents, lengths = _flat(lists)
    nulls = np.bincount(parents[~_is_there(texts)], minlength=len(lists))
    right = ~_is_there(lists) | ((lengths == n_views) & (nulls == 0))
    starts = np.cumsum(lengths) - lengths
    cameras = []
    for number in range(int(lengths.max(initial=0)) if right.any() else 0):
        places = np.where(number < lengths, starts + number, 0)
        cameras.append(texts.take(pa.array(places, mask=number >= lengths)))
    return tuple(cameras), right


def _json_texts(texts: pa.StringArray) -> list[str]:
    return ["null" if text is None else json_text(text) for text in texts.to_pylist()]


def _json_list(found: str | Sequence[str | None] | None) -> str:
    texts = [found] if isinstance(found, str) else found or ()
    return f"[{', '.join('null' if text is None else json_text(text) for text in texts)}]"


def _json_lists(places: Sequence[pa.StringArray], rows: int) -> list[str]:
    if all(one.null_count == rows for one in places):
        return ["[]"] * rows
    by_row = zip(*(one.to_pylist() for one in places), strict=True)
    return [f"[{', '.join(json_text(uri) for uri in row if uri is not None)}]" for row in by_row]
