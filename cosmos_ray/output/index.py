"""`index.parquet` and `failures.parquet`: a row a clip that is ok, or that failed, with the manifest's columns.

Made from the ledger and the manifest's rows at any time, in one pass.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as kinds

from cosmos_ray.clip.family import FAMILIES, Family
from cosmos_ray.ledger.layout import FAILURES, INDEX
from cosmos_ray.ledger.record import SETTINGS
from cosmos_ray.ledger.rows import RecordReader
from cosmos_ray.ledger.run import Run, read_run
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.manifest.columns import fields_of
from cosmos_ray.manifest.files import Manifest
from cosmos_ray.manifest.names import ORIGINAL_PROMPT
from cosmos_ray.manifest.rows import RowDefaults
from cosmos_ray.manifest.table import fan_out
from cosmos_ray.output.column_names import beside
from cosmos_ray.output.in_effect import in_effect
from cosmos_ray.output.looks import SCORES, scores_of
from cosmos_ray.output.settled import Settled
from cosmos_ray.scratch import scratch
from cosmos_ray.store.storage import Storage

#: The key of the mark (`mark.py`) in a Parquet file's metadata.
MARK = b"cosmos_ray.mark"
_ROWS_A_BATCH = 4096
#: Columns that are not repeated where a guardrail has blocked what they say.
_WORDS = ("prompt", "negative_prompt", ORIGINAL_PROMPT)
#: Columns that the failures add, as `added` says those of the index: a manifest column of such a name gets another
#: (`names.beside`).
ADDED_TO_FAILURES = pa.schema(
    [
        ("id", pa.string()),
        ("row_id", pa.string()),
        ("class", pa.string()),
        ("error", pa.string()),
        ("attempts", pa.int64()),
        ("generation", pa.int64()),
    ]
)


def added(family: Family) -> pa.Schema:
    """Columns that the index adds. Paths are relative to the output; `video_<view>`, for all views that the model's
    family has, is null where that view was not made."""
    return pa.schema(
        [
            ("id", pa.string()),
            ("row_id", pa.string()),
            *((f"video_{view}", pa.string()) for view in family.files),
            ("sha256", pa.struct([(view, pa.string()) for view in family.files])),
            ("sidecar", pa.string()),
            ("seed", pa.int64()),
            *SETTINGS,
            ("generation", pa.int64()),
            ("attempt", pa.int64()),
            ("seconds", pa.float64()),
            ("warnings", pa.list_(pa.string())),
            ("scores", SCORES),
            ("marks", pa.list_(pa.string())),
            ("refined_prompts", pa.list_(pa.string())),
            ("guardrails", pa.list_(pa.string())),
            ("blurred", pa.struct([(view, pa.int64()) for view in family.files])),
        ]
    )


#: Columns of a manifest that are ours in the index: there they say of every clip what a row may leave out.
IN_EFFECT = ("seed", "guidance", "num_steps", "views", "negative_prompt", "fps", "num_conditional_frames")
#: Of any family.
ADDED_NAMES = frozenset(name for family in FAMILIES.values() for name in added(family).names)


def write_index(
    storage: Storage,
    manifest: Manifest,
    defaults: RowDefaults,
    state: LedgerState,
    mark: str = "",
    home: str | None = None,
) -> int:
    """Write `index.parquet` and `failures.parquet`; the number of rows of the first. A few thousand are in memory.

    In the manifest's order. Clips whose rows the manifest no longer has are in neither. mark: of what they are made
    from. home: URI of a folder of the kind that the manifest's references start from, if it is read from elsewhere.
    """
    with scratch() as folder:
        rows = write_tables(folder, storage, manifest, defaults, state, mark, home)
        for name in (INDEX, FAILURES):
            storage.write_file(name, Path(folder, name))
    return rows


def write_tables(
    folder: Path,
    storage: Storage,
    manifest: Manifest,
    defaults: RowDefaults,
    state: LedgerState,
    mark: str = "",
    home: str | None = None,
) -> int:
    """As `write_index`, into a folder of this machine; nothing is written to the output."""
    reader, run = RecordReader(storage, state), read_run(storage)
    made, failed = state.made_rows, state.settled_rows & ~state.made_rows
    rows = 0
    with (
        _Table(folder / INDEX, manifest, added(defaults.recipe), mark) as index,
        _Table(folder / FAILURES, manifest, ADDED_TO_FAILURES, mark, left_out=("id",)) as failures,
    ):
        for file, batch in manifest.batches(_ROWS_A_BATCH):
            fan = fan_out(batch)
            places = state.records.places(fan.ids.to_pylist())
            ok, not_ok = (
                Settled(batch, fan, clips, reader.table(places[clips]).combine_chunks(), home or file.base)
                for clips in (_where(made, places), _where(failed, places))
            )
            index.add(batch, ok.rows, _of_made(ok, defaults, run))
            blocked = pc.equal(not_ok.records["class"], "guardrail").to_numpy(zero_copy_only=False)
            failures.add(batch, not_ok.rows, _of_failed(not_ok), blocked)
            rows += len(ok.clips)
    return rows


class _Table(contextlib.AbstractContextManager["_Table"]):
    """A file in the making: columns of ours, then those of the manifest that are not `left_out`."""

    def __init__(
        self, path: Path, manifest: Manifest, ours: pa.Schema, mark: str, left_out: tuple[str, ...] = ("id", *IN_EFFECT)
    ) -> None:
        self._kept = [name for name in manifest.schema.names if name not in left_out]
        names = beside(self._kept, ours.names)
        types = [_without_maps(manifest.schema.field(name).type) for name in self._kept]
        self._schema = pa.schema([*ours, *zip(names, types, strict=True)], metadata={MARK: mark.encode()})
        self._writer = pq.ParquetWriter(path, self._schema)

    def add(
        self, batch: pa.RecordBatch, rows: np.ndarray, added: list[pa.Array], hidden: np.ndarray | None = None
    ) -> None:
        """hidden: which of the rows show no words of theirs."""
        if not len(rows):
            return  # readers take the size of the first row group for that of a batch
        shown = pa.array(rows)
        hiding = shown if hidden is None else pa.array(rows, mask=hidden)
        columns = [batch.column(name).take(hiding if name in _WORDS else shown) for name in self._kept]
        types = self._schema.types[len(added) :]
        kept = [column.cast(kind) for column, kind in zip(columns, types, strict=True)]
        self._writer.write_table(pa.Table.from_arrays([*added, *kept], schema=self._schema))

    def __exit__(self, *_: object) -> None:
        self._writer.close()


def _without_maps(kind: pa.DataType) -> pa.DataType:
    """Maps as lists of `key` and `value`, at any depth: Hugging Face `datasets` reads no file that has one."""
    if kinds.is_map(kind):
        return pa.list_(pa.struct([("key", _without_maps(kind.key_type)), ("value", _without_maps(kind.item_type))]))
    if kinds.is_struct(kind):
        return pa.struct([(field.name, _without_maps(field.type)) for field in fields_of(kind)])
    if kinds.is_list(kind) or kinds.is_large_list(kind):
        return (pa.list_ if kinds.is_list(kind) else pa.large_list)(_without_maps(kind.value_type))
    return kind


def _where(which: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Numbers of the clips whose records are among `which`. places: -1 for a clip without one."""
    return np.flatnonzero((places >= 0) & np.append(which, False)[places])


