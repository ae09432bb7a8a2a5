"""A batch of the manifest's rows, checked as columns: a million rows take seconds.

`check_batch` says which rows are surely right. Whatever it is not sure of is for `manifest.clips_of_row`, row by row,
which alone knows what is wrong and how to say it; for a row that is surely right both find the same.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as json_text

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cosmos_ray.manifest import table_inputs
from cosmos_ray.manifest.captions import MAX_PROMPT_CHARS
from cosmos_ray.manifest.columns import TEXT_LIST
from cosmos_ray.manifest.inputs import PICTURE_SUFFIXES
from cosmos_ray.manifest.rows import ID_PATTERN, MAX_SAMPLES, MAX_SEED, MAX_STEPS, RowDefaults, sample_seed
from cosmos_ray.manifest.table_inputs import resolve
from cosmos_ray.manifest.vectors import column_of, flat, floats_of, integers_of, is_there, matches, text_of

_SUFFIXES = pa.array(["", *(f".s{sample:03d}" for sample in range(MAX_SAMPLES))])
_ID = rf"\A(?:{ID_PATTERN.pattern})\z"
_VISIBLE = r"[\pL\pN!-~]"
# Wider than what `captions` refuses, which looks at them again.
_NOTHING = r"(?i)\A\W*(?:nan|none|null|nat|n/a|na)\W*\z|\A\s*[#\[{]"
_PICTURE = rf"(?i)(?:{'|'.join(map(re.escape, PICTURE_SUFFIXES))})\z"
_FILE_NAME = r"(?i)\.(?:txt|pt|pkl|npy|safetensors)"


@dataclass(frozen=True)
class FanOut:
    """The clips that a batch asks for, in order: id, number of its row in the batch, and of its sample (from 0)."""

    ids: pa.StringArray
    rows: np.ndarray
    samples: np.ndarray


def first_illegal_id(batch: pa.RecordBatch) -> int | None:
    """The first row whose id cannot name a folder and an object."""
    wrong = np.flatnonzero(~matches(text_of(batch, "id"), _ID))
    return int(wrong[0]) if len(wrong) else None


def clips_a_row(batch: pa.RecordBatch) -> np.ndarray:
    """How many clips each row asks for: int, one a row."""
    counts, right = integers_of(batch, "num_samples", np.full(batch.num_rows, 1), 1, MAX_SAMPLES)
    return np.where(right, counts, 1)


def fan_out(batch: pa.RecordBatch) -> FanOut:
    """Every clip, those of faulty rows too. The ids must be legal."""
    ids = text_of(batch, "id")
    counts = clips_a_row(batch)
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
    views: the cameras of all of them, where these are not the first n_views.
    """

    right: np.ndarray
    prompts: pa.Array
    embeddings: pa.StringArray
    inputs: tuple[pa.StringArray, ...]
    integers: dict[str, np.ndarray]
    guidance: np.ndarray
    negative_prompts: pa.StringArray
    views: tuple[str, ...] = ()

    @property
    def unused_input(self) -> np.ndarray:
        """bool, one a row: it has an input that it takes nothing from."""
        has_input = np.any([is_there(one) for one in self.inputs], axis=0)
        return np.asarray(has_input & (self.integers["num_conditional_frames"] == 0))

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
        tail = f', "views": {_json_list(self.views)}}}' if self.views else "}"
        hashes = []
        for row, sample in zip(rows.tolist(), samples.tolist(), strict=True):
            text = f"{heads[row]}{sample_seed(seeds[row], sample)}{tail}"
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
        values, in_range = integers_of(batch, name, np.broadcast_to(default, rows), low, high)
        right[~in_range] = False
        integers[name] = values
        return values

    family = defaults.recipe
    most = min(defaults.n_views, len(family.views))
    cameras = table_inputs.cameras(batch, most, family.views)
    n_views = integer("n_views", np.where(cameras.n_views > 0, cameras.n_views, defaults.n_views), 1, most)
    right &= cameras.right & ((cameras.n_views == 0) | (n_views == cameras.n_views))
    integer("seed", defaults.seed, 0, MAX_SEED)
    integer("num_steps", defaults.num_steps, 1, family.max_steps or MAX_STEPS)
    integer("fps", defaults.fps, 1, 120)
    integer("num_samples", 1, 1, MAX_SAMPLES)
    given = floats_of(batch, "guidance")
    right &= np.isnan(given) | (given >= 0) & (given <= 100)
    guidance = np.where(np.isnan(given), defaults.guidance, given)

    embeddings, found = resolve(text_of(batch, "prompt_embedding"), base)
    right &= found
    prompts, found = _prompts(batch, n_views, is_there(embeddings))
    right &= found
    inputs, found = table_inputs.inputs(batch, n_views, cameras.rig, base)
    right &= found & ~table_inputs.has_frames(batch) & table_inputs.is_usual(batch)
    has_input = np.any([is_there(one) for one in inputs], axis=0)
    frames = integer("num_conditional_frames", has_input.astype(np.int64), 0, max(max(family.latent_frames), 1))
    right &= np.isin(frames, list(family.latent_frames)) & (has_input | (frames == 0))
    if not family.has_cameras:  # where that may be a picture
        right &= ~matches(inputs[0], _PICTURE)

    negative = pc.fill_null(text_of(batch, "negative_prompt"), defaults.negative_prompt)
    right &= ~is_there(text_of(batch, "negative_prompt")) | (_is_short(negative) & ~matches(negative, _NOTHING))
    return CheckedRows(right, prompts, embeddings, inputs, integers, guidance, negative, cameras.chosen)


def _is_short(texts: pa.StringArray) -> np.ndarray:
    length = pc.fill_null(pc.utf8_length(texts), 0)
    return np.asarray(pc.less_equal(length, MAX_PROMPT_CHARS).to_numpy(zero_copy_only=False))


def _is_odd(texts: pa.StringArray) -> np.ndarray:
    """Whether a caption may be a reference, or a word for nothing."""
    return np.asarray(matches(texts, _FILE_NAME) | matches(texts, _NOTHING))


def _prompts(batch: pa.RecordBatch, n_views: np.ndarray, has_embedding: np.ndarray) -> tuple[pa.Array, np.ndarray]:
    """(captions, a string or a list a row, null with an embedding; whether they are surely right)."""
    column = column_of(batch, "prompt")
    if column is None:
        return pa.nulls(batch.num_rows, pa.string()), has_embedding
    is_list = not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)) and not (
        pa.types.is_dictionary(column.type)
    )
    if not is_list:
        texts = column.cast(pa.string())
        right = matches(texts, _VISIBLE) & ~_is_odd(texts) & _is_short(texts)
        return texts, np.where(has_embedding, ~is_there(texts), right)
    lists = column.cast(TEXT_LIST)
    texts, parents, lengths = flat(lists)

    def count(which: np.ndarray) -> np.ndarray:
        return np.bincount(parents[which], minlength=len(lists))

    right = (lengths == 1) | (lengths == n_views)
    right &= count(~is_there(texts)) + count(_is_odd(texts)) + count(~_is_short(texts)) == 0
    right &= count(matches(texts, _VISIBLE)) > 0
    return lists, np.where(has_embedding, ~is_there(lists), right)


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
