"""What a page lists: its clips and its failures, a row each, with the manifest's own columns."""

from __future__ import annotations

import io
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as kinds

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.request import ALL_VIEWS, PICTURE
from cosmos_ray.ledger.layout import FAILURES, INDEX
from cosmos_ray.ledger.record import APPROXIMATIONS, SETTINGS
from cosmos_ray.ledger.rows import RecordReader
from cosmos_ray.ledger.run import Run
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.manifest.names import INPUTS
from cosmos_ray.output.failures import failures
from cosmos_ray.output.report.values import Value, kind_of, text, values_of
from cosmos_ray.store.storage import Storage

#: Rows of a list: a browser holds and searches so many.
MOST = 50_000
#: How a clip begins, by its number of conditioning frames; with more it is as with five.
_MODES = {0: "Text2World", 1: "Image2World"}
_MORE = "Video2World"
#: Columns of the index that are shown in a way of their own, or stand for files.
_TAKEN = (
    "id", "row_id", "prompt", "seed", "seconds", "attempt", "generation", "warnings", "scores", "marks",
    "refined_prompts", "guardrails", "blurred", "videos", "sha256", "sidecar",
    *(field.name for field in SETTINGS), *(f"video_{view}" for view in ALL_VIEWS),
)  # fmt: skip
_TAKEN_OF_FAILURES = ("id", "row_id", "prompt", "class", "error", "attempts")
#: Of the settings in effect, those that are shown as they are.
_SETTINGS = ("model", "size", "frames", "negative_prompt", "preset", "numerics", "camera_prefix")
#: Names that the page has columns by itself.
_PAGES = (
    "id", "caption", "mode", "seed", "guidance", "steps", "fps", "denoise_s", "attempts", "gang", "finished",
    "warnings", "class", "error", "marks", "guardrails", "blurred", "approximations", "refined", *_SETTINGS,
)  # fmt: skip
#: Of failures: these, and what its scripts look for in any row.
_PAGES_OF_FAILURES = ("id", "class", "error", "caption", "attempts", "mode", "marks", "warnings")


@dataclass(frozen=True)
class Listing:
    """columns: (name, kind) of each value of a row; those whose names begin with a dot are for the page itself.

    total: rows that there are; `rows` may be the first of them.
    """

    name: str
    columns: tuple[tuple[str, str], ...]
    rows: list[list[Value]]
    total: int


def read_index(storage: Storage, state: LedgerState) -> pa.Table:
    """The index, without what is to be made again. Without an index the clips' names alone."""
    ok = _settled(state, True)
    found = _table(storage, INDEX)
    return pa.table({"id": ok}) if found is None else found.filter(pc.is_in(found["id"], ok))


def read_failures(storage: Storage, state: LedgerState) -> pa.Table:
    """The failures, likewise; of an output of an older release by name, without the manifest's columns."""
    found = _table(storage, FAILURES)
    if found is not None:
        return found.filter(pc.is_in(found["id"], _settled(state, False)))
    rows = [
        {"id": one.id, "class": one.failure_class, "error": one.error, "attempts": one.attempt}
        for one in failures(storage, state)
    ]
    schema = [("id", pa.string()), ("class", pa.string()), ("error", pa.string()), ("attempts", pa.int64())]
    return pa.Table.from_pylist(rows, pa.schema(schema))


def _settled(state: LedgerState, ok: bool) -> pa.Array:
    settled = state.settled_table
    return settled.filter(pc.equal(pc.equal(settled["status"], "ok"), ok))["id"].combine_chunks().cast(pa.string())


def _table(storage: Storage, name: str) -> pa.Table | None:
    try:
        return pq.read_table(io.BytesIO(storage.read(name)))
    except FileNotFoundError:
        return None


def clips_of(storage: Storage, run: Run, state: LedgerState, index: pa.Table) -> Listing:
    """The clips of the index, in its order."""
    shown = index.slice(0, MOST)
    records = RecordReader(storage, state).table(state.records.places(shown["id"].to_pylist()))
    views = _views(records)
    columns: dict[str, list[Value]] = {
        ".folder": _folders(records),
        ".views": views,
        ".preview": _previews(records),
        "id": values_of(shown["id"]),
        "caption": captions(shown),
        "refined": captions(shown, "refined_prompts"),
        "mode": _modes(shown, views),
        "seed": _column(shown, "seed"),
        "guidance": _column(shown, "guidance", run.sampling.get("guidance")),
        "steps": _column(shown, "num_steps", run.sampling.get("num_steps")),
        **_own(shown, _TAKEN, _PAGES),
        "fps": _column(shown, "fps", run.sampling.get("fps")),
        "denoise_s": [None if one is None else round(float(one), 1) for one in _column(shown, "seconds")],
        "attempts": values_of(records["attempt"]),
        "gang": values_of(records["gang"]),
        "finished": values_of(records["finished"]),
        "warnings": _joined(records["warnings"]),
        "marks": _joined(records["marks"]),
        "guardrails": _joined(records["guardrails"]),
        "blurred": [sum(dict(one).values()) if one else None for one in records["blurred"].to_pylist()],
        **_scores(shown),
        **{name: _column(shown, name) for name in _SETTINGS},
        "approximations": _approximations(shown),
    }
    return _listing("clips", columns, index.num_rows)