def _of_made(made: Settled, defaults: RowDefaults, run: Run | None) -> list[pa.Array]:
    """The columns that the index adds."""
    records, clips = made.records, len(made.clips)
    files = records["files"].combine_chunks()
    counts = pc.list_value_length(files).to_numpy()
    entries = files.flatten()
    clip_of_entry = np.repeat(np.arange(clips), counts)

    def by_view(field: str) -> list[pa.Array]:
        return list(_by_view(clip_of_entry, entries.field("view"), entries.field(field), clips, defaults.recipe))

    seeds, settings = in_effect(made, defaults, run)
    return [
        *made.ids,
        *by_view("path"),
        pa.StructArray.from_arrays(by_view("sha256"), names=list(defaults.recipe.files)),
        pc.struct_field(records["sidecar"].combine_chunks(), "path"),
        seeds,
        *(pc.struct_field(settings, field.name) for field in SETTINGS),
        records["generation"],
        records["attempt"],
        pc.map_lookup(records["seconds"], pa.scalar("denoise"), "first"),
        records["warnings"],
        scores_of(records),
        records["marks"],
        records["refined_prompts"],
        records["guardrails"],
        _blurred(records, defaults.recipe),
    ]


def _by_view(clips: np.ndarray, views: pa.Array, values: pa.Array, rows: int, family: Family) -> Iterator[pa.Array]:
    """Values, an array of `rows` a view of the family. clips: to which row each of the values belongs; views: whose."""
    for view in family.files:
        hits = np.flatnonzero(pc.equal(views, view).to_numpy(zero_copy_only=False))
        entry = np.full(rows, -1)
        entry[clips[hits]] = hits
        yield values.take(pa.array(entry, mask=entry < 0))


def _blurred(records: pa.Table, family: Family) -> pa.Array:
    """A number a view; null where nothing was."""
    counts = [dict(one) if one else None for one in records["blurred"].to_pylist()]
    return pa.array(counts, pa.struct([(view, pa.int64()) for view in family.files]))


def _of_failed(failed: Settled) -> list[pa.Array]:
    """The columns that the failures add."""
    return [*failed.ids, *(failed.records[name] for name in ("class", "error", "attempt", "generation"))]