def failures_of(failed: pa.Table) -> Listing:
    """The clips that failed, in the order of their table."""
    shown = failed.slice(0, MOST)
    columns: dict[str, list[Value]] = {
        "id": values_of(shown["id"]),
        "class": [one or "internal" for one in values_of(shown["class"])],
        "error": values_of(shown["error"]),
        "caption": captions(shown),
        "attempts": values_of(shown["attempts"]),
        **_own(shown, _TAKEN_OF_FAILURES, _PAGES_OF_FAILURES),
    }
    return _listing("failures", columns, failed.num_rows)


def _listing(name: str, columns: dict[str, list[Value]], total: int) -> Listing:
    """A column without any value is left out."""
    kept = {key: values for key, values in columns.items() if key == "id" or any(one is not None for one in values)}
    described = tuple((key, kind_of(values)) for key, values in kept.items())
    return Listing(name, described, [list(row) for row in zip(*kept.values(), strict=True)], total)


def _own(table: pa.Table, taken: Container[str], pages: Container[str]) -> dict[str, list[Value]]:
    """The manifest's columns, and whatever else the table knows: those that are not `taken`. pages: names that the list
    has columns of by itself."""
    has_samples = "row_id" in table.column_names and table["row_id"] != table["id"]
    found: dict[str, list[Value]] = {}
    for column in table.column_names:
        if column not in taken or (column == "row_id" and has_samples):
            name = text(column).lstrip(".")
            while not name or name in pages or name in found:
                name = f"manifest_{name}"
            found[name] = values_of(table[column])
    return found


def _folders(records: pa.Table) -> list[Value]:
    """Where the files of each clip lie, in the output."""
    files = records["files"].combine_chunks()
    return [None if not one else one[0]["path"].rpartition("/")[0] for one in files.to_pylist()]


def _views(records: pa.Table) -> list[Value]:
    """Names of each clip's views, in the rig's order, with a blank between two."""
    found: list[Value] = []
    for files in records["files"].to_pylist():
        names = {one["view"] for one in files or ()}
        found.append(" ".join(view for view in ALL_VIEWS if view in names))
    return found


def _previews(records: pa.Table) -> list[Value]:
    """Path of each clip's preview, without `.mp4` and `.jpg`; of older clips there is none."""
    return [one[0]["path"].rpartition(".")[0] if one else None for one in records["previews"].to_pylist()]


def _column(table: pa.Table, name: str, default: Any = None) -> list[Value]:
    if name not in table.column_names:
        return [default] * len(table)
    return [default if one is None else one for one in values_of(table[name])]


def captions(table: pa.Table, column: str = "prompt") -> list[Value]:
    """Of all views, one after the other; a clip that was made from an embedding has none."""
    if column not in table.column_names:
        return [None] * len(table)
    return [
        None if not one else text(one if isinstance(one, str) else " · ".join(filter(None, map(_said, one))))
        for one in table[column].to_pylist()
    ]


def _said(one: Any) -> str:
    return "" if one is None else str(one)


def _modes(table: pa.Table, views: list[Value]) -> list[Value]:
    frames = _column(table, "num_conditional_frames")
    has_input, has_control = _has(table, INPUTS), _has(table, ("control_videos",))
    numbers = [int(has) if one is None else one for one, has in zip(frames, has_input.tolist(), strict=True)]
    return [_mode(*clip) for clip in zip(numbers, views, has_control.tolist(), strict=True)]


def _mode(frames: Value, views: Value, has_control: bool) -> str:
    if views == PICTURE:
        return "Text2Image"
    name = _MODES.get(frames, _MORE) if isinstance(frames, int) else str(frames)
    return f"{name} with control" if has_control else name


def _has(table: pa.Table, names: Sequence[str]) -> np.ndarray:
    """Which rows have a value in any of these columns."""
    found = np.zeros(len(table), bool)
    for name in names:
        if name in table.column_names and not kinds.is_null(table[name].type):
            found |= table[name].is_valid().to_numpy()
    return found


def _scores(table: pa.Table) -> dict[str, list[Value]]:
    """A column a measure, of the view that is worst in it."""
    if "scores" not in table.column_names:
        return {}
    scores = table["scores"].combine_chunks()
    measures = [field.name for field in scores.type if pa.types.is_floating(field.type)]
    return {
        f"score {name}": [None if one is None else round(one, 4) for one in pc.struct_field(scores, name).to_pylist()]
        for name in measures
    }


def _approximations(table: pa.Table) -> list[Value]:
    """Those that were chosen, in words."""
    known = [field.name for field in APPROXIMATIONS]
    found = table["approximations"].type if "approximations" in table.column_names else None
    if found is None or not kinds.is_struct(found) or [field.name for field in found] != known:  # a manifest's own
        return [None] * len(table)
    return [None if one is None else _chosen(one) for one in table["approximations"].to_pylist()]


def _chosen(facts: dict[str, Any]) -> str:
    of = Approximations(**{name: value for name, value in facts.items() if value is not None})
    return ", ".join(f"{name} {value}" for name, value in of.chosen.items()) or "none"


def _joined(lists: pa.ChunkedArray) -> list[Value]:
    return [text("\n".join(one)) if one else None for one in lists.to_pylist()]
